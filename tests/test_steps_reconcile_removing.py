"""Reconcile removes the rows whose record is voided or gone, each once, and tells how many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest

from fenxiang_sync import DeletePolicy, IdCheck, Pipeline
from fenxiang_sync.errors import RefusedError, TransientError
from fenxiang_sync.hub import Settled
from fenxiang_sync.rows import Outcome, Row
from fenxiang_sync.targets.protocol import Answer, Delivery, Reach, Removal, Sender
from fenxiang_sync.window import Window, to_ms
from tests.reconcile_fixtures import NAME, compared, concluded, delete, reconciled, row, small, surveyed, synced
from tests.steps_fixtures import Bench, manual, pipeline


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[Bench]:
    with small(tmp_path, AccountObj=400) as made:
        yield made


def test_a_row_that_another_run_is_sending_is_left_to_the_next_reconcile(crm: Bench) -> None:
    account = pipeline()
    gone, *_ = synced(crm, account)
    delete(crm.simulator, gone)
    held = row(crm, account, gone)
    newer = Row(
        id=gone, source_id=gone, number=None, modified_ms=(held.modified_ms or 0) + 1, version=9, content={}, hash="new"
    )
    crm.hub.claim(
        account.name, [newer], run="other", id_check=IdCheck.UPSERT_ON_CHANGE, lease_s=600, now=datetime.now(UTC)
    )
    report = reconciled(crm, account)
    assert (report.vanished, report.removed, report.not_removed) == (1, 0, 1)
    assert row(crm, account, gone).claim_run == "other"


@dataclass
class Shop:
    """What a target of our own was told, and how it answers the next removals."""

    told: list[tuple[Removal, DeletePolicy]] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    troubles: dict[str, Delivery] = field(default_factory=dict)
    closes_after: int | None = None

    def send(self, rows: Sequence[Row]) -> Sequence[Answer]:
        return [Answer(delivery=Delivery.DELIVERED) for _ in rows]

    def remove(self, removals: Sequence[Removal], *, policy: DeletePolicy) -> Sequence[Answer]:
        if self.closes_after is not None and len(self.batches) == self.closes_after:
            self.closes_after = None
            raise TransientError("the shop is closed")
        self.batches.append(len(removals))
        self.told += [(each, policy) for each in removals]
        answers = [self.troubles.get(each.id, Delivery.DELIVERED) for each in removals]
        return [Answer(delivery=each, reason="it is locked", code=423) for each in answers]


SHOPS: dict[str, Shop] = {}


@dataclass(frozen=True, kw_only=True)
class InShop:
    """A target that can delete."""

    shop: str
    batch_rows: int = 500
    upserts: ClassVar[bool] = True
    connections: ClassVar[Sequence[str]] = ()
    removals: ClassVar[frozenset[DeletePolicy]] = frozenset((DeletePolicy.DELETE,))

    def describe(self) -> str:
        return f"the shop {self.shop}"

    def open(self, reach: Reach) -> AbstractContextManager[Sender]:
        return nullcontext(SHOPS[self.shop])


@pytest.fixture
def shop(crm: Bench) -> tuple[Shop, Pipeline, list[str]]:
    """A shop from which five rows are to be removed, the pipeline, and their ids."""
    SHOPS["it"] = Shop()
    account = pipeline(target=InShop(shop="it"), delete_policy=DeletePolicy.DELETE)
    gone = synced(crm, account)[:5]
    delete(crm.simulator, *gone)
    few = replace(account, target=InShop(shop="it", batch_rows=2))
    return SHOPS["it"], few, gone


def test_a_target_is_told_what_to_remove_in_its_batches_and_why(crm: Bench, shop: Any) -> None:
    there, account, gone = shop
    truth = {each: row(crm, account, each) for each in gone}
    assert reconciled(crm, account).removed == 5
    assert [removal.id for removal, _ in there.told] == gone
    assert there.batches == [2, 2, 1]
    first, policy = there.told[0]
    held = truth[first.id]
    assert (policy, first.why, first.source_id) == (DeletePolicy.DELETE, "vanished", gone[0])
    assert (first.content, first.modified_ms) == (held.content, held.modified_ms)


def test_a_row_that_the_target_refuses_to_remove_fails_the_run_after_the_others(crm: Bench, shop: Any) -> None:
    there, account, gone = shop
    there.troubles[gone[0]] = Delivery.REFUSED
    with pytest.raises(RefusedError, match=f"did not delete every row.*4 are done, 1 are not.*{gone[0]}.*it is locked"):
        reconciled(crm, account)
    assert row(crm, account, gone[0]).reason == "it is locked"
    assert [row(crm, account, each).removed_at is None for each in gone] == [True, False, False, False, False]
    there.troubles.clear()
    assert reconciled(crm, account).removed == 1


def test_a_removal_whose_answer_was_lost_is_done_again_by_the_next_reconcile(crm: Bench, shop: Any) -> None:
    there, account, gone = shop
    there.troubles[gone[1]] = Delivery.UNKNOWN
    report = reconciled(crm, account)
    assert (report.removed, report.not_removed) == (4, 1)
    there.troubles.clear()
    assert reconciled(crm, account).removed == 1


def test_a_record_that_comes_back_is_sent_where_the_answer_to_its_removal_was_lost(crm: Bench, shop: Any) -> None:
    """The shop may have deleted it; its content is as it was delivered, which is no reason to leave it out."""
    there, account, gone = shop
    there.troubles |= {gone[1]: Delivery.UNKNOWN, gone[2]: Delivery.REFUSED}
    names = {each: (row(crm, account, each).content or {})["name"] for each in gone}
    with pytest.raises(RefusedError):
        reconciled(crm, account)
    for each in gone[1:3]:
        crm.simulator.tenant.create(NAME, {"_id": each, "name": names[each]})
    crm.later()
    report = crm.sync(account)
    assert (report.delivered, report.unchanged) == (1, 1), "the one that was refused is still there"
    crm.later()
    assert crm.sync(account, manual(full=True)).delivered == 0


def test_a_row_that_was_sent_anew_is_not_removed_before_its_record_is_noted(crm: Bench, shop: Any) -> None:
    """A load delivers first and notes then what it read; a removal may come in between."""
    there, account, gone = shop
    run = surveyed(crm, account)
    compared(crm, run)
    held = row(crm, account, gone[0])
    newer = Row(
        id=gone[0], source_id=gone[0], number=None, modified_ms=(held.modified_ms or 0) + 1, version=1,
        content={"name": "back"}, hash="new",
    )  # fmt: skip
    crm.hub.claim(account.name, [newer], run="r", id_check=IdCheck.UPSERT_ON_CHANGE, lease_s=600, now=datetime.now(UTC))
    delivered = [Settled(row=newer, outcome=Outcome.DELIVERED)]
    crm.hub.settle(account.name, delivered, run="r", now=datetime.now(UTC))
    assert concluded(crm, run).removed == 4
    assert gone[0] not in {removal.id for removal, _ in there.told}
    assert row(crm, account, gone[0]).removed_at is None


@pytest.mark.parametrize("after", [0, 1, 2])
def test_removals_that_were_cut_off_go_on_in_the_next_try(crm: Bench, shop: Any, after: int) -> None:
    there, account, gone = shop
    there.closes_after = after
    run = surveyed(crm, account)
    compared(crm, run)
    with pytest.raises(TransientError, match="closed"):
        concluded(crm, run)
    assert concluded(crm, run).removed == 5, "those of its first try count"
    assert sum(there.batches) == 5
    assert {row(crm, account, each).content for each in gone} == {None}


def test_the_numbers_of_the_ledger_and_of_the_crm_meet_after_a_reconcile(crm: Bench) -> None:
    account = pipeline()
    ids = synced(crm, account)
    delete(crm.simulator, *ids[:4])
    crm.simulator.tenant.hide(NAME, ids[4])
    reconciled(crm, account)
    listed = crm.hub.listed(account.name)
    assert listed.count(Window(0, to_ms(datetime(2100, 1, 1, tzinfo=UTC)))) == 395
    assert set(crm.simulator.tenant.visible(NAME)) == {each for each, _ in listed.within(Window(0, 2**53))}

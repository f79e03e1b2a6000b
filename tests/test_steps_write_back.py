"""What a target told, and why it refused, goes back into the records of the CRM: once, whatever dies on the way."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fenxiang_simulator import Simulator
from fenxiang_simulator.catalog import from_describe
from fenxiang_simulator.targets import Fault as TargetFault
from fenxiang_sync import (
    FenxiangTarget,
    Field,
    HubTarget,
    KingdeeBatchSave,
    Lookup,
    Outcome,
    Pipeline,
    Refusal,
    Standing,
    Told,
    WriteBack,
    text,
)
from fenxiang_sync.errors import FenxiangSyncError, SetupError
from fenxiang_sync.hub import Hub, Selection, Status
from fenxiang_sync.hub.letters import DISMISSED
from fenxiang_sync.stage import Stage
from fenxiang_sync.steps.mend import Wanted, mend
from fenxiang_sync.steps.write_back import write_back
from fenxiang_sync.steps.written import written
from tests.steps_fixtures import Bench, quick, quiet

OBJECT = "customer__c"
FORM = "BD_Customer"
NAME = "customer_to_kingdee"
WORDS = {Outcome.DELIVERED: "synced", Outcome.DEAD_LETTER: "failed"}
FIELDS = {
    "erp_number__c": Told("Number"),
    "erp_id__c": Told("Id", convert=text),
    "sync_status__c": Standing(WORDS),
    "sync_error__c": Refusal(characters=60),
}
DESCRIBED = {
    "api_name": OBJECT,
    "display_name": "客户",
    "fields": {
        "code__c": {"label": "编码", "type": "text"},
        "phone__c": {"label": "电话", "type": "text"},
        "erp_number__c": {"label": "ERP编码", "type": "text"},
        "erp_id__c": {"label": "ERP内码", "type": "text"},
        "sync_status__c": {"label": "同步状态", "type": "text"},
        "sync_error__c": {"label": "同步错误", "type": "text"},
    },
}
UPDATE = "/cgi/crm/custom/v2/data/update"
QUERY = "/cgi/crm/custom/v2/data/query"


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[Bench]:
    with office(tmp_path) as made:
        yield made


@contextmanager
def office(folder: Path) -> Iterator[Bench]:
    """A CRM with three customers, and a Kingdee that knows none of them."""
    with (
        Simulator(seed=7, knobs=quiet(), objects=[from_describe(DESCRIBED)], records={OBJECT: 0}) as simulator,
        Hub.connect(f"sqlite:///{folder}/hub.db") as hub,
    ):
        for place in range(3):
            simulator.tenant.create(OBJECT, {"_id": f"c{place}", "name": f"客户 {place}", "code__c": f"C{place:03d}"})
        made = Bench(simulator, hub, Stage(folder / "stage"))
        made.later()
        yield made


def declared(**words: Any) -> Pipeline:
    given: dict[str, Any] = {
        "name": NAME,
        "source": quick(OBJECT),
        "fields": [Field("_id"), Field("code__c", "FNumber"), Field("name", "FName"), Field("phone__c", "FTel")],
        "target": KingdeeBatchSave(form=FORM, number_field="FNumber", upserts=True),
        "key": "FNumber",
        "write_back": WriteBack(fields=FIELDS),
    }
    return Pipeline(**given | words)


def back(crm: Bench, pipeline: Pipeline, run_id: str | None = None, **words: Any) -> dict[str, int]:
    """One write-back; the numbers that are not 0."""
    run = crm.run(pipeline, run_id)
    numbers = write_back(run, hub=crm.hub, reach=crm.reach(), clock=crm.now, **words)
    return {name: number for name, number in numbers.items() if number}


def told(crm: Bench, record_id: str) -> dict[str, Any]:
    """What was written back into a record."""
    record = crm.simulator.tenant.record(OBJECT, record_id)
    assert record is not None
    return {name: record[name] for name in FIELDS if name in record}


def updates(crm: Bench) -> int:
    return crm.simulator.requests.get(UPDATE, 0)


def saves(crm: Bench) -> int:
    return crm.simulator.targets.kingdee.requests["BatchSave"]


def require_phones(crm: Bench, *, of: bool = True) -> None:
    """Kingdee refuses customers without a phone."""
    crm.simulator.targets.knobs.kingdee_required[FORM] = ["FTel"] if of else []


SYNCED = [
    {"erp_number__c": f"C{place:03d}", "erp_id__c": str(100_001 + place), "sync_status__c": "synced"}
    for place in range(3)
]


def test_each_record_gets_the_number_and_the_id_that_kingdee_gave_it(crm: Bench) -> None:
    pipeline = declared()
    crm.sync(pipeline)
    assert back(crm, pipeline) == {"looked_at": 3, "delivered": 3}
    assert [told(crm, f"c{place}") for place in range(3)] == SYNCED
    assert updates(crm) == 3


def test_the_cycle_ends_by_itself_after_one_look(crm: Bench) -> None:
    pipeline = declared(source=quick(OBJECT, lookback=timedelta(0)))
    crm.sync(pipeline)
    back(crm, pipeline)
    crm.later()
    report = crm.sync(pipeline)
    assert (report.read, report.unchanged, saves(crm)) == (3, 3, 1), "its own stamps make the records come once more"
    assert back(crm, pipeline) == {"looked_at": 3, "unchanged": 3}
    crm.later(3_600)
    assert crm.sync(pipeline).read == 0
    assert back(crm, pipeline) == {}
    assert (updates(crm), saves(crm)) == (3, 1)


def test_what_has_not_changed_costs_no_call(crm: Bench) -> None:
    pipeline = declared()
    crm.sync(pipeline)
    back(crm, pipeline)
    before = sum(crm.simulator.requests.values())
    assert back(crm, pipeline) == {}
    assert back(crm, pipeline, every=True) == {"looked_at": 3, "unchanged": 3}
    assert sum(crm.simulator.requests.values()) == before


def test_only_what_changed_is_looked_at_and_only_what_differs_is_written(crm: Bench) -> None:
    pipeline = declared()
    crm.sync(pipeline)
    back(crm, pipeline)
    crm.simulator.tenant.update(OBJECT, "c1", {"phone__c": "123"})
    crm.later()
    crm.sync(pipeline)
    # The two others come once more because they were written back, and the changed one is told nothing new.
    assert back(crm, pipeline) == {"looked_at": 3, "unchanged": 3}
    assert updates(crm) == 3


def test_why_a_record_was_refused_is_written_and_cleared_when_it_is_delivered(crm: Bench) -> None:
    require_phones(crm)
    crm.simulator.tenant.update(OBJECT, "c0", {"phone__c": "123"})
    crm.later()
    pipeline = declared()
    crm.sync(pipeline)
    assert back(crm, pipeline) == {"looked_at": 3, "delivered": 3}
    assert told(crm, "c0") == {"erp_number__c": "C000", "erp_id__c": "100001", "sync_status__c": "synced"}
    assert told(crm, "c1") == {"sync_status__c": "failed", "sync_error__c": "FTel: 字段“FTel”是必填项"}
    crm.simulator.tenant.update(OBJECT, "c1", {"phone__c": "456"})
    crm.later()
    crm.sync(pipeline)
    back(crm, pipeline)
    assert told(crm, "c1") == {"erp_number__c": "C001", "erp_id__c": "100002", "sync_status__c": "synced"}
    assert told(crm, "c2")["sync_status__c"] == "failed"


def test_a_replay_that_delivers_clears_the_error_without_a_run_of_the_pipeline(crm: Bench) -> None:
    require_phones(crm)
    pipeline = declared()
    crm.sync(pipeline)
    back(crm, pipeline)
    require_phones(crm, of=False)
    mend(crm.run(pipeline), Wanted(), hub=crm.hub, reach=crm.reach(), clock=crm.now)
    assert back(crm, pipeline) == {"looked_at": 3, "delivered": 3}
    assert [told(crm, f"c{place}") for place in range(3)] == SYNCED


def test_a_record_that_fits_no_row_is_told_so_too(crm: Bench) -> None:
    pipeline = declared(fields=[Field("_id"), Field("code__c", "FNumber"), Field("phone__c", "FTel", required=True)])
    crm.sync(pipeline)
    assert back(crm, pipeline) == {"looked_at": 3, "delivered": 3}
    said = told(crm, "c0")
    assert said["sync_status__c"] == "failed"
    assert said["sync_error__c"].startswith("FTel ← phone__c: it is required")


def test_an_error_is_cut_to_what_the_field_takes(crm: Bench) -> None:
    require_phones(crm)
    crm.simulator.targets.knobs.kingdee_required[FORM] = ["F" + "X" * 200]
    pipeline = declared()
    crm.sync(pipeline)
    back(crm, pipeline)
    said = told(crm, "c0")["sync_error__c"]
    assert len(said) == 60
    assert said.endswith("…")


def test_a_letter_that_was_put_aside_clears_what_was_written_and_nothing_else(crm: Bench) -> None:
    require_phones(crm)
    pipeline = declared()
    crm.sync(pipeline)
    back(crm, pipeline)
    crm.simulator.tenant.create(OBJECT, {"_id": "c3", "name": "新客户", "code__c": "C003"})
    crm.later()
    crm.sync(pipeline)
    for record_id in ("c0", "c3"):
        wanted = Selection(records=(record_id,))
        crm.hub.letters.close(NAME, wanted, by="somebody", closed_as=DISMISSED, now=crm.now())
    numbers = back(crm, pipeline)
    assert numbers["nothing_to_say"] == 1, "c3 was told nothing before"
    assert told(crm, "c0") == {}
    assert told(crm, "c1")["sync_status__c"] == "failed"


def test_what_was_not_told_is_not_written_over_what_another_has_put_there(crm: Bench) -> None:
    require_phones(crm)
    crm.simulator.tenant.update(OBJECT, "c0", {"erp_number__c": "by hand"})
    crm.later()
    pipeline = declared()
    crm.sync(pipeline)
    back(crm, pipeline)
    assert told(crm, "c0")["erp_number__c"] == "by hand"
    crm.later()
    only = declared(name="only", write_back=WriteBack(fields={"erp_number__c": Told("Number")}))
    crm.sync(only)
    assert back(crm, only) == {"looked_at": 3, "nothing_to_say": 3}


def test_a_dry_run_says_how_many_and_writes_nothing(crm: Bench) -> None:
    pipeline = declared()
    crm.sync(pipeline)
    assert back(crm, pipeline, dry_run=True) == {"looked_at": 3, "delivered": 3}
    assert updates(crm) == 0
    assert list(crm.hub.records(written(pipeline).name)) == []
    assert back(crm, pipeline) == {"looked_at": 3, "delivered": 3}, "nor did it move the bookmark"


def test_a_changed_declaration_is_written_back_into_every_record(crm: Bench) -> None:
    pipeline = declared()
    crm.sync(pipeline)
    back(crm, pipeline)
    other = declared(write_back=WriteBack(fields={**FIELDS, "sync_status__c": Standing({Outcome.DELIVERED: "已同步"})}))
    assert back(crm, other) == {"looked_at": 3, "delivered": 3}
    assert told(crm, "c0")["sync_status__c"] == "已同步"


def test_a_hub_whose_events_were_swept_meanwhile_is_looked_through(crm: Bench) -> None:
    pipeline = declared()
    crm.sync(pipeline)
    back(crm, pipeline)
    crm.simulator.tenant.update(OBJECT, "c0", {"code__c": "D000"})
    crm.later()
    crm.sync(pipeline)
    crm.later(86_400 * 400)
    crm.hub.forget_old(NAME, events=crm.now(), readings=crm.now())
    assert len(crm.hub._events.of(NAME, "c0")) <= 1
    assert back(crm, pipeline)["delivered"] == 1
    assert told(crm, "c0")["erp_number__c"] == "D000"


def test_the_newest_event_is_never_swept(crm: Bench) -> None:
    pipeline = declared()
    crm.sync(pipeline)
    newest = crm.hub.replies.newest(NAME)
    crm.later(86_400 * 400)
    crm.hub.forget_old(NAME, events=crm.now(), readings=crm.now())
    assert crm.hub.replies.newest(NAME) == newest > 1


def test_a_pipeline_that_declares_none_writes_nothing_back(crm: Bench) -> None:
    with pytest.raises(SetupError, match="writes nothing back"):
        back(crm, declared(write_back=None))


class TestTheCrmRefuses:
    """A record that the CRM will not change: its write-back is a dead letter of its own."""

    def test_it_is_a_dead_letter_that_is_tried_again_by_the_clock_and_the_others_are_written(self, crm: Bench) -> None:
        pipeline = declared()
        crm.sync(pipeline)
        crm.simulator.tenant.invalid(OBJECT, "c1")
        assert back(crm, pipeline) == {"looked_at": 3, "delivered": 2, "dead_letters": 1}
        [letter] = crm.hub.letters.find(written(pipeline).name, Selection())
        assert (letter.record_id, letter.error) == ("c1", "Refused")
        assert crm.hub.letters.count(NAME, Selection()) == 0, "the pipeline's own letters are others"
        assert back(crm, pipeline) == {}, "it is not due yet"
        crm.simulator.tenant.recover(OBJECT, "c1")
        crm.later(20)
        assert back(crm, pipeline) == {"looked_at": 1, "delivered": 1}
        assert told(crm, "c1") == SYNCED[1]
        assert crm.hub.letters.count(written(pipeline).name, Selection()) == 0

    def test_a_voided_record_is_not_brought_back(self, crm: Bench) -> None:
        pipeline = declared()
        crm.sync(pipeline)
        crm.simulator.tenant.invalid(OBJECT, "c1")
        back(crm, pipeline)
        record = crm.simulator.tenant.record(OBJECT, "c1")
        assert record is not None
        assert record["life_status"] == "invalid"


class TestDeaths:
    """Whatever fails, and wherever a task dies: each record is written once, and none is forgotten."""

    @pytest.mark.parametrize(
        ("path", "fault"),
        [
            *((UPDATE, fault) for fault in ("reset", "cut", "http_502", "busy", "html_200", "timeout_code")),
            *((QUERY, fault) for fault in ("reset", "empty_page")),
        ],
    )
    def test_a_call_that_fails_once_leaves_what_a_clean_run_would(self, crm: Bench, fault: str, path: str) -> None:
        pipeline = declared()
        crm.sync(pipeline)
        crm.simulator.faults.next(fault, path=path)
        with suppress(FenxiangSyncError):
            back(crm, pipeline, "write_back.1")
        back(crm, pipeline, "write_back.1")
        crm.later(3_600)  # what looked like a refusal is due again
        back(crm, pipeline)
        assert [told(crm, f"c{place}") for place in range(3)] == SYNCED
        assert back(crm, pipeline) == {}
        assert {each.status for each in crm.hub.records(written(pipeline).name)} == {Status.FINISHED}

    @pytest.mark.parametrize("after", range(12))
    def test_a_task_that_dies_between_any_two_steps_of_the_hub_is_made_good(self, crm: Bench, after: int) -> None:
        pipeline = declared()
        crm.sync(pipeline)
        dying = DyingHub(crm.hub, after)
        run = crm.run(pipeline, "write_back.1")
        with suppress(DeathError):
            write_back(run, hub=dying, reach=crm.reach(), clock=crm.now)  # type: ignore[arg-type]
        crm.later(3_600)  # its claims are over
        back(crm, pipeline)
        assert [told(crm, f"c{place}") for place in range(3)] == SYNCED
        assert updates(crm) == 3, "the CRM is asked what it has, and what it has is not written again"
        assert back(crm, pipeline) == {}

    def test_two_that_run_at_once_write_each_record_once(self, crm: Bench) -> None:
        pipeline = declared()
        crm.sync(pipeline)

        class Meanwhile:
            done = False

            def __call__(self) -> Any:
                if not self.done:
                    self.done = True
                    back(crm, pipeline, "write_back.other")
                return crm.now()

        write_back(crm.run(pipeline, "write_back.1"), hub=crm.hub, reach=crm.reach(), clock=Meanwhile())
        assert updates(crm) == 3
        assert [told(crm, f"c{place}") for place in range(3)] == SYNCED

    def test_an_older_reply_never_goes_over_a_newer_one(self, crm: Bench) -> None:
        """A run that read the replies before another one is overtaken by it."""
        require_phones(crm)
        pipeline = declared()
        crm.sync(pipeline)
        slow = SlowHub(crm.hub)

        def meanwhile() -> None:
            require_phones(crm, of=False)
            mend(crm.run(pipeline), Wanted(), hub=crm.hub, reach=crm.reach(), clock=crm.now)
            back(crm, pipeline, "write_back.quick")

        slow.meanwhile = meanwhile
        run = crm.run(pipeline, "write_back.slow")
        numbers = write_back(run, hub=slow, reach=crm.reach(), clock=crm.now)  # type: ignore[arg-type]
        assert numbers["stale"] == 3
        assert [told(crm, f"c{place}") for place in range(3)] == SYNCED


class TestDoubt:
    """A row of the pipeline whose answer was lost."""

    def test_nothing_is_written_before_it_is_known_and_then_what_kingdee_tells(self, crm: Bench) -> None:
        target = KingdeeBatchSave(form=FORM, look_up=True, upserts=False, tries=1)
        pipeline = declared(target=target)
        crm.simulator.targets.faults.inject(TargetFault.DROP_AFTER_COMMIT, on="BatchSave")
        crm.simulator.targets.faults.inject(None, TargetFault.HTML, on="ExecuteBillQuery")
        crm.sync(pipeline)
        assert crm.hub.count_unfinished(NAME, Status.IN_DOUBT) == 3
        assert back(crm, pipeline) == {"looked_at": 3, "nothing_to_say": 3}
        for place in range(3):  # the records are read again, and the rows in doubt looked up
            crm.simulator.tenant.update(OBJECT, f"c{place}", {"sync_status__c": "?"})
        crm.later(1_000)
        crm.sync(pipeline)
        assert saves(crm) == 1
        back(crm, pipeline)
        assert [told(crm, f"c{place}") for place in range(3)] == SYNCED

    def test_a_crm_that_has_a_word_for_it_is_told(self, crm: Bench) -> None:
        target = KingdeeBatchSave(form=FORM, look_up=True, upserts=False, tries=1)
        words = {**WORDS, Outcome.IN_DOUBT: "?"}
        pipeline = declared(target=target, write_back=WriteBack(fields={"sync_status__c": Standing(words)}))
        crm.simulator.targets.faults.inject(TargetFault.DROP_AFTER_COMMIT, on="BatchSave")
        crm.simulator.targets.faults.inject(None, TargetFault.HTML, on="ExecuteBillQuery")
        crm.sync(pipeline)
        assert back(crm, pipeline) == {"looked_at": 3, "delivered": 3}
        assert told(crm, "c0") == {"sync_status__c": "?"}


def test_a_pipeline_of_orders_waits_for_the_number_that_kingdee_gives_their_customer(crm: Bench) -> None:
    customer = Lookup("FCustId.FNumber", pipeline=NAME, find="@told.Number", where={"_id": "_id"}, required=True)
    orders = declared(
        name="order_to_kingdee", fields=[Field("_id"), customer], target=HubTarget(), key="_id", write_back=None
    )
    require_phones(crm)
    crm.simulator.tenant.update(OBJECT, "c0", {"phone__c": "123"})
    crm.later()
    crm.sync(declared())
    assert crm.sync(orders).open_letters == 2, "Kingdee has given the others no number yet"
    require_phones(crm, of=False)
    mend(crm.run(declared()), Wanted(), hub=crm.hub, reach=crm.reach(), clock=crm.now)
    crm.later()
    assert crm.sync(orders).open_letters == 0
    assert {each: row["FCustId"]["FNumber"] for each, row in crm.held(orders).items()} == {
        f"c{place}": f"C{place:03d}" for place in range(3)
    }


ACTIONS = ("edit", "refuse", "take", "sync", "replay", "back", "die", "lose", "again")


@settings(max_examples=8, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 9)), min_size=3, max_size=9))
@example([("refuse", 0), ("sync", 0), ("back", 0), ("take", 0), ("replay", 0), ("die", 6), ("back", 0)])
@example([("sync", 0), ("back", 0), ("edit", 1), ("refuse", 0), ("sync", 0), ("die", 5), ("take", 0), ("sync", 0)])
def test_whatever_happens_in_any_order_the_records_end_up_as_kingdee_has_them(
    orders: list[tuple[str, int]],
) -> None:
    with tempfile.TemporaryDirectory() as folder, office(Path(folder)) as crm:
        pipeline = declared(source=quick(OBJECT, lookback=timedelta(0)))
        for action, number in orders:
            crm.later()
            act(crm, pipeline, action, number)
        crm.simulator.faults.clear()
        require_phones(crm, of=False)
        crm.later(3_600)
        crm.sync(pipeline)
        mend(crm.run(pipeline), Wanted(), hub=crm.hub, reach=crm.reach(), clock=crm.now)
        back(crm, pipeline)
        bills = {bill.content["_id"]: bill for bill in crm.simulator.targets.kingdee.bills(FORM)}
        for record_id, bill in bills.items():
            assert told(crm, record_id) == {
                "erp_number__c": bill.number, "erp_id__c": str(bill.id), "sync_status__c": "synced",
            }  # fmt: skip
        assert len(bills) == 3
        crm.later()
        crm.sync(pipeline)
        back(crm, pipeline)
        assert "delivered" not in back(crm, pipeline), "it has come to an end"


def act(crm: Bench, pipeline: Pipeline, action: str, number: int) -> None:
    """One thing that may happen; what fails is left to those who come after."""
    if action == "edit":
        crm.simulator.tenant.update(OBJECT, f"c{number % 3}", {"name": f"新名 {number}"})
    elif action in ("refuse", "take"):
        require_phones(crm, of=action == "refuse")
    elif action == "sync":
        crm.sync(pipeline)
    elif action == "replay":
        mend(crm.run(pipeline), Wanted(), hub=crm.hub, reach=crm.reach(), clock=crm.now)
    elif action == "lose":
        crm.simulator.faults.next("reset", path=UPDATE)
    else:
        hub: Any = DyingHub(crm.hub, number) if action == "die" else crm.hub
        with suppress(DeathError, FenxiangSyncError):
            write_back(crm.run(pipeline), hub=hub, reach=crm.reach(), clock=crm.now, every=action == "again")
        if action == "die":
            crm.later(1_000)  # its claims are over


def test_a_pipeline_into_the_hub_can_say_where_its_records_stand(crm: Bench) -> None:
    pipeline = declared(
        target=HubTarget(), write_back=WriteBack(fields={"sync_status__c": Standing(WORDS), "sync_error__c": Refusal()})
    )
    crm.sync(pipeline)
    assert back(crm, pipeline) == {"looked_at": 3, "delivered": 3}
    assert told(crm, "c0") == {"sync_status__c": "synced"}


class DeathError(BaseException):
    """The task is killed."""


class DyingHub:
    """A hub whose caller dies after so many calls that matter: the call is done, and nothing after it."""

    def __init__(self, hub: Any, left: int, of: list[int] | None = None) -> None:
        self._hub = hub
        self._left = of if of is not None else [left]

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._hub, name)
        if not callable(found):
            return DyingHub(found, 0, self._left)

        def called(*given: Any, **words: Any) -> Any:
            made = found(*given, **words)
            self._left[0] -= 1
            if self._left[0] < 0:
                raise DeathError
            return made

        return called


class SlowHub:
    """A hub beside which something happens when the replies were read."""

    meanwhile: Any = None

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.replies = _SlowReplies(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hub, name)


class _SlowReplies:
    def __init__(self, slow: SlowHub) -> None:
        self._slow = slow

    def __getattr__(self, name: str) -> Any:
        return getattr(self._slow._hub.replies, name)

    def of(self, *given: Any) -> Any:
        found = self._slow._hub.replies.of(*given)
        self._slow.meanwhile()
        return found


def test_a_refusal_that_comes_again_is_not_written_again(crm: Bench) -> None:
    """What is written gives the record a new stamp, so that it is refused once more, under another traceId."""
    fields = [Field("code__c", "warehouseId"), Field("name", "warehouseName")]
    into = FenxiangTarget(object="object_warehouse__c", match="warehouseId")
    pipeline = declared(name="archive", fields=fields, key="warehouseId", target=into, write_back=WriteBack(fields={
        "sync_error__c": Refusal(),
    }))  # fmt: skip
    crm.simulator.faults.rate("timeout_code", 1, path="/create")
    crm.sync(pipeline)
    assert back(crm, pipeline) == {"looked_at": 3, "delivered": 3}
    assert told(crm, "c0")["sync_error__c"].endswith("answered errorCode 50009: 服务异常，如:超时")

    crm.later()
    assert crm.sync(pipeline).to_json()["dead_letters"] == 3
    assert back(crm, pipeline) == {"looked_at": 3, "unchanged": 3}

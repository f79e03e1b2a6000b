"""Dead letters are replayed through today's mapping and the ordinary ledger, with no call to Fenxiang; rows in doubt
are settled as a person says; old letters expire, and too many of them fail the run that made them."""

from __future__ import annotations

import doctest
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fenxiang_simulator.target_knobs import Fault
from fenxiang_sync import Condition, DeadLetters, Field, Logic, Pipeline, WriteApi, integer
from fenxiang_sync import letters as declaration
from fenxiang_sync.errors import DeadLettersError, DeclarationError, RefusedError, TransientError
from fenxiang_sync.hub import DeadLetter, Presence, Seen, Selection, Status, StoredLetter
from fenxiang_sync.hub.selection import PAYLOAD_BYTES
from fenxiang_sync.letters import QEASY_LADDER
from fenxiang_sync.steps.doubt import Choice
from fenxiang_sync.steps.mend import Wanted, mend
from fenxiang_sync.steps.verify import judge
from tests.steps_fixtures import Bench, bench, manual, pipeline

NAME = "AccountObj"
RECORDS = 7
DELIVERING = [Field("_id", "id"), Field("name")]
NO_ROW = [*DELIVERING, Field("name", "size", convert=integer)]
"""A mapping that no record fits."""
MORE = [*DELIVERING, Field("name", "label")]
"""Another mapping of the same fields."""


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, **{NAME: RECORDS}) as crm:
        yield crm


def declared(**words: Any) -> Pipeline:
    return pipeline(**{"fields": DELIVERING, "target": WriteApi(upserts=True, tries=1), **words})


def appending(**words: Any) -> Pipeline:
    return declared(target=WriteApi(upserts=False, tries=1), **words)


def refusing(crm: Bench, *fields: str) -> None:
    """Which fields the target insists on from now on."""
    crm.simulator.targets.knobs.write_required = list(fields)


def replayed(
    crm: Bench, declared: Pipeline, run_id: str | None = None, *, now: datetime | None = None, **wanted: Any
) -> dict[str, int]:
    """The numbers of a replay that are not zero."""
    clock = crm.now if now is None else lambda: now
    numbers = mend(crm.run(declared, run_id), Wanted(**wanted), hub=crm.hub, reach=crm.reach(), clock=clock)
    ends = ("delivered", "unchanged", "superseded", "filtered", "in_doubt", "dead_letters", "unreadable")
    assert sum(numbers[end] for end in ends) == numbers["letters"]
    return {name: number for name, number in numbers.items() if number and type(number) is int}


def letters(crm: Bench, **wanted: Any) -> list[StoredLetter]:
    return list(crm.hub.letters.find("account", Selection(**wanted), whole=True))


def arrived(crm: Bench) -> list[dict[str, Any]]:
    return crm.simulator.targets.write.rows


def refused(crm: Bench, **words: Any) -> Pipeline:
    """A pipeline whose rows the target has refused, one and all, and would take now."""
    account = declared(**words)
    refusing(crm, "nothing")
    assert crm.sync(account).dead_letters == RECORDS
    refusing(crm)
    return account


def test_refused_rows_arrive_once_the_target_takes_them_without_a_call_to_fenxiang(crm: Bench) -> None:
    account = refused(crm)
    before = dict(crm.simulator.requests)
    assert replayed(crm, account) == {"letters": RECORDS, "delivered": RECORDS}
    assert crm.simulator.requests == before
    assert len(arrived(crm)) == RECORDS
    assert letters(crm) == []
    closed = letters(crm, closed=True)
    assert {(each.closed_as, each.closed_by) for each in closed} == {("delivered", "run-2")}
    assert replayed(crm, account) == {}, "there is nothing left to replay"


def test_a_letter_of_a_refused_row_has_the_record_and_the_row(crm: Bench) -> None:
    refused(crm)
    truth = crm.simulator.tenant.records(NAME)
    for letter in letters(crm):
        assert letter.payload["name"] == truth[str(letter.record_id)]["name"]
        assert letter.payload["last_modified_time"] == letter.modified_ms
        assert letter.content == {"id": letter.record_id, "name": letter.payload["name"]}


def test_what_the_mapping_rejected_is_mapped_as_it_is_declared_today(crm: Bench) -> None:
    assert crm.sync(declared(fields=NO_ROW)).dead_letters == RECORDS
    assert replayed(crm, declared(fields=MORE)) == {"letters": RECORDS, "delivered": RECORDS}
    assert all(row["label"] == row["name"] for row in arrived(crm))


def test_what_still_fits_no_row_is_one_more_try_of_the_same_letter(crm: Bench) -> None:
    rejecting = declared(fields=NO_ROW)
    crm.sync(rejecting)
    first = {letter.id for letter in letters(crm)}
    assert replayed(crm, rejecting) == {"letters": RECORDS, "dead_letters": RECORDS, "open_letters": RECORDS}
    again = letters(crm)
    assert {letter.id for letter in again} == first
    assert {(letter.attempts, letter.run, letter.history[0]["run"]) for letter in again} == {(2, "run-2", "run-1")}


def test_a_letter_goes_on_in_the_stage_in_which_it_fails_now(crm: Bench) -> None:
    crm.sync(declared(fields=NO_ROW))
    refusing(crm, "nothing")
    assert replayed(crm, declared()) == {"letters": RECORDS, "dead_letters": RECORDS, "open_letters": RECORDS}
    now = letters(crm)
    assert {(letter.stage, letter.attempts, letter.history[0]["stage"]) for letter in now} == {("load", 2, "transform")}
    assert replayed(crm, declared(fields=NO_ROW))["dead_letters"] == RECORDS
    assert {(letter.stage, letter.attempts) for letter in letters(crm)} == {("transform", 3)}
    refusing(crm)
    assert replayed(crm, declared())["delivered"] == RECORDS


def test_what_todays_conditions_leave_out_is_closed_as_filtered(crm: Bench) -> None:
    refused(crm)
    nobody = declared(conditions=[[Condition("name", Logic.EQ, "nobody")]])
    assert replayed(crm, nobody) == {"letters": RECORDS, "filtered": RECORDS}
    assert arrived(crm) == []


def test_a_version_that_was_succeeded_meanwhile_is_not_sent(crm: Bench) -> None:
    account = refused(crm)
    record_id = letters(crm)[0].record_id
    crm.later()
    crm.simulator.tenant.update(NAME, str(record_id), {"name": "newer"})
    crm.later()
    nobody = declared(conditions=[[Condition("name", Logic.EQ, "nobody")]])
    assert crm.sync(nobody).filtered, "the newer version is left out, so nothing closes the letter"
    assert replayed(crm, account) == {"letters": RECORDS, "superseded": 1, "delivered": RECORDS - 1}
    assert record_id not in {row["id"] for row in arrived(crm)}


def test_a_newer_version_at_the_target_is_never_overwritten(crm: Bench) -> None:
    account = refused(crm)
    record_id = str(letters(crm)[0].record_id)
    old = letters(crm, records=[record_id])[0]
    crm.later()
    crm.simulator.tenant.update(NAME, record_id, {"name": "newer"})
    crm.later()
    crm.sync(account)
    assert record_id not in {letter.record_id for letter in letters(crm)}, "its delivery closed it"
    crm.hub.bury([replace_letter(old)], now=crm.now())
    assert replayed(crm, account, records=[record_id])["superseded"] == 1
    assert [row["name"] for row in arrived(crm) if row["id"] == record_id] == ["newer"]


def replace_letter(old: StoredLetter, **changes: Any) -> DeadLetter:
    """The letter as a run would write it anew."""
    words = {name: getattr(old, name) for name in DeadLetter.__dataclass_fields__}
    return DeadLetter(**{**words, **changes})


def test_the_rows_of_a_record_that_is_gone_are_not_sent(crm: Bench) -> None:
    account = refused(crm)
    gone = letters(crm)[0]
    crm.hub.mark("account", {str(gone.record_id): gone.modified_ms or 0}, Presence.VANISHED, run="r", now=crm.now())
    assert replayed(crm, account) == {"letters": RECORDS, "superseded": 1, "delivered": RECORDS - 1}
    assert gone.record_id not in {row["id"] for row in arrived(crm)}


def test_only_the_letters_that_are_meant_are_replayed(crm: Bench) -> None:
    account = refused(crm)
    one, other = letters(crm)[:2]
    assert replayed(crm, account, run="run-9") == {"open_letters": RECORDS}
    assert replayed(crm, account, stage="transform") == {"open_letters": RECORDS}
    assert replayed(crm, account, error="RecordError") == {"open_letters": RECORDS}
    some = {"letters": 2, "delivered": 2, "open_letters": RECORDS - 2}
    assert replayed(crm, account, records=[one.record_id, other.row_id]) == some
    assert replayed(crm, account, run="run-1", stage="load", error="Refused")["delivered"] == RECORDS - 2


def test_a_dry_run_says_what_would_become_of_them_and_changes_nothing(crm: Bench) -> None:
    account = refused(crm)
    before = letters(crm)
    assert replayed(crm, account, dry_run=True) == {"letters": 7, "delivered": 7, "open_letters": 7}
    assert replayed(crm, declared(fields=NO_ROW), dry_run=True) == {"letters": 7, "dead_letters": 7, "open_letters": 7}
    assert letters(crm) == before
    assert arrived(crm) == []


def test_a_record_that_was_read_without_a_field_of_today_is_not_sent_with_it_empty(crm: Bench) -> None:
    refused(crm)
    numbers = replayed(crm, declared(fields=[*DELIVERING, Field("remark")]))
    assert numbers == {"letters": RECORDS, "dead_letters": RECORDS, "open_letters": RECORDS}
    assert "was read without remark" in letters(crm)[0].reason
    assert arrived(crm) == []
    assert replayed(crm, declared())["delivered"] == RECORDS, "with the fields that were read it is"


def test_a_letter_whose_record_was_too_large_to_keep_stays_and_is_counted(crm: Bench) -> None:
    account = declared()
    large = DeadLetter(
        pipeline="account", run="r", stage="load", error="Refused", reason="no", record_id="A",
        payload={"_id": "A", "text": "x" * PAYLOAD_BYTES},
    )  # fmt: skip
    crm.hub.bury([large], now=crm.now())
    assert replayed(crm, account) == {"letters": 1, "unreadable": 1, "open_letters": 1}
    assert [letter.attempts for letter in letters(crm)] == [1]


def test_the_newest_version_that_was_too_large_is_not_taken_for_history(crm: Bench) -> None:
    account = refused(crm)
    old = letters(crm)[0]
    newer = (old.modified_ms or 0) + 1
    large = {**old.payload, "last_modified_time": newer, "text": "x" * PAYLOAD_BYTES}
    unfit = replace_letter(old, stage="transform", row_id="", error="RecordError", modified_ms=newer, payload=large)
    crm.hub.bury([unfit], now=crm.now())
    crm.hub.see("account", [Seen(str(old.record_id), newer)], run="r", now=crm.now())
    numbers = replayed(crm, account, records=[str(old.record_id)])
    assert numbers == {"letters": 2, "superseded": 1, "unreadable": 1, "open_letters": RECORDS}
    assert arrived(crm) == []


def test_a_replay_that_was_cut_off_goes_on_behind_what_it_did(crm: Bench) -> None:
    account = refused(crm)
    crm.simulator.targets.faults.inject(None, None, None, Fault.UNAVAILABLE, on="write")
    with pytest.raises(TransientError):
        replayed(crm, account, "replay.1")
    assert len(arrived(crm)) == 3
    assert replayed(crm, account, "replay.1") == {"letters": RECORDS, "delivered": RECORDS}
    assert crm.simulator.targets.write.requests == RECORDS + 3 + 1 + 4, "nothing is sent twice"


def test_two_letters_of_one_record_are_one_delivery(crm: Bench) -> None:
    account = refused(crm)
    one = letters(crm)[0]
    crm.hub.bury([replace_letter(one, stage="transform", row_id="", error="RecordError")], now=crm.now())
    assert replayed(crm, account) == {"letters": RECORDS + 1, "delivered": RECORDS + 1}
    assert len(arrived(crm)) == RECORDS
    refusing(crm, "nothing")
    crm.later()
    crm.simulator.tenant.update(NAME, str(one.record_id), {"name": "newer"})
    crm.later()
    crm.sync(account)
    [again] = letters(crm)
    crm.hub.bury([replace_letter(again, stage="transform", row_id="", error="RecordError")], now=crm.now())
    numbers = replayed(crm, declared(fields=NO_ROW))
    assert numbers == {"letters": 2, "superseded": 1, "dead_letters": 1, "open_letters": 1}


# The ladder


def due(crm: Bench, declared: Pipeline, now: datetime | None = None) -> int:
    return replayed(crm, declared, now=now, due=True).get("letters", 0)


def test_refused_rows_are_tried_again_step_by_step_of_the_ladder(crm: Bench) -> None:
    account = refused(crm, dead_letters=DeadLetters(ladder=QEASY_LADDER))
    refusing(crm, "nothing")
    for step in QEASY_LADDER:
        tried = [letter.updated_at for letter in letters(crm)]
        assert due(crm, account, min(tried) + step - timedelta(milliseconds=1)) == 0
        assert due(crm, account, max(tried) + step) == RECORDS
    assert due(crm, account, max(tried) + timedelta(days=9)) == 0, "the ladder has an end"
    assert {letter.attempts for letter in letters(crm)} == {1 + len(QEASY_LADDER)}


def test_what_fits_no_row_is_tried_again_when_the_declaration_has_changed_and_not_before(crm: Bench) -> None:
    rules = DeadLetters(ladder=QEASY_LADDER)
    rejecting = declared(fields=NO_ROW, dead_letters=rules)
    crm.sync(rejecting)
    crm.later(timedelta(days=1).total_seconds())
    assert due(crm, rejecting) == 0
    again = declared(fields=[*NO_ROW, Field("name", "label")], dead_letters=rules)
    assert due(crm, again) == RECORDS
    assert due(crm, again) == 0, "once"
    assert due(crm, declared(dead_letters=rules)) == RECORDS
    assert letters(crm) == []


# Expiry


def test_letters_that_nobody_tried_for_long_expire_and_closed_ones_are_deleted_some_day(crm: Bench) -> None:
    account = refused(crm)
    crm.later(timedelta(days=29).total_seconds())
    assert replayed(crm, account, run="none") == {"open_letters": RECORDS}
    crm.later(timedelta(days=2).total_seconds())
    assert replayed(crm, account, "replay.1", run="none") == {"expired": RECORDS}
    assert {letter.closed_as for letter in letters(crm, closed=True)} == {"expired"}
    assert replayed(crm, account, "replay.1", run="none") == {}, "what a run has let expire it did not replay"
    crm.later(timedelta(days=91).total_seconds())
    assert replayed(crm, account) == {"forgotten": RECORDS}
    assert letters(crm, closed=True) == []


def test_an_ordinary_run_lets_them_expire_too_and_says_so(crm: Bench) -> None:
    account = refused(crm, dead_letters=DeadLetters(keep=timedelta(minutes=20), forget=None))
    crm.later(timedelta(minutes=30).total_seconds())  # less than a token lasts: a new one would have to wait
    crm.simulator.tenant.update(NAME, str(letters(crm)[0].record_id), {"name": "newer"})
    crm.later()
    report = crm.sync(account)
    assert (report.delivered, report.expired, report.open_letters) == (1, RECORDS - 1, 0)
    assert len(letters(crm, closed=True)) == RECORDS


# Too many


def test_a_run_with_too_many_dead_letters_has_delivered_and_certified_all_else(crm: Bench) -> None:
    account = declared(dead_letters=DeadLetters(most=2))
    refused_ids = sorted(crm.simulator.tenant.records(NAME))[:3]
    for record_id in refused_ids:
        crm.simulator.tenant.update(NAME, record_id, {"remark": None})
    for record_id in sorted(crm.simulator.tenant.records(NAME))[3:]:
        crm.simulator.tenant.update(NAME, record_id, {"remark": "there"})
    crm.later()
    account = replace(account, fields=[*DELIVERING, Field("remark")])
    refusing(crm, "remark")
    run = crm.run(account, "manual__1")
    crm.deliver(run, crm.plan(run, manual()))
    report = crm.verify(run)
    assert report.certified
    assert len(arrived(crm)) == RECORDS - 3
    said = r"3 of 7 records became dead letters.*DeadLetters\(most=2\).*fenxiang letters account --run 'manual__1'"
    with pytest.raises(DeadLettersError, match=said):
        judge(run, report, crm.hub)
    refusing(crm)
    replayed(crm, account, records=refused_ids[:1])
    judge(run, crm.verify(run), crm.hub)  # cleared: two are left, and no more than two may be


def test_a_few_dead_letters_are_no_share_to_speak_of() -> None:
    assert doctest.testmod(declaration).failed == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"most": -1}, "most=-1: give a number of records"),
        ({"most_share": 5}, "most_share=5: give a share from 0 to 1"),
        ({"ladder": [20, 300]}, "give a list of timedelta, as QEASY_LADDER"),
        ({"ladder": [timedelta(0)]}, "give times above 0"),
        ({"schedule": "hourly"}, "is no cron expression"),
        ({"keep": 30}, "keep=30: give a timedelta"),
        ({"forget": timedelta(0)}, "forget=0 min: give how long"),
    ],
)
def test_rules_that_cannot_be_meant_are_told(words: dict[str, Any], says: str) -> None:
    with pytest.raises(DeclarationError, match=f"dead_letters: .*{says}"):
        declared(dead_letters=DeadLetters(**words))


# Rows in doubt


def doubtful(crm: Bench, lost: int = 2) -> Pipeline:
    """A pipeline with so many rows that the target has taken, and of which no answer came."""
    account = appending()
    account = replace(account, target=replace(account.target, most_lost=lost + 1))
    crm.simulator.targets.knobs.write_appends = True
    crm.simulator.targets.faults.inject(*[Fault.DROP_AFTER_COMMIT] * lost, on="write")
    assert crm.sync(account).in_doubt == lost
    assert crm.hub.counts("account")[Status.IN_DOUBT] == lost
    return account


def doubts(crm: Bench) -> list[str]:
    return [each.id for each in crm.hub.doubts.find("account", now=crm.now())]


def test_a_row_in_doubt_says_what_was_sent_when_and_by_whom(crm: Bench) -> None:
    doubtful(crm)
    for each in crm.hub.doubts.find("account", now=crm.now()):
        assert each.content == next(row for row in arrived(crm) if row["id"] == each.id)
        assert each.run == "run-1/1"
        assert each.sent_at is not None
        assert each.reason


def test_accepted_rows_count_as_delivered_and_are_not_sent_again(crm: Bench) -> None:
    account = doubtful(crm)
    one, other = doubts(crm)
    assert replayed(crm, account, in_doubt=Choice.ACCEPT, records=[one]) == {
        "doubtful": 1, "accepted": 1, "rows_in_doubt": 1,
    }  # fmt: skip
    assert doubts(crm) == [other]
    assert replayed(crm, account, in_doubt=Choice.ACCEPT)["accepted"] == 1
    assert crm.sync(account, manual(full=True)).unchanged == RECORDS
    assert len(arrived(crm)) == RECORDS


def test_rows_that_are_sent_again_are_sent_as_they_were_and_once(crm: Bench) -> None:
    account = doubtful(crm)
    crm.simulator.targets.write.rows.clear()
    assert replayed(crm, account, "replay.1", in_doubt=Choice.RESEND) == {"doubtful": 2, "resent": 2}
    assert replayed(crm, account, "replay.1", in_doubt=Choice.RESEND) == {"doubtful": 2, "resent": 2}
    assert len(arrived(crm)) == 2
    assert crm.sync(account, manual(full=True)).unchanged == RECORDS


def test_a_row_whose_answer_is_lost_once_more_stays_in_doubt_and_a_retry_does_not_send_it(crm: Bench) -> None:
    account = doubtful(crm, 1)
    [row_id] = doubts(crm)
    crm.simulator.targets.faults.inject(Fault.DROP_AFTER_COMMIT, on="write")
    for _ in range(2):
        assert replayed(crm, account, "replay.1", in_doubt=Choice.RESEND)["left_in_doubt"] == 1
    assert [row["id"] for row in arrived(crm)].count(row_id) == 2, "the first time, and as a person said"
    assert doubts(crm) == [row_id]


@pytest.mark.parametrize(("fault", "error"), [(Fault.THROTTLED, TransientError), (Fault.TOKEN_REFUSED, RefusedError)])
def test_a_row_that_the_target_did_not_take_is_in_doubt_as_before_and_a_retry_sends_it(
    crm: Bench, fault: Fault, error: type[Exception]
) -> None:
    account = doubtful(crm, 1)
    before = list(crm.hub.doubts.find("account", now=crm.now()))
    crm.simulator.targets.faults.inject(fault, on="write")
    with pytest.raises(error):
        replayed(crm, account, "replay.1", in_doubt=Choice.RESEND)
    [after] = crm.hub.doubts.find("account", now=crm.now())
    assert (after.id, after.content, after.hash) == (before[0].id, before[0].content, before[0].hash)
    assert replayed(crm, account, "replay.1", in_doubt=Choice.RESEND)["resent"] == 1


def test_rows_that_were_not_sent_when_the_target_failed_are_sent_by_the_retry(crm: Bench) -> None:
    account = replace(doubtful(crm, 3), target=WriteApi(upserts=False, tries=1, batch_rows=1))
    crm.simulator.targets.faults.inject(None, Fault.THROTTLED, on="write")
    with pytest.raises(TransientError):
        replayed(crm, account, "replay.1", in_doubt=Choice.RESEND)
    assert len(doubts(crm)) == 2
    assert replayed(crm, account, "replay.1", in_doubt=Choice.RESEND) == {"doubtful": 3, "resent": 3}
    assert doubts(crm) == []
    assert len(arrived(crm)) == RECORDS + 3, "each of the three once more"


def test_a_row_that_is_refused_when_it_is_sent_again_is_a_dead_letter(crm: Bench) -> None:
    account = doubtful(crm, 1)
    refusing(crm, "nothing")
    numbers = replayed(crm, account, in_doubt=Choice.RESEND)
    assert numbers == {"doubtful": 1, "refused": 1, "open_letters": 1}
    [letter] = letters(crm)
    assert letter.content["id"] == letter.row_id


def test_what_was_edited_while_its_row_was_in_doubt_is_read_again_by_the_next_reconcile(crm: Bench) -> None:
    account = doubtful(crm, 1)
    [row_id] = doubts(crm)
    crm.later()
    crm.simulator.tenant.update(NAME, row_id, {"name": "newer"})
    crm.later()
    assert crm.sync(account).in_doubt == 1, "it might be there twice"
    assert replayed(crm, account, in_doubt=Choice.ACCEPT)["outdated"] == 1
    newer = crm.simulator.tenant.records(NAME)[row_id]["last_modified_time"]
    [held] = crm.hub.listed("account").entries([row_id]).values()
    assert held.modified_ms < newer
    crm.hub.see("account", [Seen(row_id, newer)], run="r", now=crm.now())
    [held] = crm.hub.listed("account").entries([row_id]).values()
    assert held.modified_ms == newer, "as any reading notes it again"


def test_rows_in_doubt_can_be_settled_without_a_replay(crm: Bench) -> None:
    account = doubtful(crm, 1)
    other = DeadLetter(pipeline="account", run="r", stage="load", error="Refused", reason="no", record_id="other")
    crm.hub.bury([other], now=crm.now())
    numbers = replayed(crm, account, in_doubt=Choice.ACCEPT, letters=False)
    assert numbers == {"doubtful": 1, "accepted": 1, "open_letters": 1}


def test_a_dry_run_settles_no_doubt(crm: Bench) -> None:
    account = doubtful(crm)
    assert replayed(crm, account, in_doubt=Choice.RESEND, dry_run=True) == {
        "doubtful": 2, "resent": 2, "rows_in_doubt": 2,
    }  # fmt: skip
    assert len(doubts(crm)) == 2

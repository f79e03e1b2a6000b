"""Truth: what the target and the ledger must hold, by what the CRM truly has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fenxiang_sync import DeletePolicy, IdCheck, Pipeline
from fenxiang_sync.errors import RecordError
from fenxiang_sync.hub import Hub, Status
from fenxiang_sync.steps.verify import Report
from fenxiang_sync.window import Window, from_ms, gaps
from tests.machine.people import People, Record
from tests.machine_fixtures import OBJECT, Store, World
from tests.steps_fixtures import CREDENTIALS


@dataclass(frozen=True)
class Truth:
    """Compares one pipeline's target with the CRM; what does not hold is an `AssertionError`."""

    world: World
    hub: Hub
    pipeline: Pipeline
    store: Store
    people: People

    def seen(self) -> dict[str, Record]:
        """What the acting user can find now, under the source's filters."""
        wanted = "normal" if self.pipeline.source.filters else None
        return self.world.seen(lambda record: wanted is None or record["life_status"] == wanted)

    def no_version_overwrote_a_newer_one(self) -> None:
        for row_id, taken in self.store.history.items():
            versions = [(row.modified_ms, row.version) for row in taken]
            assert versions == sorted(versions), f"an older version of {row_id} came last: {versions}"
            if not self.pipeline.target.upserts and self.pipeline.id_check is IdCheck.UPSERT_ON_CHANGE:
                sent = {(row.modified_ms, row.version, str(row.content)) for row in taken}  # a change may have no stamp
                assert len(sent) == len(taken), f"{row_id} was delivered twice: {versions}"

    def adds_up(self, report: Report, *, dry_run: bool) -> None:
        ended = report.delivered + report.unchanged + report.stale + report.filtered
        assert report.read == ended + report.in_doubt + report.dead_letters
        certified = self.hub.certified(self.pipeline.name)
        for window in report.certified:
            assert gaps(window, certified) == []
        assert bool(report.certified) == (not dry_run and not report.window.empty)

    def complete(self, report: Report, before: dict[str, Record]) -> None:
        """What could be seen when verify began, and was not touched while it asked, is at the target."""
        after = self.seen()
        untouched = [record for key, record in before.items() if after.get(key) is record]
        for record in untouched:
            certified = any(record["last_modified_time"] in window for window in report.certified)
            if certified and record["_id"] not in self.people.unstamped:
                self._is_there(record)

    def _is_there(self, record: Record) -> None:
        voided = record["life_status"] == "invalid"
        if not self.pipeline.keeps(record) or (voided and self.pipeline.removes is DeletePolicy.DELETE):
            return
        expected = {name: record.get(name) for name in ("_id", "name", "life_status", "remark")}
        flagged = record["_id"] in self.store.removed and not voided
        if (self.store.content(record["_id"]) == expected and not flagged) or self._excused(record):
            return
        stamp = from_ms(record["last_modified_time"]).isoformat(timespec="milliseconds")
        held = [row.content | {"at": row.modified_ms} for row in self.store.history.get(record["_id"], [])]
        raise AssertionError(
            f"{expected} of {stamp}, version {record['version']} is not at the target: {held}{', removed' * flagged}"
        )

    def _excused(self, record: Record) -> bool:
        """A dead letter of this very version, or in doubt."""
        stamp = record["last_modified_time"]
        name, record_id = self.pipeline.name, record["_id"]
        if any(each.record_id == record_id and each.modified_ms == stamp for each in self.hub.dead_letters(name)):
            return True
        held = next(iter(self.hub.records(name, ids=[record_id])), None)
        if held is None or held.status is not Status.IN_DOUBT:
            return False
        return not self.pipeline.target.upserts or held.claim_modified_ms == stamp

    def _unread(self, record: Record) -> bool:
        """Whether `get` refused it in this version: then nobody knows what it gives, and its row stays."""
        letters = self.hub.dead_letters(self.pipeline.name)
        return any(
            (each.record_id, each.modified_ms) == (record["_id"], record["last_modified_time"])
            and "could not be got" in each.reason
            for each in letters
        )

    def all_is_there(self, certified: Sequence[Window]) -> None:
        """Whatever has a stamp in certified time, but for what runs cannot know: only reconciling finds it."""
        for_reconcile = self.people.unstamped | self.people.shown
        for record in self.seen().values():
            if record["_id"] not in for_reconcile and _in(certified, record):
                self._is_there(record)

    def all_is_right(self, certified: Sequence[Window]) -> None:
        """After a reconcile: what is certified is there, and the rows of what is gone are removed, no other."""
        seen = self.seen()
        for record in seen.values():
            if _in(certified, record):
                self._is_there(record)
        tells = can_tell_deleted(seen.values(), certified)
        truth = self.world.tenant.records(OBJECT)
        may_be_seen = self.world.tenant.permission(OBJECT, CREDENTIALS.acting_user)
        for row_id, taken in self.store.history.items():
            found = truth.get(row_id)
            if found is None and not tells:
                continue
            if found is not None and may_be_seen is not None and not may_be_seen(found):
                continue
            stamps = [stamp for stamp in self.people.stamps[row_id] if stamp >= taken[-1].modified_ms]
            if found is None:  # it was voided first, perhaps after the last run: what counts is what was read
                entries = self.hub.listed(self.pipeline.name).entries([row_id])
                stamps = [entries[row_id].modified_ms] if row_id in entries else stamps
            if found is not None and self._unread(found):
                continue
            if all(any(stamp in one for one in certified) for stamp in stamps):
                gone = found is None or found["life_status"] == "invalid" or not gives_a_row(self.pipeline, found)
                self._is_removed(row_id, gone=gone)

    def _is_removed(self, row_id: str, *, gone: bool) -> None:
        if (row_id in self.store.removed) == gone:
            return
        held = next(iter(self.hub.records(self.pipeline.name, ids=[row_id])), None)
        # In doubt whether it came, or the load that sent it first died and its run was given up: nobody knows the row.
        if gone and held and (held.status is Status.IN_DOUBT or held.modified_ms is None):
            return
        entry = self.hub.listed(self.pipeline.name).entries([row_id]).get(row_id)
        raise AssertionError(f"{row_id} is {'gone' if gone else 'there'}, its row is not so: {held}, {entry}")


def can_tell_deleted(seen: Iterable[Record], certified: Sequence[Window]) -> bool:
    """Whether a reconcile can tell a deleted record from a hidden one: with a record that queries list in the time
    that is compared. Without one, absent records are unclear and their rows stay (docs/operations.md)."""
    return any(_in(certified, record) for record in seen)


def gives_a_row(pipeline: Pipeline, record: Record) -> bool:
    try:
        return bool(pipeline.rows(record))
    except RecordError:
        return False


def _in(windows: Sequence[Window], record: Record) -> bool:
    return any(record["last_modified_time"] in one for one in windows)

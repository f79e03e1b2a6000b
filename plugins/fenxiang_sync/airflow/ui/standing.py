"""Standing: where a pipeline stands, by the hub: what is certified and what not, what its runs did, what is left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from fenxiang_sync.airflow.hook import day_quota
from fenxiang_sync.airflow.settings import Settings
from fenxiang_sync.convert import SHANGHAI
from fenxiang_sync.coverage import Coverage
from fenxiang_sync.declared import Declared
from fenxiang_sync.drift import Known, note_name
from fenxiang_sync.errors import FenxiangSyncError
from fenxiang_sync.hub import DayCalls, Hub, LetterGroup, RunRecord, Status
from fenxiang_sync.lateness import Lateness

RUNS = 20
"""How many runs a page shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """The calls of one day (Asia/Shanghai) by the app of a pipeline; `quota` is None where it is not known."""

    day: str
    calls: int
    quota: int | None

    def to_json(self) -> dict[str, Any]:
        return {"day": self.day, "calls": self.calls, "day_quota": self.quota}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Of one pipeline. `known` is the description of its object and how it has changed; `spent` is None where none of
    its calls were counted today."""

    declared: Declared
    coverage: Coverage
    lateness: Lateness
    runs: list[RunRecord]
    letters: list[LetterGroup]
    in_doubt: int
    known: Known
    spent: Spent | None = None

    @classmethod
    def of(cls, declared: Declared, hub: Hub, *, runs: int = RUNS) -> Standing:
        name = declared.name
        return cls(
            declared=declared,
            coverage=Coverage.of(declared, hub.certified(name), dag_id=declared.dag_id),
            lateness=Lateness.of(name, declared.lookback, hub.late(name)),
            runs=hub.runs(name, runs),
            letters=hub.letter_groups(name),
            in_doubt=hub.count_unfinished(name, Status.IN_DOUBT),
            known=Known.read(hub.noted(note_name(declared.connection, declared.object))),
            spent=spent(declared.connection, hub.calls(_today())) if declared.connection else None,
        )

    @property
    def watermark(self) -> datetime | None:
        """Up to when everything that is not a gap is certified."""
        return self.coverage.certified[-1].until if self.coverage.certified else None

    @property
    def open_letters(self) -> int:
        return sum(each.letters for each in self.letters)

    def to_json(self, *, reasons: bool) -> dict[str, Any]:
        """All of it; without `reasons`, not why records and runs failed."""
        declared = self.declared
        return {
            "pipeline": declared.name,
            "dag_id": declared.dag_id,
            "title": declared.title,
            "object": declared.object,
            "connection": declared.connection,
            "target": declared.target,
            "schedule": declared.schedule,
            "timezone": declared.timezone,
            "certified_until": None if self.watermark is None else self.watermark.isoformat(timespec="milliseconds"),
            "coverage": _without_name(self.coverage.to_json()),
            "late": {**_without_name(self.lateness.to_json()), "advice": self.lateness.advice()},
            "runs": [_run(each, reasons=reasons) for each in self.runs],
            "dead_letters": {
                "open": self.open_letters,
                "groups": [_letters(each, reasons=reasons) for each in self.letters],
            },
            "in_doubt": self.in_doubt,
            "drift": [
                {**each.to_json(), "columns": declared.columns.get(each.field, [])} for each in self.known.changes
            ],
            "calls": None if self.spent is None else self.spent.to_json(),
        }


def spent(connection: str, today: Sequence[DayCalls]) -> Spent | None:
    """What the app of a connection has called today, by the calls of today."""
    mine = next((each for each in today if each.connection == connection), None)
    if mine is None:
        return None
    try:
        quota = day_quota(connection)
    except FenxiangSyncError:  # its day_quota is no number: `fenxiang check` and every run say so
        quota = None
    return Spent(day=mine.day, calls=mine.of_app(today), quota=quota)


@contextmanager
def open_hub() -> Iterator[Hub]:
    """The hub of this deployment; raises `SetupError` or `TransientError` where it cannot be used."""
    with Hub.connect(Settings.load().hub_url()) as hub:
        yield hub


def _today() -> str:
    return datetime.now(UTC).astimezone(ZoneInfo(SHANGHAI)).date().isoformat()


def _without_name(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "pipeline"}


def _run(run: RunRecord, *, reasons: bool) -> dict[str, Any]:
    numbers = {name: value for name, value in run.numbers.items() if reasons or name != "reason"}
    return {
        "run": run.run,
        "kind": run.kind,
        "state": run.state,
        "window": None if run.window is None else run.window.to_json(),
        "started_at": run.started_at.isoformat(timespec="seconds"),
        "finished_at": None if run.finished_at is None else run.finished_at.isoformat(timespec="seconds"),
        "requests": run.requests,
        "numbers": numbers,
    }


def _letters(group: LetterGroup, *, reasons: bool) -> dict[str, Any]:
    return {
        "stage": group.stage,
        "error": group.error,
        "letters": group.letters,
        "newest": [
            {
                "record_id": each.record_id,
                "row_id": each.row_id,
                "field": each.field,
                "at": each.updated_at.isoformat(timespec="seconds"),
                **({"reason": each.reason} if reasons else {}),
            }
            for each in group.newest
        ],
    }

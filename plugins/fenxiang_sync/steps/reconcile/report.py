"""report: the numbers of a reconcile, added up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from fenxiang_sync.errors import IncompleteError
from fenxiang_sync.rows import Outcome
from fenxiang_sync.stage import DERIVED, RECORDS, Folder
from fenxiang_sync.steps import orphans
from fenxiang_sync.steps.holding import Holding
from fenxiang_sync.steps.plan import Segment
from fenxiang_sync.steps.reconcile.survey import Form, Survey
from fenxiang_sync.steps.run import Run
from fenxiang_sync.window import Window

_HINT = "clear the task survey, with everything after it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """What a reconcile compared, found, read again and removed; in records, from `removed` to `lacking` in rows.

    `compared` are the records held in `windows`; `late` came after their span was certified, and a lookback of
    `late_s` seconds would have caught them; of `in_ledger` rows the target lacks `lacking` and holds `at_target` (both
    None: it cannot be counted); `estimated` calls were foreseen, `requests` were made.
    """

    windows: list[Window]
    form: Form
    deep: bool
    dry_run: bool
    compared: int
    buckets: int
    missing: int
    stale: int
    returned: int
    moved: int
    voided: int
    left: int
    hidden: int
    vanished: int
    unclear: int
    late: int
    late_s: int
    fetched: int
    delivered: int
    unchanged: int
    superseded: int
    filtered: int
    in_doubt: int
    dead_letters: int
    removed: int
    not_removed: int
    in_ledger: int | None
    at_target: int | None
    lacking: int
    estimated: int
    requests: int

    def to_json(self) -> dict[str, Any]:
        document = msgspec.to_builtins(self)
        document["windows"] = [window.to_json() for window in self.windows]
        return dict(document)


def report(run: Run, removed: dict[str, int], held: Holding) -> Reconciled:
    """Add up what the stage says of the run, and write it there; raises `IncompleteError` where it does not add up."""
    surveyed = Survey.of(run)
    compared, confirmed = run.folder.need("compared", _HINT), run.folder.need("confirmed", _HINT)
    found = Counter(compared["numbers"])
    segments = [msgspec.convert(each, Segment) for each in run.folder.need("segments", _HINT)]
    folders = [run.segment(segment.index) for segment in segments]
    read, outcomes = _added_up(folders)
    late = [told for folder in folders if (told := folder.load("late")) is not None]
    orphaned = [told for folder in folders if (told := folder.load(orphans.DOCUMENT)) is not None]
    made = Reconciled(
        windows=surveyed.windows,
        form=surveyed.form,
        deep=surveyed.deep,
        dry_run=surveyed.dry_run,
        compared=surveyed.held,
        buckets=found["buckets"],
        missing=found["missing"],
        stale=found["stale"],
        returned=found["returned"],
        moved=found["moved"],
        voided=found["voided"] + confirmed["voided"],
        left=confirmed["left"],
        hidden=confirmed["hidden"],
        vanished=confirmed["vanished"],
        unclear=confirmed["unclear"],
        late=sum(each["late"] for each in late),
        late_s=-(-max((each["late_ms"] for each in late), default=0) // 1000),
        fetched=read,
        delivered=outcomes[Outcome.DELIVERED],
        unchanged=outcomes[Outcome.UNCHANGED],
        superseded=outcomes[Outcome.STALE],
        filtered=outcomes[Outcome.FILTERED],
        in_doubt=outcomes[Outcome.IN_DOUBT],
        dead_letters=outcomes[Outcome.DEAD_LETTER],
        removed=removed["removed"] + sum(each["removed"] for each in orphaned),
        not_removed=removed["not_removed"] + sum(each["not_removed"] for each in orphaned),
        in_ledger=held.in_ledger,
        at_target=held.at_target,
        lacking=held.lacking,
        estimated=surveyed.calls,
        requests=found["calls"] + confirmed["calls"] + sum(_read(folder)["calls"] for folder in folders),
    )
    run.folder.save("report", made.to_json())
    return made


def clean(run: Run, *, keep_records: bool = False) -> None:
    """Remove the rows of a run that succeeded, and its records unless they are kept; the differences stay until the
    stage is swept by age."""
    for each in run.folder.need("segments", _HINT):
        run.segment(each["index"]).remove(*DERIVED, *(() if keep_records else (RECORDS,)))


def _added_up(folders: Iterable[Folder]) -> tuple[int, Counter[Outcome]]:
    read = 0
    outcomes: Counter[Outcome] = Counter()
    for folder in folders:
        read += _read(folder)["read"]
        loaded = folder.need("loaded", "clear the failed tasks of the run")
        outcomes.update({Outcome(name): number for name, number in loaded.items()})
    if outcomes.total() != read:
        raise IncompleteError(
            f"{read} records were read again, but {outcomes.total()} have an outcome; clear the task survey, with "
            "everything after it"
        )
    return read, outcomes


def _read(folder: Folder) -> dict[str, int]:
    return dict(folder.need("extracted", "clear the failed tasks of the run"))

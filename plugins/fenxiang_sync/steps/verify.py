"""verify: what the server holds in the windows against what the run holds; then the certificate, or a failure."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from fenxiang_sync.errors import IncompleteError, UnverifiedError
from fenxiang_sync.hub import Certificate, Hub
from fenxiang_sync.rows import Outcome
from fenxiang_sync.source import FenxiangClient, census
from fenxiang_sync.stage import DATA, Folder
from fenxiang_sync.steps.extract import read_ids, stamps
from fenxiang_sync.steps.load import load
from fenxiang_sync.steps.plan import Plan, Segment
from fenxiang_sync.steps.run import Run
from fenxiang_sync.steps.transform import transform
from fenxiang_sync.targets.protocol import Reach
from fenxiang_sync.window import Window, gaps

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The numbers of a run, in records. `window` was asked for; `certified` is what is certified now: it and the gaps
    before it, or nothing after a dry run. `uncovered` are gaps that are too old to heal by themselves."""

    window: Window
    certified: list[Window]
    segments: int
    read: int
    delivered: int
    unchanged: int
    stale: int
    filtered: int
    in_doubt: int
    dead_letters: int
    repaired: int
    digest: str
    requests: int
    dry_run: bool
    uncovered: list[Window]

    def to_json(self) -> dict[str, Any]:
        document = msgspec.to_builtins(self)
        document["window"] = self.window.to_json()
        for spans in ("certified", "uncovered"):
            document[spans] = [window.to_json() for window in getattr(self, spans)]
        return dict(document)


def verify(run: Run, *, client: FenxiangClient, hub: Hub, reach: Reach, clock: Callable[[], datetime]) -> Report:
    """Compare, repair a difference once, add up, certify; raises `IncompleteError` with the numbers instead."""
    planned = Plan.of(run)
    before = client.calls.total()
    _all_loaded(run, planned)
    repaired = _repair(run, planned, client, hub, reach, clock)
    folders = [run.segment(index) for index in range(1, len(planned.segments) + 2)]
    read, outcomes = _added_up(folders)
    report = Report(
        window=planned.window,
        certified=[] if planned.dry_run else planned.windows,
        segments=len(planned.segments),
        read=read,
        delivered=outcomes[Outcome.DELIVERED],
        unchanged=outcomes[Outcome.UNCHANGED],
        stale=outcomes[Outcome.STALE],
        filtered=outcomes[Outcome.FILTERED],
        in_doubt=outcomes[Outcome.IN_DOUBT],
        dead_letters=outcomes[Outcome.DEAD_LETTER],
        repaired=repaired,
        digest=_digest(folders),
        requests=planned.calls + client.calls.total() - before + sum(_calls(folder) for folder in folders),
        dry_run=planned.dry_run,
        uncovered=planned.uncovered,
    )
    if not planned.dry_run:
        _certify(run, planned, report, hub, clock())
    run.folder.save("report", report.to_json())
    return report


def clean(run: Run) -> None:
    """Remove the data of a run that succeeded; what was done stays readable until the stage is swept by age."""
    for index in range(1, len(Plan.of(run).segments) + 2):
        run.segment(index).remove(*DATA)


def _all_loaded(run: Run, planned: Plan) -> None:
    open_ = [segment for segment in planned.segments if run.segment(segment.index).load("loaded") is None]
    if open_:
        raise IncompleteError(
            f"{len(open_)} of {len(planned.segments)} planned segments were not delivered; the first is segment "
            f"{open_[0].index} ({open_[0].window}). Clear its failed task, then this one"
        )


def _repair(
    run: Run, planned: Plan, client: FenxiangClient, hub: Hub, reach: Reach, clock: Callable[[], datetime]
) -> int:
    """Ask the server again for every segment; read, map and deliver what is missing, once.

    What was missing is kept as one more segment behind the planned ones. Returns the number of its records.
    """
    extra = Segment(index=len(planned.segments) + 1, window=Window(0, 0), count=None)
    run.segment(extra.index).clear()
    missing = _missing(run, planned, client, {})
    if not missing:
        return 0
    log.warning("%d records of the window were not held; reading them again", len(missing))
    repaired = read_ids(run, sorted(missing), run.segment(extra.index), client=client)["read"]
    transform(run, extra)
    load(run, extra, hub=hub, reach=reach, clock=clock, dry_run=planned.dry_run)
    lost = _missing(run, planned, client, stamps(run.segment(extra.index)))
    if lost:
        some = ", ".join(sorted(lost)[:3])
        raise IncompleteError(
            f"{len(lost)} records of the window are at the source and not here, even after reading them again "
            f"(for example {some}). Nothing is certified; clear the task plan to read the window anew"
        )
    return repaired


def _missing(run: Run, planned: Plan, client: FenxiangClient, also: dict[str, int]) -> set[str]:
    """Ids that the server has in the windows now and that neither the segments nor `also` hold that new."""
    source = run.pipeline.source
    found: set[str] = set()
    for window, held in _compared(run, planned):
        found |= {
            record_id
            for record_id, stamp in census.missing(client, source.object, window, source.filters, held).items()
            if also.get(record_id, -1) < stamp
        }
    return found


def _compared(run: Run, planned: Plan) -> Iterator[tuple[Window, dict[str, int]]]:
    """Each span of the windows with what is held of it."""
    for segment in planned.segments:
        yield segment.window, _held(run, segment)
    # What plan took for empty has no segment. But a count is a hint, and records come late.
    read = [segment.window for segment in planned.segments]
    for window in planned.windows:
        for span in gaps(window, read):
            yield span, {}


def _held(run: Run, segment: Segment) -> dict[str, int]:
    folder = run.segment(segment.index)
    held = stamps(folder)
    read = folder.need("extracted", "clear the extract task of this segment")["read"]
    if read and not held:
        raise UnverifiedError(
            f"The records of segment {segment.index} are no longer in the stage (a run that succeeded is cleaned), "
            "so there is nothing to compare; clear the task plan to run again"
        )
    return held


def _added_up(folders: Iterable[Folder]) -> tuple[int, Counter[Outcome]]:
    """The records that were read and what became of them; raises `IncompleteError` where that differs."""
    read = 0
    outcomes: Counter[Outcome] = Counter()
    for folder in folders:
        read += (folder.load("extracted") or {"read": 0})["read"]
        outcomes.update({Outcome(name): number for name, number in (folder.load("loaded") or {}).items()})
    total = sum(outcomes.values())
    if total != read:
        told = ", ".join(f"{number} {outcome.value}" for outcome, number in sorted(outcomes.items()))
        raise IncompleteError(f"{read} records were read, but {total} have an outcome ({told}); nothing is certified")
    return read, outcomes


def _calls(folder: Folder) -> int:
    return int((folder.load("extracted") or {"calls": 0})["calls"])


def _digest(folders: Iterable[Folder]) -> str:
    """A digest of the ids and stamps that the run holds, independent of their order."""
    total = 0
    for folder in folders:
        for record_id, stamp in stamps(folder).items():
            total += int.from_bytes(hashlib.blake2b(f"{record_id} {stamp}".encode(), digest_size=16).digest())
    return f"{total % 2**128:032x}"


def _certify(run: Run, planned: Plan, report: Report, hub: Hub, now: datetime) -> None:
    for window in planned.windows:
        hub.certify(
            Certificate(
                pipeline=run.pipeline.name,
                window=window,
                run=run.id,
                numbers=report.to_json(),
                digest=report.digest,
                requests=report.requests,
                config_hash=planned.config_hash,
            ),
            now=now,
        )

"""verify: what the server holds in the windows against what the run holds; then the certificate, or a failure."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec

from fenxiang_sync.errors import DeadLettersError, IncompleteError
from fenxiang_sync.hub import PARENT_MISSING, Certificate, Hub, Selection
from fenxiang_sync.rows import Outcome
from fenxiang_sync.source import Client, FenxiangClient
from fenxiang_sync.source.details import changed
from fenxiang_sync.stage import DERIVED, RECORDS, Folder
from fenxiang_sync.steps import moves, orphans
from fenxiang_sync.steps.comparison import Comparison, compare
from fenxiang_sync.steps.courier import ROWS_A_CLAIM
from fenxiang_sync.steps.expiry import expire
from fenxiang_sync.steps.extract import read_ids, versions
from fenxiang_sync.steps.finish import finish
from fenxiang_sync.steps.holding import COUNTING, holding, told
from fenxiang_sync.steps.late import Watch
from fenxiang_sync.steps.load import load, superseded
from fenxiang_sync.steps.plan import Plan, Segment
from fenxiang_sync.steps.replay import replay
from fenxiang_sync.steps.run import Run
from fenxiang_sync.steps.transform import rows, transform
from fenxiang_sync.targets.hub import HubTarget
from fenxiang_sync.targets.protocol import Reach
from fenxiang_sync.window import Window

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The numbers of a run, in records; `removed` and `not_removed` in rows, those that a record gives no more;
    `lacking` are so many of all rows ever delivered that the target does not hold any more, where it can be counted.

    `window` was asked for; `certified` is what is certified now: it and the gaps before it, or nothing after a dry run.
    `uncovered` are gaps that are too old to heal by themselves. `open_letters` are all of the pipeline's; `expired` and
    `forgotten` ones the run closed, or deleted, for their age."""

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
    open_letters: int
    expired: int
    forgotten: int
    repaired: int
    left: int
    late: int
    late_s: int
    late_ever: int
    late_ever_s: int
    asked: int
    sent_again: int
    removed: int
    not_removed: int
    lacking: int
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


def verify(run: Run, *, client: Client, hub: Hub, reach: Reach, clock: Callable[[], datetime]) -> Report:
    """Compare, repair a difference once, add up, certify; raises `IncompleteError` with the numbers instead."""
    planned = Plan.of(run)
    before = client.calls.total()
    _all_loaded(run, planned)
    repaired, compared = _repaired(run, planned, client, hub, reach, clock)
    asked, sent_again = (0, 0) if planned.dry_run else _in_ledger(run, planned, hub, reach, clock)
    if not planned.dry_run:
        _try_waiting(run, hub, reach, clock)
    lacking = 0 if planned.dry_run else _lacking(run, hub, reach)
    folders = [run.segment(index) for index in range(1, len(planned.segments) + 2)]
    read, outcomes = _added_up(folders)
    ever = hub.late(run.pipeline.name)
    aged = {"expired": 0, "forgotten": 0} if planned.dry_run else expire(run, hub=hub, now=clock())
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
        open_letters=hub.letters.count(run.pipeline.name, Selection()),
        expired=aged["expired"],
        forgotten=aged["forgotten"],
        repaired=repaired,
        left=compared.left,
        late=_total(folders, "late", "late"),
        late_s=_seconds(_values(folders, "late", "late_ms")),
        late_ever=sum(each.arrivals for each in ever),
        late_ever_s=_seconds(each.most_ms for each in ever),
        asked=_total(folders, "asked", "asked") + asked,
        sent_again=_total(folders, "asked", "sent_again") + sent_again,
        removed=_total(folders, orphans.DOCUMENT, "removed"),
        not_removed=_total(folders, orphans.DOCUMENT, "not_removed"),
        lacking=lacking,
        digest=compared.hex(),
        requests=planned.calls + client.calls.total() - before + sum(_calls(folder) for folder in folders),
        dry_run=planned.dry_run,
        uncovered=planned.uncovered,
    )
    if report.late:
        log.warning(
            "%d records became visible only after their span was certified; a lookback of %d s would have caught them "
            "(fenxiang late %s tells of all so far)", report.late, report.late_s, run.pipeline.name,
        )  # fmt: skip
    if not planned.dry_run:
        finish(run, reach, windows=planned.windows, numbers=report.to_json())
        _certify(run, planned, compared, report, hub, clock())
    run.folder.save("report", report.to_json())
    return report


def _seconds(spans_ms: Iterable[int]) -> int:
    """The longest of some spans, rounded up; 0 where there is none."""
    return -(-max(spans_ms, default=0) // 1000)


def judge(run: Run, report: Report, hub: Hub) -> None:
    """Raise `DeadLettersError` where the run has more dead letters than its pipeline allows.

    Those that were delivered or put aside since count no more, so that the task can be cleared when they are.
    """
    name, rules = run.pipeline.name, run.pipeline.dead_letters
    if report.dry_run or not rules.too_many(report.dead_letters, report.read):
        return
    wanted = Selection(run=run.id)
    left = min(report.dead_letters, hub.letters.count(name, wanted))  # one record may have several letters
    if not rules.too_many(left, report.read):
        return
    found = hub.letters.find(name, wanted, whole=False)
    reasons = dict.fromkeys(letter.reason for letter in itertools.islice(found, 3))
    raise DeadLettersError(
        f"{report.dead_letters:,} of {report.read:,} records became dead letters, more than pipeline {name!r} allows: "
        f"DeadLetters({rules.limits}). All others are delivered and the window is certified, so the next run goes on "
        f"behind it. The first reasons: {'; '.join(reasons)}. Look: fenxiang letters {name} --run '{run.id}'. When the "
        f"cause is mended: fenxiang replay {name} --run '{run.id}', then clear this task"
    )


def clean(run: Run, *, keep_records: bool = False) -> None:
    """Remove the data of a run that succeeded, but for its records where they are kept; what was done stays readable
    until the stage is swept by age."""
    for index in range(1, len(Plan.of(run).segments) + 2):
        run.segment(index).remove(*DERIVED, *(() if keep_records else (RECORDS,)))


def _all_loaded(run: Run, planned: Plan) -> None:
    open_ = [segment for segment in planned.segments if run.segment(segment.index).load("loaded") is None]
    if open_:
        raise IncompleteError(
            f"{len(open_)} of {len(planned.segments)} planned segments were not delivered; the first is segment "
            f"{open_[0].index} ({open_[0].window}). Clear its failed task, then this one"
        )


def _repaired(
    run: Run, planned: Plan, client: Client, hub: Hub, reach: Reach, clock: Callable[[], datetime]
) -> tuple[int, Comparison]:
    """Ask the server again for all that was read; read, map and deliver what is missing, once.

    What was missing, and the records whose details alone have changed, are kept as one more segment behind the planned
    ones. Returns how many were missing.
    """
    extra = _segment(planned, len(planned.segments) + 1)
    run.segment(extra.index).clear()
    compared = compare(run, planned, client, extra)
    touched = _touched(run, planned, client, hub).difference(compared.missing)
    if not compared.missing and not touched:
        return 0, compared
    if compared.missing:
        log.warning("%d records of the window were not held; reading them again", len(compared.missing))
    if touched:
        log.info("%d records have details that changed; reading them again", len(touched))
    folder = run.segment(extra.index)
    read_ids(run, sorted(touched.union(compared.missing)), folder, client=client, hub=hub, filtered=True)
    repaired = sum(1 for record_id in versions(folder) if record_id in compared.missing)
    transform(run, extra, hub=hub)
    watch = Watch.of(run, planned, extra.window, hub, by_verify=True)
    load(
        run,
        extra,
        hub=hub,
        reach=reach,
        clock=clock,
        dry_run=planned.dry_run,
        resend=planned.resend,
        watch=watch,
        confirmed=planned.confirmed,
    )
    if compared.missing:
        compared = compare(run, planned, client, extra)
    if compared.missing:
        some = ", ".join(sorted(compared.missing)[:3])
        raise IncompleteError(
            f"{len(compared.missing)} records of the window are at the source and not here, even after reading them "
            f"again (for example {some}). Nothing is certified; clear the task plan to read the window anew"
        )
    return repaired, compared


def _touched(run: Run, planned: Plan, client: Client, hub: Hub) -> set[str]:
    """The records that the run has not read and of which a detail changed in the time that it read, came, or went to
    another record: that may give the record no new stamp. What is read from the beginning on has them all. The filters
    of the details are not asked: one that passes them no more has changed its record as well."""
    watched = [each for each in run.pipeline.source.details if each.watch]
    windows = [window for window in planned.reading if window.since_ms]
    found = [
        detail
        for each in watched
        for window in windows
        for detail in changed(FenxiangClient.of(client), each.object, window, by=each.by)
    ]
    if not found:
        return set()
    read = {record_id for segment in planned.segments for record_id in versions(run.segment(segment.index))}
    headers = {each.header for each in found if each.header is not None}
    return (headers | moves.left(run, found, hub)) - read


def _in_ledger(run: Run, planned: Plan, hub: Hub, reach: Reach, clock: Callable[[], datetime]) -> tuple[int, int]:
    """Ask the hub for every row of the run; what is not there in that version is delivered once more.

    Returns how many rows it was asked for as a target, and how many were delivered again. What the target holds is
    asked while it is loaded; the ledger is where it is written down, and for `HubTarget` it is the target.
    """
    lost = again = asked = 0
    for index in range(1, len(planned.segments) + 2):
        total, absent = _absent(run, index, hub)
        asked += total
        if absent:
            log.warning("%d of %d rows of segment %d are not in the hub; delivering them again", absent, total, index)
            load(run, _segment(planned, index), hub=hub, reach=reach, clock=clock, confirmed=planned.confirmed)
            lost += _absent(run, index, hub)[1]
        again += absent
    if lost:
        raise IncompleteError(
            f"{lost} of {asked} rows of the run are not in the hub, even after they were delivered again; "
            "does somebody delete them there? Nothing is certified"
        )
    return (asked, again) if isinstance(run.pipeline.target, HubTarget) else (0, again)


def _absent(run: Run, index: int, hub: Hub) -> tuple[int, int]:
    """How many rows a segment has, and how many of them the ledger has not met in that version or a newer one."""
    total = absent = 0
    found = rows(run.segment(index))
    while group := list(itertools.islice(found, ROWS_A_CLAIM)):
        total += len(group)
        unseen = hub.unseen(run.pipeline.name, group)
        newer = superseded(run, hub, unseen)
        absent += sum(1 for row in unseen if row.source_id not in newer)
    return total, absent


def _lacking(run: Run, hub: Hub, reach: Reach) -> int:
    """How many rows the target holds too few, all runs together. No failure of this run, whose rows were asked for when
    they were loaded: a person decides what is sent again, and the next reconcile insists on it."""
    found = holding(run.pipeline, hub=hub, reach=run.reach(reach, COUNTING))
    if found.lacking:
        log.warning("%s", told(run.pipeline, found))
    return found.lacking


def _segment(planned: Plan, index: int) -> Segment:
    """A planned segment, or the one behind them, which holds what verify has read."""
    if index <= len(planned.segments):
        return planned.segment(index)
    return Segment(index=index, window=_whole(planned), count=None)


def _try_waiting(run: Run, hub: Hub, reach: Reach, clock: Callable[[], datetime]) -> None:
    """Try the records of earlier runs again that waited for what they look up; it may be there by now."""
    name, waiting = run.pipeline.name, Selection(error=PARENT_MISSING)
    tried = hub.letters.count(name, replace(waiting, besides=run.id)) if run.pipeline.mapping.lookups else 0
    if tried:
        replay(run, waiting, hub=hub, reach=reach, clock=clock)
        log.info("%d records of earlier runs waited for a row; now %d wait", tried, hub.letters.count(name, waiting))


def _whole(planned: Plan) -> Window:
    """From the first moment that was read to the last."""
    if not planned.reading:
        return planned.window
    return Window(planned.reading[0].since_ms, planned.reading[-1].until_ms)


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


def _total(folders: Iterable[Folder], document: str, name: str) -> int:
    return sum(_values(folders, document, name))


def _values(folders: Iterable[Folder], document: str, name: str) -> list[int]:
    return [int(found[name]) for folder in folders if (found := folder.load(document)) is not None]


def _certify(run: Run, planned: Plan, compared: Comparison, report: Report, hub: Hub, now: datetime) -> None:
    for span in compared.spans:
        numbers = {"before": span.before, "after": span.after, "left": span.left, "run": report.to_json()}
        hub.certify(
            Certificate(
                pipeline=run.pipeline.name,
                window=span.window,
                read_since_ms=min(
                    (read.since_ms for read in planned.reading if span.window.since_ms in read),
                    default=span.window.since_ms,
                ),
                run=run.id,
                numbers=numbers,
                digest=span.hex(),
                requests=report.requests,
                config_hash=planned.config_hash,
            ),
            now=now,
        )

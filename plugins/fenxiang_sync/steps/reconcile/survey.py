"""survey: which time a reconcile compares, in which form, and what that will cost in calls. It makes none itself."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from fenxiang_sync.hub import Hub
from fenxiang_sync.reconcile import Reconcile
from fenxiang_sync.steps.run import Run
from fenxiang_sync.window import Window, from_ms, to_ms

log = logging.getLogger(__name__)

RECONCILE, SWEEP = "reconcile", "sweep"
"""What the hub calls such runs; SWEEP is one of everything, id by id."""
EARLY = timedelta(hours=1)
"""A sweep may come so much before its time: schedules are never on the second."""
CALLS_A_SLICE = 3
"""Counting a slice and both its halves."""
CALLS_A_SWEEP = 3
"""What a sweep costs beside its full pages: the empty one, and making sure that it is the end."""


class Form(StrEnum):
    """How records are compared."""

    COUNTS = "counts"
    """By their number in spans of time, id by id only where that differs."""
    SWEEP = "sweep"
    """Id by id."""

    @property
    def slice_records(self) -> int:
        """How many held records are compared at once: below the cap of a count; within the memory of a sweep."""
        return 8_000 if self is Form.COUNTS else 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a run was asked for. A bound that is None is that of what is certified; `deep` None is as declared.

    `confirmed` is up to how many records a person has said may vanish.
    """

    since: datetime | None = None
    until: datetime | None = None
    full: bool = False
    deep: bool | None = None
    dry_run: bool = False
    confirmed: int = 0
    scheduled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What a reconcile will do. `windows` are compared, all of them `certified`; `held` records lie in them.

    `calls` is about what that will cost where nothing differs, `most` how many may vanish without a question,
    `confirmed` what of that a person has said.
    """

    windows: list[Window]
    certified: list[Window]
    form: Form
    deep: bool
    dry_run: bool
    whole: bool
    held: int
    calls: int
    most: int
    confirmed: int

    @classmethod
    def of(cls, run: Run) -> Survey:
        """The survey of a run as its stage holds it; raises `UnverifiedError` where it is gone."""
        return msgspec.convert(run.folder.need("survey", "clear the task survey, with everything after it"), cls)

    @property
    def kind(self) -> str:
        return SWEEP if self.form is Form.SWEEP and self.whole and not self.dry_run else RECONCILE

    @property
    def span(self) -> Window | None:
        """From the first to the last moment that is compared."""
        return Window(self.windows[0].since_ms, self.windows[-1].until_ms) if self.windows else None


def survey(run: Run, wanted: Wanted, *, hub: Hub, now: datetime) -> Survey:
    """Decide what is compared, and write it to the stage, which starts anew.

    Only certified time is: what lies outside is the ordinary run's to read.
    """
    pipeline = run.pipeline
    rules = pipeline.reconcile or Reconcile()
    if not wanted.dry_run:
        again = hub.rivals.look_again(pipeline.name, run=run.id, now=now)
        again += hub.get_again(pipeline.name, run=run.id, now=now) if pipeline.got else 0
        if again:
            log.info("%d records that could not be got, or whose row is free by now, are read again", again)
    certified = hub.certified(pipeline.name)
    windows = list(_within(certified, wanted))
    listed = hub.listed(pipeline.name)
    held = sum(listed.count(window) for window in windows)
    sweeps = not pipeline.source.counts or wanted.full or _is_due(run, wanted, rules, hub, now)
    form = Form.SWEEP if sweeps else Form.COUNTS
    deep = rules.deep if wanted.deep is None else wanted.deep
    made = Survey(
        windows=windows,
        certified=certified,
        form=form,
        deep=deep,
        dry_run=wanted.dry_run,
        whole=wanted.since is None and wanted.until is None,
        held=held,
        calls=_calls(held, len(windows), form, deep, pipeline.source.page_size)
        + (held if deep and pipeline.got else 0),
        most=max(rules.most(held), wanted.confirmed),
        confirmed=wanted.confirmed,
    )
    run.folder.clear()
    hub.forget_readings(run.pipeline.name, run.id)
    run.folder.save("survey", made)
    return made


def _within(certified: Iterable[Window], wanted: Wanted) -> Iterable[Window]:
    first = to_ms(wanted.since) if wanted.since else 0
    for window in certified:
        since = max(window.since_ms, first)
        until = min(window.until_ms, to_ms(wanted.until) if wanted.until else window.until_ms)
        if since < until:
            yield Window(since, until)


def _is_due(run: Run, wanted: Wanted, rules: Reconcile, hub: Hub, now: datetime) -> bool:
    """Whether a scheduled run is to sweep: the last sweep (else the first run of all) is so long ago."""
    if not wanted.scheduled or rules.sweep_every is None:
        return False
    name = run.pipeline.name
    last = hub.last_run(name, [SWEEP]) or hub.first_run(name, [RECONCILE, SWEEP])
    return last is not None and now - last.started_at >= rules.sweep_every - EARLY


def _calls(held: int, windows: int, form: Form, deep: bool, page: int) -> int:
    """About what it takes where nothing differs."""
    if not windows:
        return 0
    slices = windows + -(-held // form.slice_records)
    pages = -(-held // page)
    compared = slices * CALLS_A_SLICE if form is Form.COUNTS else pages + slices * CALLS_A_SWEEP
    return compared + CALLS_A_SWEEP + (pages if deep else 0)


def told(made: Survey) -> str:
    """The survey as a sentence."""
    if not made.windows:
        return (
            "Nothing is certified in this time yet, so there is nothing to compare: the pipeline's own runs come first"
        )
    since, until = from_ms(made.windows[0].since_ms), from_ms(made.windows[-1].until_ms)
    how = "by counts" if made.form is Form.COUNTS else "id by id"
    deep = ", and every content is read again" if made.deep else ""
    return (
        f"{made.held:,} records from {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC are compared {how}{deep}: "
        f"about {made.calls:,} calls, and what it takes to find and read the records that differ"
    )

"""drift: a run's look at the description of its object: what has changed is noted, told once, and may stop the run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from fenxiang_sync.convert import converter
from fenxiang_sync.drift import Change, Drift, Known, What, note_name
from fenxiang_sync.errors import DeclarationError, QuotaError, RefusedError
from fenxiang_sync.field import Field
from fenxiang_sync.hub import Hub
from fenxiang_sync.lineage import columns, origins
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.schema import compared, findings
from fenxiang_sync.source import Client, FenxiangClient
from fenxiang_sync.source.description import ObjectDescription
from fenxiang_sync.steps.fields import check_fields, described
from fenxiang_sync.window import from_ms

log = logging.getLogger(__name__)

RHYTHM = timedelta(days=1)
"""How often the object is described for this alone, where the fields are not checked before each run."""


def examine(pipeline: Pipeline, *, client: Client, hub: Hub, scheduled: bool = False) -> Known:
    """Hold the declaration against the description of its object, before anything is read; returns what is known of it.

    Raises `DeclarationError` where a field that is read is not there, or has changed so that the declaration stops.
    """
    found = described(pipeline, client)
    known = look(pipeline, found, client=client, hub=hub, scheduled=scheduled)
    for each in known.untold(pipeline.name):
        log.warning("The description of %s has changed: %s", pipeline.source.object, each)
    if found is not None:
        check_fields(pipeline, found, client)
        stop(pipeline, found, known)
    return known


def look(pipeline: Pipeline, present: ObjectDescription | None, *, client: Client, hub: Hub, scheduled: bool) -> Known:
    """Compare the description with the known one and note what differs; returns what is known now.

    Without a description a scheduled run asks for one, once a day; where that is refused, the run goes on all the same.
    """
    source = pipeline.source
    if source.drift is Drift.IGNORE:
        return Known()
    if present is not None:
        return note(pipeline, hub, lambda known, at_ms: known.looked(present, at_ms))
    known = Known.read(hub.noted(note_name(source.connection, source.object)))
    if not scheduled or client.server_time() - from_ms(max(known.looked_ms, known.refused_ms)) < RHYTHM:
        return known
    try:
        found = ObjectDescription.read(FenxiangClient.of(client).describe(source.object))
    except QuotaError:
        raise
    except RefusedError as error:
        log.warning("%s is not described, so nobody knows whether its fields have changed: %s", source.object, error)
        return note(pipeline, hub, lambda known, at_ms: known.refused(at_ms))
    return note(pipeline, hub, lambda known, at_ms: known.looked(found, at_ms))


def note(pipeline: Pipeline, hub: Hub, change: Callable[[Known, int], Known]) -> Known:
    """Change what is known of a pipeline's object, with nobody in between. What was there before the pipeline's own
    first look is not told to it as news."""
    made: list[Known] = []

    def revised(held: dict[str, Any] | None, now: float) -> dict[str, Any]:
        at_ms = round(now * 1000)
        known = change(Known.read(held), at_ms)
        made.append(known if pipeline.name in known.told else known.telling(pipeline.name, at_ms))
        return made[-1].note()

    hub.revise(note_name(pipeline.source.connection, pipeline.source.object), revised)
    return made[-1]


def told(pipeline: Pipeline, hub: Hub, changes: Sequence[Change]) -> None:
    """Note that the pipeline was told of these: no later run tells them again."""
    if changes:
        upto_ms = max(each.seen_ms for each in changes)
        note(pipeline, hub, lambda known, _: known.telling(pipeline.name, upto_ms))


def stop(pipeline: Pipeline, present: ObjectDescription, known: Known) -> None:
    """Raise `DeclarationError` where the declaration says so and a field that is read has changed so that it hurts."""
    if pipeline.source.drift is not Drift.STOP:
        return
    if hurting := hurts(pipeline, present, known.open):
        raise DeclarationError(
            f"pipeline {pipeline.name!r}: {pipeline.source.object} has changed in what the declaration reads: "
            f"{'; '.join(hurting)}. Nothing was read. Mend the declaration where it must be, then take the description "
            f"as it is now: fenxiang drift {pipeline.name} --accept (Source(drift=Drift.WARN) only tells)"
        )


def hurts(pipeline: Pipeline, present: ObjectDescription, changes: Sequence[Change]) -> list[str]:
    """The changes that would empty a column, reject records or read the wrong ones, each as a sentence."""
    told = []
    mapped = list(origins(pipeline.fields))
    for change in changes:
        why = _why(pipeline, present, change)
        if why is not None:
            since = f"{change.seen:%Y-%m-%d %H:%M} UTC"
            told.append(f"{change} since {since}{into(columns(mapped, change.field))}{why and f': {why}'}")
    return told


def _why(pipeline: Pipeline, present: ObjectDescription, change: Change) -> str | None:
    """Why a change hurts; "" where it does of itself, None where it does not."""
    values = [value for name, found in compared(pipeline) if name == change.field for value in found]
    if change.field not in pipeline.mapping.projection and all(change.field != name for name, _ in compared(pipeline)):
        return None
    if change.what in (What.REMOVED, What.OFF) or (change.what is What.RETYPED and _another_type(change)):
        return ""
    if change.what is What.RETYPED:
        wrong = [each.said for each in findings(pipeline, present) if each.serious and each.field == change.field]
        return "; ".join(wrong) or None
    if change.what is What.OPTION_NEW and _is_rejected(pipeline, change):
        return "no converter has a value for it, so that such records are rejected"
    if change.what is What.OPTION_REMOVED and change.was in values:
        return "it is compared with that one"
    return None


def _is_rejected(pipeline: Pipeline, change: Change) -> bool:
    """Whether a field is mapped by a converter that takes other options only."""
    mapped = (each for each in pipeline.fields if isinstance(each, Field) and each.source == change.field)
    taken = [getattr(converter(each.convert), "options", ()) for each in mapped]
    return any(options and change.now not in map(str, options) for options in taken)


def into(targets: Sequence[str]) -> str:
    """Where a field goes, for people; "" where it goes nowhere."""
    return f" (→ {', '.join(targets)})" if targets else ""


def event(pipeline: Pipeline, changes: Sequence[Change]) -> dict[str, Any]:
    """What the asset event of changes carries."""
    found = list(origins(pipeline.fields))
    return {
        "pipeline": pipeline.name,
        "object": pipeline.source.object,
        "changes": [{**each.to_json(), "columns": columns(found, each.field)} for each in changes],
    }


def _another_type(change: Change) -> bool:
    """Whether it is more than the number of decimals, or the object that is referred to."""
    return change.was.partition(",")[0] != change.now.partition(",")[0]

"""``fenxiang drift``: how the fields of the objects have changed since they were taken as known.

Exit codes: 0 nothing is open, 1 a change is, 2 it could not be told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from fenxiang_sync.airflow.terminal import Dags, Json, Name, cannot_tell, counted, declared, moment, opened_hub, say

if TYPE_CHECKING:
    from fenxiang_sync.drift import Change, Known
    from fenxiang_sync.hub import Hub
    from fenxiang_sync.lineage import Lineage
    from fenxiang_sync.pipeline import Pipeline


def drift(
    pipeline: Name = None,
    last: Annotated[int, typer.Option("--last", min=0, help="How many changes that are open no more.")] = 10,
    accept: Annotated[
        bool, typer.Option("--accept", help="Ask the CRM, and take the fields as they are now as the known ones.")
    ] = False,
    dags: Dags = None,
    as_json: Json = False,
) -> None:
    """Say which fields and options have come, gone or changed (字段变更), and which columns they go into; exit code 1
    where a change is open."""
    from fenxiang_sync.lineage import Lineage
    from fenxiang_sync.pipeline import Source

    meant = [each for each in declared(dags, pipeline) if isinstance(each.source, Source)]
    if not meant and pipeline is not None:
        cannot_tell(f"pipeline {pipeline!r} does not read Fenxiang; its source does not describe what it holds")
    with opened_hub() as hub:
        found = [(Lineage.of(each), _accepted(each, hub) if accept else _known(each, hub)) for each in meant]
    if as_json:
        documents = [_document(each, known, last) for each, known in found]
        typer.echo(json.dumps(documents, ensure_ascii=False, indent=1))
    else:
        for each, known in found:
            say(_lines(each, known, last))
    raise typer.Exit(1 if any(known.open for _, known in found) else 0)


def _known(pipeline: Pipeline, hub: Hub) -> Known:
    from fenxiang_sync.drift import Known, note_name

    return Known.read(hub.noted(note_name(pipeline.source.connection, pipeline.source.object)))


def _accepted(pipeline: Pipeline, hub: Hub) -> Known:
    from fenxiang_sync.airflow.discovery import asking
    from fenxiang_sync.source.description import ObjectDescription
    from fenxiang_sync.steps.drift import note

    with asking(pipeline.source.connection) as client:
        described = ObjectDescription.read(client.describe(pipeline.source.object))
    return note(pipeline, hub, lambda known, at_ms: known.accepted(described, at_ms))


def _document(of: Lineage, known: Known, last: int) -> dict[str, Any]:
    source = of.pipeline.source
    return {
        "pipeline": of.pipeline.name,
        "object": source.object,
        "connection": source.connection,
        "policy": source.drift.value,
        "looked_at": _iso(known.looked_ms),
        "refused_at": _iso(known.refused_ms),
        "known_since": _iso(known.known_ms),
        "open": [{**each.to_json(), "columns": of.columns(each.field)} for each in _newest(known, opened=True)],
        "closed": [{**each.to_json(), "columns": of.columns(each.field)} for each in _newest(known)[:last]],
    }


def _lines(of: Lineage, known: Known, last: int) -> Iterator[str]:
    name, source, zone = of.pipeline.name, of.pipeline.source, ZoneInfo(of.pipeline.timezone)
    refused = f"at {_said(known.refused_ms, zone)} the CRM did not describe it"
    told = known.refused_ms > known.looked_ms
    if not known.looked_ms:
        ignored = "drift=Drift.IGNORE" if source.drift.value == "ignore" else "the first run does"
        said = f"{refused}, so nothing is known" if told else f"nobody has looked at its fields yet ({ignored})"
        yield f"{name}: {source.object} ({source.connection}): {said}"
        return
    opened = _newest(known, opened=True)
    looked = _said(known.looked_ms, zone)
    yield (
        f"{name}: {source.object} ({source.connection}): {counted(len(opened), 'open change')}, looked at {looked} "
        f"({of.pipeline.timezone})" + (f"; {refused}" if told else "")
    )
    for each in opened:
        yield f"  open        {_said(each.seen_ms, zone)}  {each}{_into(of, each)}"
    for each in _newest(known)[:last]:
        yield f"  {each.ended:<10}  {_said(each.seen_ms, zone)}  {each}{_into(of, each)}"
    if opened:
        yield f"  Mend the declaration where a column is hit; to take them as known: fenxiang drift {name} --accept"


def _newest(known: Known, *, opened: bool = False) -> list[Change]:
    found = [each for each in known.changes if each.open is opened]
    return sorted(found, key=lambda each: (-each.seen_ms, each.field))


def _into(of: Lineage, change: Change) -> str:
    from fenxiang_sync.steps.drift import into

    return into(of.columns(change.field))


def _said(at_ms: int, zone: ZoneInfo) -> str:
    from fenxiang_sync.window import from_ms

    return moment(from_ms(at_ms).replace(microsecond=0).astimezone(zone))


def _iso(at_ms: int) -> str | None:
    from fenxiang_sync.window import from_ms

    return from_ms(at_ms).astimezone(UTC).isoformat(timespec="seconds") if at_ms else None

"""One record's whole life on the command line: ``fenxiang trace PIPELINE ID``.

Exit codes: 0 it was told, 2 it could not be (nothing is known of the id, it means several records, no hub).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from fenxiang_sync.airflow.terminal import Dags, Json, One, cannot_tell, declared, opened_hub, say, shown
from fenxiang_sync.errors import FenxiangSyncError
from fenxiang_sync.window import from_ms

if TYPE_CHECKING:
    from fenxiang_sync.hub import Event, Hub, Record, Said, StoredLetter
    from fenxiang_sync.pipeline import Pipeline
    from fenxiang_sync.steps.tracing import Read, Trace, Value

_MOST_NAMED = 10


def trace(
    pipeline: One,
    name: Annotated[str, typer.Argument(metavar="ID", help="A Fenxiang _id, a row's id, or a record's number.")],
    dags: Dags = None,
    as_json: Json = False,
) -> None:
    """Tell one record's whole life: each read with its run and window, each attempt with the target's answer, letters,
    and each mapped value."""
    from fenxiang_sync.airflow.settings import Settings
    from fenxiang_sync.stage import Stage
    from fenxiang_sync.steps import tracing

    [meant] = declared(dags, pipeline)
    with opened_hub() as hub:
        source_id = _meant(hub, pipeline, name)
        try:
            stage = Stage(Settings.load().stage_root())
            found = tracing.trace(meant, source_id, hub=hub, stage=stage)
        except FenxiangSyncError as error:
            cannot_tell(f"stage: {error}")
    if found is None:
        cannot_tell(_unknown(pipeline, name))
    if as_json:
        typer.echo(json.dumps(found.to_json(), ensure_ascii=False, indent=1, default=str))
    else:
        say(_lines(meant, found))


def _meant(hub: Hub, pipeline: str, name: str) -> str:
    """The record that is meant."""
    ids = hub.named(pipeline, name)
    if not ids:
        cannot_tell(_unknown(pipeline, name))
    if len(ids) > 1:
        some = ", ".join(ids[:_MOST_NAMED])
        cannot_tell(f"{name!r} is the number of {len(ids)} records of pipeline {pipeline!r}: give one of {some}")
    return ids[0]


def _unknown(pipeline: str, name: str) -> str:
    return (
        f"nothing is known of {name!r} in pipeline {pipeline!r}: no run has read a record with this _id, row id or "
        "number. A record that was read and gave no row is found by its _id alone"
    )


def _lines(pipeline: Pipeline, found: Trace) -> Iterator[str]:
    from fenxiang_sync.hub import Event
    from fenxiang_sync.steps.tracing import in_order

    life, zone = found.life, ZoneInfo(pipeline.timezone)
    number = next((row.number for row in life.rows if row.number), None)
    yield f"{pipeline.name}: record {life.source_id}{f' ({number})' if number else ''}; times in {pipeline.timezone}"
    if life.kept is not None:
        stamp = _moment(life.kept.modified_ms, zone)
        yield f"  at the source: {_PRESENCE[life.kept.presence.name]}; the newest version that was met is of {stamp}"
    yield ""
    yield "what happened"
    for at_ms, each in in_order(found):
        what, said = _of_event(each, zone) if isinstance(each, Event) else _of_read(each, zone)
        yield f"  {_moment(at_ms, zone)}  {what:<11}  {said}"
    if found.unkept:
        yield f"  (the records of {found.unkept} more files that may hold it are no longer kept)"
    if life.letters:
        yield ""
        yield "dead letters"
        for letter in life.letters:
            yield from _of_letter(letter, zone)
    if life.rows:
        yield ""
        yield "at the target, by the ledger"
        yield from (line for row in life.rows for line in _of_row(row, life.told.get(row.id), zone))
    if found.written is not None:
        yield ""
        yield "written back into the record"
        yield from (f"  {name} = {shown(value)}" for name, value in found.written.items())
    yield ""
    yield from _of_values(found, zone)


_PRESENCE = {
    "PRESENT": "present",
    "VOIDED": "voided (作废)",
    "LEFT": "it no longer passes the filters of the source",
    "HIDDEN": "hidden from the acting user",
    "VANISHED": "deleted",
}


def _of_read(read: Read, zone: ZoneInfo) -> tuple[str, str]:
    window = "by id"
    if read.window is not None:
        window = f"window {_moment(read.window.since_ms, zone)} → {_moment(read.window.until_ms, zone)}"
    version = f" (version {read.version})" if read.version is not None else ""
    return "read", (
        f"the version of {_moment(read.modified_ms, zone)}{version}: {read.became}; {read.run}, segment "
        f"{read.segment}, {window}"
    )


def _of_event(event: Event, zone: ZoneInfo) -> tuple[str, str]:
    said = [f"row {event.row_id}"] if event.row_id else []
    if event.modified_ms is not None:
        said.append(f"the version of {_moment(event.modified_ms, zone)}")
    answer = " ".join(part for part in (event.code, event.reason) if part)
    told = ", ".join(said) + (f": {answer}" if answer else "")
    return event.what.replace("_", " "), f"{told or 'the record'}; {event.run}"


def _of_letter(letter: StoredLetter, zone: ZoneInfo) -> Iterator[str]:
    state = "open" if letter.closed_at is None else f"closed {_at(letter.closed_at, zone)} by {letter.closed_by}"
    tries = "1 try" if letter.attempts == 1 else f"{letter.attempts} tries"
    code = f"{letter.code} " if letter.code else ""
    yield f"  {_at(letter.created_at, zone)}  {letter.stage}, {tries}, {state}: {code}{letter.reason}"
    for earlier in letter.history:
        yield f"    before, {_moment(earlier['at'], zone)} by {earlier['run']}: {earlier['reason']}"


def _of_row(row: Record, told: Said | None, zone: ZoneInfo) -> Iterator[str]:
    held = "never delivered" if row.modified_ms is None else f"holds the version of {_moment(row.modified_ms, zone)}"
    if row.removed_at is not None:
        held = f"removed {_at(row.removed_at, zone)}"
    said = " ".join(part for part in (row.code, row.reason) if part)
    yield f"  row {row.id}: {row.status.name.lower().replace('_', ' ')}, {held}{f': {said}' if said else ''}"
    if told is not None:
        yield f"    it told {_at(told.at, zone)}: " + ", ".join(f"{name} {value}" for name, value in told.words.items())


def _of_values(found: Trace, zone: ZoneInfo) -> Iterator[str]:
    if found.record is None:
        yield "its values are not kept any more: what was read of it is older than records_retention_days"
        return
    yield (
        f"values of the version of {_moment(found.record['last_modified_time'], zone)}; by the mapping of today: "
        f"{found.becomes}"
    )
    row = None
    for value in found.values:
        if value.row and value.row != row:
            row = value.row
            yield f"  row {row}"
        yield f"    {_of_value(value)}"


def _of_value(value: Value) -> str:
    source = f"← {value.source} ({value.converter}): {shown(value.raw)} → " if value.source else "= "
    if value.wrong:
        return f"{value.to} {source}does not fit: {value.wrong}"
    told = f"{value.to} {source}{shown(value.value)}"
    same = not value.row or value.held == value.value
    return told if same else f"{told}   (the target was sent {shown(value.held)})"


def _moment(at_ms: int, zone: ZoneInfo) -> str:
    return _at(from_ms(at_ms), zone)


def _at(moment: Any, zone: ZoneInfo) -> str:
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M:%S.%f}"[:-3]

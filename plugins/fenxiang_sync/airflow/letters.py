"""Dead letters on the command line: ``fenxiang letters``, ``letter``, ``replay``, ``dismiss``.

Exit codes: 0 nothing is left to do, 1 there is (an open letter; one that failed again), 2 it could not be told or done.
"""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from fenxiang_sync.airflow.terminal import (
    Dags,
    Json,
    Name,
    One,
    cannot_tell,
    counted,
    declared,
    moment,
    opened_hub,
    say,
)

if TYPE_CHECKING:
    from fenxiang_sync.hub import Selection, StoredLetter
    from fenxiang_sync.pipeline import Pipeline

ByRun = Annotated[str | None, typer.Option("--run", help="Only those that this run met last.")]
ByStage = Annotated[str | None, typer.Option("--stage", help="transform: fitted no row; load: refused by the target.")]
ByError = Annotated[str | None, typer.Option("--error", help="Only this class of error, as RecordError or Refused.")]
ByRecord = Annotated[
    list[str] | None, typer.Option("--record", help="Id of a record or row; give it again for more of them.")
]
Every = Annotated[bool, typer.Option("--all", help="All open letters of the pipeline.")]

_REASON = 100
_SHOWN = 50


def letters(
    pipeline: Name = None,
    run: ByRun = None,
    stage: ByStage = None,
    error: ByError = None,
    record: ByRecord = None,
    closed: Annotated[bool, typer.Option("--closed", help="The closed ones as well.")] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="How many of each are shown, oldest first: 50; as JSON all.")
    ] = None,
    dags: Dags = None,
    as_json: Json = False,
) -> None:
    """Show the dead letters, by pipeline or one by one; exit code 1 if one is open."""
    meant = declared(dags, pipeline, ways_back=True)
    wanted = _selection(run, stage, error, record, closed=closed)
    with opened_hub() as hub:
        found = {each.name: hub.letters.count(each.name, replace(wanted, closed=False)) for each in meant}
        if as_json:
            _write_json(letter for each in meant for letter in islice(hub.letters.find(each.name, wanted), limit))
        for each in () if as_json else meant:
            shown = list(islice(hub.letters.find(each.name, wanted), limit or _SHOWN))
            left = hub.letters.count(each.name, wanted) - len(shown)
            say(_lines(each, shown, found[each.name], left))
    raise typer.Exit(1 if any(found.values()) else 0)


def letter(
    number: Annotated[int, typer.Argument(metavar="ID", help="The letter's number.")], as_json: Json = False
) -> None:
    """Show one dead letter whole: its tries, what the target was sent, and the record."""
    with opened_hub() as hub:
        found = hub.letters.one(number)
    if found is None:
        cannot_tell(f"there is no dead letter {number}; fenxiang letters shows those that are open")
    if as_json:
        typer.echo(json.dumps(_document(found, whole=True), ensure_ascii=False, indent=1))
    else:
        say(_whole(found))


def replay(
    pipeline: One,
    every: Every = False,
    run: ByRun = None,
    stage: ByStage = None,
    error: ByError = None,
    record: ByRecord = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would become of them.")] = False,
    dags: Dags = None,
    as_json: Json = False,
) -> None:
    """Map the records of dead letters as the pipeline is declared now, and deliver them; Fenxiang is not called. Exit
    code 1 if one of them is not done with."""
    from fenxiang_sync.airflow.replay import mend_by_hand
    from fenxiang_sync.steps.mend import Wanted

    _one_way(every, run, stage, error, record)
    [meant] = declared(dags, pipeline)
    _must_be_a_stage(stage)
    wanted = Wanted(run=run, stage=stage, error=error, records=record or None, dry_run=dry_run)
    run_id, numbers = mend_by_hand(meant, wanted)
    if as_json:
        typer.echo(json.dumps({"pipeline": pipeline, "run": run_id, **numbers}, ensure_ascii=False, indent=1))
    else:
        say(_told(pipeline, run_id, numbers))
    raise typer.Exit(1 if any(numbers[each] for each in ("dead_letters", "unreadable", "in_doubt")) else 0)


def dismiss(
    pipeline: One,
    reason: Annotated[str, typer.Option("--reason", help="Why these records may stay away; kept with the letter.")],
    every: Every = False,
    run: ByRun = None,
    stage: ByStage = None,
    error: ByError = None,
    record: ByRecord = None,
    dags: Dags = None,
) -> None:
    """Put dead letters aside: their records may stay away. Exit code 1 if none was meant."""
    from fenxiang_sync.hub.letters import DISMISSED

    _one_way(every, run, stage, error, record)
    declared(dags, pipeline)
    wanted = _selection(run, stage, error, record)
    with opened_hub() as hub:
        by = getpass.getuser()
        done = hub.letters.close(pipeline, wanted, by=by, closed_as=DISMISSED, note=reason, now=datetime.now(UTC))
    typer.echo(f"{pipeline}: {counted(done, 'dead letter')} put aside by {by}" if done else _none_meant(pipeline))
    raise typer.Exit(0 if done else 1)


def _selection(
    run: str | None, stage: str | None, error: str | None, record: Sequence[str] | None, *, closed: bool = False
) -> Selection:
    from fenxiang_sync.hub import Selection

    _must_be_a_stage(stage)
    return Selection(run=run, stage=stage, error=error, records=record or None, closed=closed)


def _write_json(found: Iterable[StoredLetter]) -> None:
    """One list, an entry a line, written while it is read: there may be very many."""
    separator = "["
    for each in found:
        typer.echo(separator + json.dumps(_document(each), ensure_ascii=False))
        separator = ","
    typer.echo("]" if separator == "," else "[]")


def _must_be_a_stage(stage: str | None) -> None:
    from fenxiang_sync.steps.letters import LOAD, TRANSFORM

    if stage not in (None, TRANSFORM, LOAD):
        cannot_tell(f"--stage {stage} is none; a record fails in {TRANSFORM} (it fits no row) or {LOAD} (refused)")


def _one_way(every: bool, *narrowed: object) -> None:
    """Nothing is done to letters that nobody has named."""
    if every == any(narrowed):
        cannot_tell("say which letters: --all, or some by --record, --run, --stage, --error")


def _none_meant(pipeline: str) -> str:
    return f"{pipeline}: none of the open dead letters is meant; fenxiang letters {pipeline} shows them"


def _lines(pipeline: Pipeline, shown: Sequence[StoredLetter], opened: int, left: int) -> Iterator[str]:
    name, zone = pipeline.name, ZoneInfo(pipeline.timezone)
    yield f"{name}: {counted(opened, 'open dead letter')}" + (f" ({zone})" if shown else "")
    if not shown:
        return
    width = max(len(str(each.id)) for each in shown)
    records = max(len(_record(each)) for each in shown)
    for each in shown:
        code = "" if each.code is None else f" {each.code}"
        yield (
            f"  {each.id:>{width}}  {_record(each):<{records}}  {each.stage:<9}  {_tries(each):<8}  "
            f"{moment(each.updated_at.astimezone(zone)):<19}  {_state(each)}{each.error}{code}: {_short(each.reason)}"
        )
    if left:
        yield f"  … and {left:,} more (--limit)"
    yield f"  one of them whole: fenxiang letter {shown[0].id}"
    if opened:
        yield f"  all open ones again: fenxiang replay {name} --all (with --dry-run it only says what would be)"


def _record(each: StoredLetter) -> str:
    row = each.row_id if each.row_id not in ("", each.record_id) else ""
    return f"{each.record_id} {row}".rstrip()


def _tries(each: StoredLetter) -> str:
    return counted(each.attempts, "try", "tries")


def _state(each: StoredLetter) -> str:
    return "" if each.open else f"[{each.closed_as}] "


def _short(said: str) -> str:
    line = " ".join(said.split())
    return line if len(line) <= _REASON else line[:_REASON] + "…"


def _whole(found: StoredLetter) -> Iterator[str]:
    state = "open" if found.open else f"closed as {found.closed_as} by {found.closed_by} at {_utc(found.closed_at)}"
    yield f"dead letter {found.id} of {found.pipeline}: {state}; {_tries(found)}"
    if found.note:
        yield f"  note     {found.note}"
    yield f"  record   {_record(found)}" + (f", version {_stamp(found.modified_ms)}" if found.modified_ms else "")
    yield f"  failed   in {found.stage}: {found.error}" + ("" if found.code is None else f", code {found.code}")
    yield f"  reason   {found.reason}"
    if found.field is not None:
        yield f"  field    {found.field} = {found.value}"
    yield f"  first    {_utc(found.created_at)}"
    yield f"  last     {_utc(found.updated_at)} by {found.run}"
    for each in reversed(found.history):
        where = each.get("stage", found.stage)
        yield f"  before   {_stamp(each['at'])} by {each['run']}, {where}: {each['error']}: {_short(each['reason'])}"
    if found.content is not None:
        yield f"  row      {_said(found.content)}"
    if found.payload is not None:
        yield f"  read     {_said(found.payload)}"
    elif found.open:
        yield f"  read     not kept ({found.payload_bytes:,} bytes), so it cannot be replayed; read its time again:"
        yield f"           {_reading(found)}"
    if found.open and found.payload is not None:
        yield f"  again    fenxiang replay {found.pipeline} --record {found.record_id}"
    if found.open:
        yield f"  aside    fenxiang dismiss {found.pipeline} --record {found.record_id} --reason '…'"


def _reading(found: StoredLetter) -> str:
    """The run that reads the record again."""
    at = found.modified_ms or 0
    span = json.dumps({"since": _stamp(at), "until": _stamp(at + 1)})
    return f"airflow dags trigger {found.pipeline} --conf '{span}'"


def _told(pipeline: str, run_id: str, numbers: Mapping[str, Any]) -> Iterator[str]:
    if not numbers["letters"]:
        yield _none_meant(pipeline)
        return
    words = {
        "delivered": "delivered", "unchanged": "unchanged", "superseded": "superseded by a newer version",
        "filtered": "left out by the conditions", "in_doubt": "in doubt", "dead_letters": "failed again",
        "unreadable": "without a record to replay",
    }  # fmt: skip
    ends = ", ".join(f"{numbers[end]:,} {said}" for end, said in words.items() if numbers[end])
    would = "would be: " if numbers["dry_run"] else ""
    yield f"{pipeline}: {counted(numbers['letters'], 'dead letter')}; {would}{ends}"
    if numbers["dead_letters"] and not numbers["dry_run"]:
        yield f"  why: fenxiang letters {pipeline} --run '{run_id}'"
    if numbers["in_doubt"]:
        yield f"  look at the target, then: fenxiang doubt {pipeline}"
    if numbers["unreadable"]:
        yield f"  read their time again; each letter says how: fenxiang letters {pipeline}, fenxiang letter ID"


def _document(found: StoredLetter, *, whole: bool = False) -> dict[str, Any]:
    document: dict[str, Any] = {
        "id": found.id,
        "pipeline": found.pipeline,
        "record_id": found.record_id,
        "row_id": found.row_id,
        "open": found.open,
        "stage": found.stage,
        "error": found.error,
        "code": found.code,
        "field": found.field,
        "value": found.value,
        "reason": found.reason,
        "attempts": found.attempts,
        "run": found.run,
        "modified_ms": found.modified_ms,
        "created_at": _utc(found.created_at),
        "updated_at": _utc(found.updated_at),
        "closed_at": _utc(found.closed_at),
        "closed_by": found.closed_by,
        "closed_as": found.closed_as,
        "note": found.note,
        "payload_bytes": found.payload_bytes,
        "history": [{**each, "at": _stamp(each["at"])} for each in found.history],
    }
    if whole:
        document |= {"row": _plain(found.content), "record": _plain(found.payload)}
    return document


def _plain(document: Any) -> Any:
    """What the hub holds as JSON knows it: exact numbers as they were written."""
    return None if document is None else json.loads(_said(document))


def _said(document: Any) -> str:
    from fenxiang_sync.hub.content import dumps

    return dumps(document)


def _utc(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="seconds")


def _stamp(ms: int) -> str:
    from fenxiang_sync.window import from_ms

    return from_ms(ms).isoformat(timespec="milliseconds")

"""``fenxiang preview``: the first records of a pipeline, before and after mapping, and what a run of it would cost.

Exit codes: 0 everything that was read fits, 1 a record would be rejected or the declaration does not fit its object,
2 it could not be told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from fenxiang_sync.airflow.terminal import Dags, Json, cannot_tell, counted, declared, moment, opened_hub, say, table
from fenxiang_sync.errors import FenxiangSyncError, ParamError

if TYPE_CHECKING:
    from fenxiang_sync.lineage import Origin
    from fenxiang_sync.pipeline import Pipeline
    from fenxiang_sync.source.allowance import Quota
    from fenxiang_sync.steps.plan import Asked
    from fenxiang_sync.steps.preview import Preview, Sample
    from fenxiang_sync.window import Window

_WIDEST = 40
_ROWS_SHOWN = 3
Moment = Annotated[str | None, typer.Option(help="With its zone: 2026-11-22T08:00:00+08:00.")]


def preview(
    meant: Annotated[str, typer.Argument(metavar="FILE|PIPELINE", help="A DAG file, or the name of a pipeline.")],
    rows: Annotated[int, typer.Option("--rows", min=1, max=200, help="How many records are shown.")] = 3,
    since: Moment = None,
    until: Moment = None,
    connection: Annotated[
        str | None, typer.Option("--connection", help="Another connection of the CRM than the declaration's.")
    ] = None,
    dags: Dags = None,
    as_json: Json = False,
) -> None:
    """Show the first records that a run would read, before and after mapping (预览), whether they are new, changed,
    filtered or rejected, and what the run would cost. Nothing is sent or written."""
    one = _meant(meant, dags)
    if connection is not None:
        one = replace(one, source=replace(one.source, connection=connection))
    found, quota = _previewed(one, _asked(one, since, until), rows)
    if as_json:
        typer.echo(json.dumps(_document(one, found, quota), ensure_ascii=False, indent=1, default=_plain))
    else:
        _tell(one, found, quota, given=since is not None or until is not None)
    wrong = found.numbers["rejected"] or any(each.serious for each in found.findings)
    raise typer.Exit(1 if wrong else 0)


def _meant(said: str, dags: Path | None) -> Pipeline:
    """The pipeline of that name, or of that file."""
    if not Path(said).is_file():
        if "/" in said or said.endswith(".py"):
            cannot_tell(f"there is no file {said}")
        [one] = declared(dags, said)
        return one
    found = declared(Path(said), None)
    if len(found) != 1:
        names = ", ".join(each.name for each in found) or "no pipeline"
        more = f"; choose one: fenxiang preview {found[0].name} --dags {said}" if found else ""
        cannot_tell(f"{said} declares {names}{more}")
    return found[0]


def _asked(pipeline: Pipeline, since: str | None, until: str | None) -> Asked:
    from fenxiang_sync.airflow.params import instant
    from fenxiang_sync.steps.plan import Asked, Kind

    given = {"since": since, "until": until}
    try:
        first, last = (instant(given, name, pipeline.timezone) for name in given)
    except ParamError as error:
        cannot_tell(str(error).replace("Param ", "--"))
    if first is not None and last is not None and first >= last:
        cannot_tell(f"--since ({since}) must be before --until ({until})")
    return Asked(kind=Kind.MANUAL, since=first, until=last, dry_run=True)


def _previewed(pipeline: Pipeline, asked: Asked, rows: int) -> tuple[Preview, Quota | None]:
    """The preview, and the quota that a run would have, where one is known."""
    from fenxiang_sync.airflow.hook import FenxiangHook
    from fenxiang_sync.airflow.reach import make_reach
    from fenxiang_sync.airflow.readers import reader
    from fenxiang_sync.pipeline import Source
    from fenxiang_sync.stage import Folder
    from fenxiang_sync.steps import Run
    from fenxiang_sync.steps.preview import preview

    run = Run(pipeline=pipeline, id="preview", folder=Folder(None))  # a preview has no part of the stage
    source = pipeline.source
    with opened_hub() as hub:
        try:
            with closing(reader(source, make_reach, patient=False)) as client:
                found = preview(run, asked, rows=rows, client=client, hub=hub, sleep=lambda _: None)
            return found, FenxiangHook(source.connection).quota() if isinstance(source, Source) else None
        except FenxiangSyncError as error:
            cannot_tell(f"{pipeline.name}: {error}")


# For people


def _tell(pipeline: Pipeline, found: Preview, quota: Quota | None, *, given: bool) -> None:
    from fenxiang_sync.lineage import origins

    mapped = list(origins(pipeline.fields))
    say(_heads(pipeline, found))
    for number, sample in enumerate(found.samples, start=1):
        say(["", f"{number}  {sample.record['_id']}  {sample.outcome}"])
        if sample.reject is not None:
            say([f"   {sample.reject['reason']}"])
        heads, lines = _side_by_side(mapped, sample)
        table(heads, lines, most=_WIDEST, whole=(heads[0], "target"))
        if len(sample.rows) > _ROWS_SHOWN:
            typer.echo(f"   … and {len(sample.rows) - _ROWS_SHOWN:,} more rows")
    typer.echo("")
    say(_totals(pipeline, found, quota, given=given))


def _heads(pipeline: Pipeline, found: Preview) -> Iterator[str]:
    from fenxiang_sync.checks import spoken_span

    source, zone = pipeline.source, ZoneInfo(pipeline.timezone)
    yield f"{pipeline.name}: {source.object} ({source.connection}) → {pipeline.target.describe()}"
    own, others = found.spans.own, len(found.spans.windows) - 1
    gaps = f", and {counted(others, 'gap')} before it" if others > 0 else ""
    lookback = f", with {spoken_span(source.lookback)} before it" if found.spans.reading else ""
    yield f"reads {_span(own, zone)} ({pipeline.timezone}){lookback}{gaps}"
    for each in found.findings:
        yield f"{'wrong' if each.serious else 'note'}: {each}"


def _side_by_side(mapped: list[Origin], sample: Sample) -> tuple[list[str], list[list[str]]]:
    """The heads and lines of a table: source field, its value in the record, target, its value in each row."""
    shown = sample.rows[:_ROWS_SHOWN]
    made = ["row"] if len(shown) == 1 else [f"row {number}" for number in range(1, len(shown) + 1)]
    lines = []
    for each in mapped:
        values = [_text(at(row.content, each.column.path)) for row in shown]
        lines.append([f"   {each.path or each.how}", _text(_of_record(sample.record, each)), each.column.path, *values])
    return ["   source", "record", "target", *made], lines


def _totals(pipeline: Pipeline, found: Preview, quota: Quota | None, *, given: bool) -> Iterator[str]:
    numbers = found.numbers
    records = numbers.pop("records")
    if not records:
        older = "" if given else "; an older stretch: --since 2026-11-01T00:00:00+08:00"
        yield f"no record has changed there{older}"
    else:
        rows = numbers.pop("rows")
        each = f", {rows / records:.1f} a record" if pipeline.several else ""
        told = ", ".join(f"{number:,} {word.replace('_', ' ')}" for word, number in numbers.items() if number)
        yield f"{counted(records, 'record')}, {counted(rows, 'row')}{each}: {told}. Nothing was sent or written."
    cost = found.cost
    if cost is None or quota is None:
        yield "a run of it: the source does not tell how many records there are"
        return
    speed = f"{quota.limit:,} calls in {quota.seconds:g} s"
    gets = f"{cost.getting:,} to get each record, " if cost.getting else ""
    parts = f"{cost.planning:,} to plan, {cost.reading:,} to read, {gets}{cost.verifying:,} to verify"
    yield (
        f"a run of it: about {counted(cost.records, 'record')}, about {counted(cost.calls, 'call')} ({parts}), "
        f"{_spoken(_seconds(cost.paced, quota))} at {speed}"
    )


def _of_record(record: Mapping[str, Any], origin: Origin) -> Any:
    """What the record has for a column: the value that is read, a label's companion where that is what is read."""
    if not origin.reads:
        return None
    if len(origin.sources) > 1:
        return {source: at(record, source) for source in origin.sources}
    return record.get(origin.reads[-1]) if len(origin.reads) > 1 else at(record, origin.path)


def at(document: Any, path: str) -> Any:
    """What a dotted path leads to; of a list, the element at a place, or what it leads to in each element.

    >>> at({"a": {"b": 1}}, "a.b"), at({"a": "x"}, "a.b")
    (1, None)
    >>> at({"a": [{"b": 1}, {}]}, "a.b"), at({"a": [{"b": 1}]}, "a.0.b")
    ([1, None], 1)
    """
    if isinstance(document, list):
        place, _, below = path.partition(".")
        if not place.isdecimal():
            return [at(each, path) for each in document]
        element = document[int(place)] if int(place) < len(document) else None
        return at(element, below) if below else element
    top, _, rest = path.partition(".")
    value = document.get(top) if isinstance(document, Mapping) else None
    if not rest:
        return value
    return at(value, rest)


def _text(value: Any) -> str:
    """One line.

    >>> _text(None), _text("a\\nb"), _text(["甲", 1]), _text(True)
    ('–', 'a b', '["甲", 1]', 'true')
    """
    if value is None:
        return "–"
    said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=_plain)
    line = " ".join(said[: 4 * _WIDEST].split())
    return "".join(letter if letter.isprintable() else "�" for letter in line)


def _span(window: Window, zone: ZoneInfo) -> str:
    return f"{moment(window.since.astimezone(zone))} → {moment(window.until.astimezone(zone))}"


def _seconds(calls: int, quota: Quota) -> float:
    return calls * quota.seconds / quota.limit


def _spoken(seconds: float) -> str:
    """
    >>> _spoken(4), _spoken(90), _spoken(3600 * 3)
    ('under a minute', 'about 2 minutes', 'about 3.0 hours')
    """
    if seconds < 60:
        return "under a minute"
    return f"about {seconds / 60:.0f} minutes" if seconds < 3600 else f"about {seconds / 3600:.1f} hours"


# For programs


def _document(pipeline: Pipeline, found: Preview, quota: Quota | None) -> dict[str, Any]:
    cost = found.cost
    return {
        "pipeline": pipeline.name,
        "object": pipeline.source.object,
        "connection": pipeline.source.connection,
        "target": pipeline.target.describe(),
        "window": found.spans.own.to_json(),
        "reading": [each.to_json() for each in found.spans.reading],
        "findings": [{"field": each.field, "said": each.said, "serious": each.serious} for each in found.findings],
        "numbers": found.numbers,
        "records": [_sampled(each) for each in found.samples],
        "cost": None
        if cost is None or quota is None
        else {
            "records": cost.records,
            "calls": cost.calls,
            "planning": cost.planning,
            "reading": cost.reading,
            "getting": cost.getting,
            "verifying": cost.verifying,
            "seconds": round(_seconds(cost.paced, quota)),
        },
        "calls": found.calls,
    }


def _sampled(sample: Sample) -> dict[str, Any]:
    return {
        "record": dict(sample.record),
        "rows": [
            {"id": row.id, "decision": decision.value, "content": row.content}
            for row, decision in zip(sample.rows, sample.decisions, strict=True)
        ],
        "filtered": sample.filtered,
        "rejected": None if sample.reject is None else dict(sample.reject),
    }


def _plain(value: Any) -> Any:
    """Exact numbers as text, which no program rounds."""
    return str(value) if isinstance(value, Decimal) else repr(value)

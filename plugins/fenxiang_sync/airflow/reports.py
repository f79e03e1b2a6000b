"""What the hub knows, on the command line: ``fenxiang gaps``, ``fenxiang late``, ``fenxiang calls``.

Exit codes: 0 nothing to do, 1 there is (a gap; 80 % of a day's calls), 2 it could not be told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from fenxiang_sync.airflow.terminal import Dags, Json, cannot_tell, moment, pipelines_of, the_hub
from fenxiang_sync.errors import FenxiangSyncError
from fenxiang_sync.source.metering import NEARLY

if TYPE_CHECKING:
    from fenxiang_sync.coverage import Coverage
    from fenxiang_sync.hub import DayCalls, LateBin
    from fenxiang_sync.pipeline import Pipeline
    from fenxiang_sync.window import Window

_SHANGHAI = ZoneInfo("Asia/Shanghai")

Name = Annotated[str | None, typer.Argument(metavar="[PIPELINE]", help="One pipeline; by default all of them.")]


def gaps(pipeline: Name = None, dags: Dags = None, as_json: Json = False) -> None:
    """Say which spans of time are certified and which are not, with the command that closes each gap; exit code 1 if
    there is a gap."""
    from fenxiang_sync.coverage import Coverage

    declared = pipelines_of(dags, pipeline)
    with the_hub() as hub:
        found = [Coverage.of(each, hub.certified(each.name)) for each in declared]
    if as_json:
        typer.echo(json.dumps([_gaps_document(each) for each in found], ensure_ascii=False, indent=1))
    else:
        for each in found:
            typer.echo("\n".join(_gaps_lines(each)))
    raise typer.Exit(1 if any(each.gaps for each in found) else 0)


def late(
    pipeline: Name = None,
    dags: Dags = None,
    as_json: Json = False,
    forget: Annotated[bool, typer.Option("--forget", help="Count from zero again.")] = False,
) -> None:
    """Say how late records became visible, and what lookback would have caught all of them."""
    declared = pipelines_of(dags, pipeline)
    with the_hub() as hub:
        found = {each.name: hub.late(each.name) for each in declared}
        if forget:
            for each in declared:
                typer.echo(f"{each.name}: {hub.forget_late(each.name)} late arrivals forgotten")
            return
    if as_json:
        documents = [_late_document(each, found[each.name]) for each in declared]
        typer.echo(json.dumps(documents, ensure_ascii=False, indent=1))
        return
    for each in declared:
        typer.echo("\n".join(_late_lines(each, found[each.name])))


def calls(
    days: Annotated[int, typer.Option("--days", min=1, help="How many days, today included.")] = 7,
    as_json: Json = False,
) -> None:
    """Say how many calls were made on each day (Asia/Shanghai), against the quota where it is known; exit code 1 where
    80 % of today's are used."""
    today = datetime.now(_SHANGHAI).date()
    with the_hub() as hub:
        found = hub.calls((today - timedelta(days=days - 1)).isoformat())
    shares = [(each, _quota(each.connection), _of_app(each, found)) for each in found]
    if as_json:
        documents = [
            {"day": each.day, "connection": each.connection, "app": each.app, "calls": each.calls, "day_quota": quota}
            for each, quota, _ in shares
        ]
        typer.echo(json.dumps(documents, ensure_ascii=False, indent=1))
    elif not found:
        typer.echo(f"no call was counted in {days} days")
    else:
        for each, quota, made in shares:
            used = f"{100 * made / quota:.0f} % of {quota:,}" if quota else "day_quota of the connection is not set"
            typer.echo(f"{each.day}  {each.connection}  {each.calls:,} calls  ({used}; {each.app})")
    nearly = [
        made for each, quota, made in shares if quota and each.day == today.isoformat() and made >= NEARLY * quota
    ]
    raise typer.Exit(1 if nearly else 0)


def _of_app(one: DayCalls, found: Sequence[DayCalls]) -> int:
    """What all connections of an app have made on that day: the quota is the app's."""
    return sum(each.calls for each in found if (each.app, each.day) == (one.app, one.day))


def _quota(conn_id: str) -> int | None:
    from fenxiang_sync.airflow.connections import find
    from fenxiang_sync.airflow.hook import maybe_whole

    connection = find(conn_id)
    try:
        return maybe_whole(connection.extra_dejson, "day_quota", conn_id) if connection else None
    except FenxiangSyncError as error:
        return cannot_tell(str(error))


def _gaps_document(coverage: Coverage) -> dict[str, Any]:
    return {
        "pipeline": coverage.pipeline.name,
        "certified": [each.to_json() for each in coverage.certified],
        "gaps": [
            {**each.to_json(), "next_run_closes_it": each in coverage.healing, "command": coverage.command(each)}
            for each in coverage.gaps
        ],
        "command": coverage.command(),
    }


def _gaps_lines(coverage: Coverage) -> Iterator[str]:
    pipeline = coverage.pipeline
    zone = ZoneInfo(pipeline.timezone)
    if not coverage.certified:
        yield f"{pipeline.name}: nothing is certified yet. To load everything: {coverage.command()}"
        return
    end = coverage.certified[-1].until.astimezone(zone)
    said = f"{len(coverage.gaps)} gaps" if len(coverage.gaps) != 1 else "1 gap"
    yield f"{pipeline.name}: {said}; certified up to {moment(end)} ({pipeline.timezone})"
    for span in sorted([*coverage.certified, *coverage.gaps]):
        if span not in coverage.gaps:
            yield f"  certified  {_span(span, zone)}"
            continue
        heals = "the next run closes it; at once" if span in coverage.healing else "older than reach_back"
        yield f"  gap        {_span(span, zone)}  ({heals}:)"
        yield f"             {coverage.command(span)}"
    yield f"  after it   {coverage.command()}"


def _late_document(pipeline: Pipeline, bins: Sequence[LateBin]) -> dict[str, Any]:
    return {
        "pipeline": pipeline.name,
        "lookback_s": pipeline.source.lookback.total_seconds(),
        "arrivals": sum(each.arrivals for each in bins),
        "least_s": max((each.least_ms for each in bins), default=0) / 1000,
        "enough_s": max((each.most_ms for each in bins), default=0) / 1000,
        "bins": [
            {
                "within_s": each.within_ms // 1000,
                "found_by": each.found_by,
                "arrivals": each.arrivals,
                "least_s": each.least_ms / 1000,
                "enough_s": each.most_ms / 1000,
                "record_id": each.record_id,
                "modified_ms": each.modified_ms,
                "run": each.run,
                "found_at": each.found_at.isoformat(timespec="seconds"),
            }
            for each in bins
        ],
    }


def _late_lines(pipeline: Pipeline, bins: Sequence[LateBin]) -> Iterator[str]:
    present = pipeline.source.lookback
    if not bins:
        yield f"{pipeline.name}: no late arrival so far; lookback {_spoken(present)}"
        return
    zone = ZoneInfo(pipeline.timezone)
    total = sum(each.arrivals for each in bins)
    last = max(each.found_at for each in bins).astimezone(zone)
    yield (
        f"{pipeline.name}: {total} late arrivals, the last found {moment(last)} ({pipeline.timezone}); "
        f"lookback {_spoken(present)}"
    )
    yield "  a lookback of | would have caught | found by                 | the latest of them"
    for within, group in _by_length(bins).items():
        caught = sum(each.arrivals for each in bins if each.within_ms <= within)
        found_by = ", ".join(f"{each.found_by} {each.arrivals}" for each in group)
        latest = max(group, key=lambda each: each.most_ms)
        yield f"  {_spoken(_ms(within)):<13} | {f'{caught} of {total}':<17} | {found_by:<24} | {_example(latest, zone)}"
    yield f"  {_advice(bins, present)}"


def _by_length(bins: Sequence[LateBin]) -> Mapping[int, list[LateBin]]:
    return {
        within: [each for each in bins if each.within_ms == within]
        for within in sorted({each.within_ms for each in bins})
    }


def _example(one: LateBin, zone: ZoneInfo) -> str:
    from fenxiang_sync.window import from_ms

    stamp = moment(from_ms(one.modified_ms).astimezone(zone))
    return (
        f"{one.record_id} of {stamp}, found by {one.run}: {_spoken(_ms(one.least_ms))} to {_spoken(_ms(one.most_ms))}"
    )


def _advice(bins: Sequence[LateBin], present: timedelta) -> str:
    least, most = _ms(max(each.least_ms for each in bins)), _ms(max(each.most_ms for each in bins))
    if most <= present:
        return f"The lookback of {_spoken(present)} catches all of them"
    minutes = -(-most // timedelta(minutes=1))
    return (
        f"Source(lookback=timedelta(minutes={minutes})) would have caught all of them for certain; less than "
        f"{_spoken(least)} would not"
    )


def _span(window: Window, zone: ZoneInfo) -> str:
    return f"{moment(window.since.astimezone(zone))} → {moment(window.until.astimezone(zone))}"


def _ms(number: int) -> timedelta:
    return timedelta(milliseconds=number)


def _spoken(span: timedelta) -> str:
    """Rounded up, so that what it says is enough.

    >>> _spoken(timedelta(seconds=61)), _spoken(timedelta(hours=26)), _spoken(timedelta(seconds=20))
    ('2 min', '1 day 2 h', '20 s')
    """
    if span < timedelta(minutes=1):
        return f"{-(-span // timedelta(seconds=1))} s"
    minutes = -(-span // timedelta(minutes=1))
    days, hours, rest = minutes // 1440, minutes % 1440 // 60, minutes % 60
    parts = [
        f"{days} day{'s' if days > 1 else ''}" * bool(days),
        f"{hours} h" * bool(hours),
        f"{rest} min" * bool(rest),
    ]
    return " ".join(part for part in parts if part)

"""What the hub knows, on the command line: ``fenxiang gaps``, ``fenxiang late``, ``fenxiang calls``.

Exit codes: 0 nothing to do, 1 there is (a gap; 80 % of a day's calls), 2 it could not be told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from fenxiang_sync.airflow.terminal import Dags, Json, Name, cannot_tell, declared, moment, opened_hub, say
from fenxiang_sync.errors import FenxiangSyncError
from fenxiang_sync.source.metering import NEARLY

if TYPE_CHECKING:
    from fenxiang_sync.coverage import Coverage
    from fenxiang_sync.hub import LateBin
    from fenxiang_sync.lateness import Lateness
    from fenxiang_sync.pipeline import Pipeline
    from fenxiang_sync.window import Window

_SHANGHAI = ZoneInfo("Asia/Shanghai")


def gaps(pipeline: Name = None, dags: Dags = None, as_json: Json = False) -> None:
    """Say which spans of time are certified and which are not, with the command that closes each gap; exit code 1 if
    there is a gap."""
    from fenxiang_sync.coverage import Coverage

    meant = declared(dags, pipeline)
    with opened_hub() as hub:
        found = [Coverage.of(each, hub.certified(each.name)) for each in meant]
    if as_json:
        typer.echo(json.dumps([each.to_json() for each in found], ensure_ascii=False, indent=1))
    else:
        for each in found:
            say(_gaps_lines(each))
    raise typer.Exit(1 if any(each.gaps for each in found) else 0)


def late(
    pipeline: Name = None,
    dags: Dags = None,
    as_json: Json = False,
    forget: Annotated[bool, typer.Option("--forget", help="Count from zero again.")] = False,
) -> None:
    """Say how late records became visible, and what lookback would have caught all of them."""
    from fenxiang_sync.lateness import Lateness

    meant = declared(dags, pipeline)
    with opened_hub() as hub:
        found = {each.name: Lateness.of(each.name, each.source.lookback, hub.late(each.name)) for each in meant}
        if forget:
            for each in meant:
                typer.echo(f"{each.name}: {hub.forget_late(each.name)} late arrivals forgotten")
            return
    if as_json:
        documents = [found[each.name].to_json() for each in meant]
        typer.echo(json.dumps(documents, ensure_ascii=False, indent=1))
        return
    for each in meant:
        say(_late_lines(each, found[each.name]))


def calls(
    days: Annotated[int, typer.Option("--days", min=1, help="How many days, today included.")] = 7,
    as_json: Json = False,
) -> None:
    """Say how many calls were made on each day (Asia/Shanghai), against the quota where it is known; exit code 1 where
    80 % of today's are used."""
    today = datetime.now(_SHANGHAI).date()
    with opened_hub() as hub:
        found = hub.calls((today - timedelta(days=days - 1)).isoformat())
    shares = [(each, _quota(each.connection), each.of_app(found)) for each in found]
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


def _quota(conn_id: str) -> int | None:
    from fenxiang_sync.airflow.hook import day_quota

    try:
        return day_quota(conn_id)
    except FenxiangSyncError as error:
        return cannot_tell(str(error))


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


def _late_lines(pipeline: Pipeline, found: Lateness) -> Iterator[str]:
    from fenxiang_sync.lateness import spoken

    present = spoken(pipeline.source.lookback)
    if found.last is None:
        yield f"{pipeline.name}: no late arrival so far; lookback {present}"
        return
    zone = ZoneInfo(pipeline.timezone)
    total, last = found.arrivals, moment(found.last.astimezone(zone))
    yield (f"{pipeline.name}: {total} late arrivals, the last found {last} ({pipeline.timezone}); lookback {present}")
    yield "  a lookback of | would have caught | found by                 | the latest of them"
    for step in found.steps:
        caught = f"{step.caught} of {total}"
        found_by = ", ".join(f"{each.found_by} {each.arrivals}" for each in step.bins)
        yield f"  {spoken(_ms(step.within_ms)):<13} | {caught:<17} | {found_by:<24} | {_example(step.latest, zone)}"
    yield f"  {found.advice()}"


def _example(one: LateBin, zone: ZoneInfo) -> str:
    from fenxiang_sync.lateness import spoken
    from fenxiang_sync.window import from_ms

    stamp = moment(from_ms(one.modified_ms).astimezone(zone))
    return f"{one.record_id} of {stamp}, found by {one.run}: {spoken(_ms(one.least_ms))} to {spoken(_ms(one.most_ms))}"


def _span(window: Window, zone: ZoneInfo) -> str:
    return f"{moment(window.since.astimezone(zone))} → {moment(window.until.astimezone(zone))}"


def _ms(number: int) -> timedelta:
    return timedelta(milliseconds=number)

"""Rows in doubt on the command line: ``fenxiang doubt``.

Exit codes: 0 none is left of those that were meant, 1 there is, 2 it could not be told or done.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from fenxiang_sync.airflow.terminal import Dags, Json, Name, cannot_tell, counted, declared, moment, opened_hub, say

if TYPE_CHECKING:
    from fenxiang_sync.hub import Doubt
    from fenxiang_sync.pipeline import Pipeline
    from fenxiang_sync.steps.doubt import Choice


def doubt(
    pipeline: Name = None,
    resend: Annotated[bool, typer.Option("--resend", help="The target does not have them: send them again.")] = False,
    accept: Annotated[bool, typer.Option("--accept", help="The target has them.")] = False,
    every: Annotated[bool, typer.Option("--all", help="All rows in doubt of the pipeline.")] = False,
    record: Annotated[
        list[str] | None, typer.Option("--record", help="Id of a row or record; give it again for more of them.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many are meant.")] = False,
    dags: Dags = None,
    as_json: Json = False,
) -> None:
    """Show the rows that were sent and whose answer was lost, or settle them after a look at the target; exit code 1 if
    one is left."""
    choice = _choice(resend, accept, every, record, pipeline)
    meant = declared(dags, pipeline, ways_back=True)
    if choice is None:
        _show(meant, record, as_json=as_json)
    else:
        _settle(meant[0], choice, record, dry_run=dry_run, as_json=as_json)


def _choice(
    resend: bool, accept: bool, every: bool, record: Sequence[str] | None, pipeline: str | None
) -> Choice | None:
    from fenxiang_sync.steps.doubt import Choice

    if not resend and not accept:
        return None
    if resend and accept:
        cannot_tell("--resend says that the target does not have the rows, --accept that it has; give one")
    if pipeline is None or every == bool(record):
        cannot_tell("say which rows: the pipeline, and --all or some by --record")
    return Choice.RESEND if resend else Choice.ACCEPT


def _show(meant: Sequence[Pipeline], record: Sequence[str] | None, *, as_json: bool) -> None:
    documents: list[dict[str, Any]] = []
    with opened_hub() as hub:
        for each in meant:
            found = list(hub.doubts.find(each.name, ids=record or None, now=datetime.now(UTC)))
            documents += [_document(each, one) for one in found]
            if not as_json:
                say(_lines(each, found))
    if as_json:
        typer.echo(json.dumps(documents, ensure_ascii=False, indent=1))
    raise typer.Exit(1 if documents else 0)


def _settle(pipeline: Pipeline, choice: Choice, record: Sequence[str] | None, *, dry_run: bool, as_json: bool) -> None:
    from fenxiang_sync.airflow.replay import mend_by_hand
    from fenxiang_sync.steps.mend import Wanted

    wanted = Wanted(records=record or None, letters=False, in_doubt=choice, dry_run=dry_run)
    run_id, numbers = mend_by_hand(pipeline, wanted)
    if as_json:
        typer.echo(json.dumps({"pipeline": pipeline.name, "run": run_id, **numbers}, ensure_ascii=False, indent=1))
    else:
        say(_told(pipeline.name, run_id, numbers))
    left = numbers["left_in_doubt"] or numbers["refused"] or not numbers["doubtful"]
    raise typer.Exit(1 if left else 0)


def _lines(pipeline: Pipeline, found: Sequence[Doubt]) -> Iterator[str]:
    zone = ZoneInfo(pipeline.timezone)
    yield f"{pipeline.name}: {len(found)} row{'' if len(found) == 1 else 's'} in doubt" + (
        f" ({zone})" if found else ""
    )
    for each in found:
        at = moment(each.sent_at.astimezone(zone)) if each.sent_at else "at an unknown time"
        number = "" if each.number in (None, each.id) else f" {each.number}"
        yield f"  {each.id}{number}  sent {at} by {each.run or 'nobody'}: {each.reason or 'no answer was stored'}"
        yield f"    {_said(each.content)}"
    if found:
        name = pipeline.name
        yield f"  Look at the target. It has them: fenxiang doubt {name} --accept --record {found[0].id} … (or --all)"
        yield f"  It does not: fenxiang doubt {name} --resend --record {found[0].id} … (or --all)"


def _told(pipeline: str, run_id: str, numbers: Mapping[str, Any]) -> Iterator[str]:
    if not numbers["doubtful"]:
        yield f"{pipeline}: none of the rows in doubt is meant; fenxiang doubt {pipeline} shows them"
        return
    words = {"accepted": "accepted", "resent": "sent again", "refused": "refused", "left_in_doubt": "in doubt still"}
    ends = ", ".join(f"{numbers[end]:,} {said}" for end, said in words.items() if numbers[end])
    would = "would be: " if numbers["dry_run"] else ""
    yield f"{pipeline}: {counted(numbers['doubtful'], 'row')} in doubt; {would}{ends}"
    if numbers["refused"]:
        yield f"  they are dead letters: fenxiang letters {pipeline} --run '{run_id}'"
    if numbers["left_in_doubt"]:
        yield f"  look at the target again: fenxiang doubt {pipeline}"
    if numbers["outdated"]:
        yield (
            f"  {numbers['outdated']:,} of their records were edited meanwhile; to read those again: "
            f"airflow dags trigger {pipeline}.reconcile"
        )


def _document(pipeline: Pipeline, each: Doubt) -> dict[str, Any]:
    return {
        "pipeline": pipeline.name,
        "id": each.id,
        "record_id": each.source_id,
        "number": each.number,
        "modified_ms": each.modified_ms,
        "sent_at": each.sent_at.isoformat(timespec="seconds") if each.sent_at else None,
        "run": each.run,
        "reason": each.reason,
        "code": each.code,
        "row": json.loads(_said(each.content)),
    }


def _said(content: Any) -> str:
    from fenxiang_sync.hub.content import dumps

    return dumps(content)

"""``fenxiang backfill-field``: a field that was added to a declaration is brought to rows that were delivered before.

Exit codes: 0 no row is left that lacks it, 1 rows are, 2 it could not be done.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from fenxiang_sync.airflow.resend import Moment, record
from fenxiang_sync.airflow.resend import window_of as _window
from fenxiang_sync.airflow.terminal import Dags, Json, One, cannot_tell, counted, declared, opened_hub, progress, say
from fenxiang_sync.errors import FenxiangSyncError

if TYPE_CHECKING:
    from fenxiang_sync.hub import Hub
    from fenxiang_sync.pipeline import Pipeline
    from fenxiang_sync.steps.fill import Filled
    from fenxiang_sync.window import Window


def backfill_field(
    pipeline: One,
    fields: Annotated[list[str], typer.Argument(metavar="FIELD…", help="Target paths, or source fields.")],
    since: Moment = None,
    until: Moment = None,
    again: Annotated[
        bool, typer.Option("--again", help="Rows that have the field too: its converter has changed.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read, and only say what would be sent (空跑).")] = False,
    dags: Dags = None,
    as_json: Json = False,
) -> None:
    """Bring fields that were added to a declaration to rows that were delivered without them (补字段). Only those
    fields are read, 100 records a call (one, for get_fields). Exit code 1 if a row could not be filled."""
    [found] = declared(dags, pipeline)
    with opened_hub() as hub:
        try:
            window = _window(found, since, until)
            made = _filled(found, fields, hub, window, again=again, dry_run=dry_run)
        except FenxiangSyncError as error:
            cannot_tell(f"{pipeline}: {error}")
    if as_json:
        told = {"pipeline": pipeline, "fields": fields, "dry_run": dry_run, **asdict(made)}
        typer.echo(json.dumps(told, ensure_ascii=False, indent=1))
    else:
        say(_lines(pipeline, fields, made, dry_run=dry_run))
    raise typer.Exit(1 if made.wanting else 0)


def _filled(
    pipeline: Pipeline, fields: list[str], hub: Hub, window: Window | None, *, again: bool, dry_run: bool
) -> Filled:
    from msgspec import to_builtins

    from fenxiang_sync.airflow.deployment import Deployment
    from fenxiang_sync.steps import Run
    from fenxiang_sync.steps.fill import KIND, fill

    with closing(Deployment()) as deployment, progress(pipeline.name) as done:
        began = datetime.now(UTC)
        run_id = f"{KIND}__{began.isoformat(timespec='milliseconds')}"
        run = Run(pipeline=pipeline, id=run_id, folder=deployment.stage.run(pipeline.name, run_id))
        made = fill(
            run,
            fields,
            client=deployment.reader(pipeline.source),
            hub=hub,
            reach=deployment.reach,
            clock=deployment.now,
            window=window,
            again=again,
            dry_run=dry_run,
            done=done,
        )
    if not dry_run:
        record(hub, run, KIND, window, began, to_builtins(made), requests=made.calls)
    return made


def _lines(pipeline: str, fields: list[str], made: Filled, *, dry_run: bool) -> Iterator[str]:
    verb = "would be sent" if dry_run else "delivered"
    numbers = [
        (made.delivered, verb),
        (made.unchanged, "unchanged"),
        (made.newer, "modified since, which the next run reads"),
        (made.gone, "no more in the CRM"),
        (made.rejected, "rejected"),
        (made.incomplete, f"lack {', '.join(made.also)} too"),
        (made.other_key, "have their id from another key"),
        (made.dead_letters, "refused by the target"),
        (made.in_doubt, "in doubt"),
        (made.left, "claimed by another run, or newer there"),
    ]
    told = ", ".join(f"{number:,} {what}" for number, what in numbers if number)
    yield (
        f"{pipeline}: {counted(made.lacking, 'row')} to fill"
        + (f": {told}" if told else "")
        + f"; {made.calls:,} calls"
    )
    yield from (f"  rejected {reason}" for reason in made.reasons)
    if made.left:
        yield "  a run that was cut off keeps its claims for 15 minutes; what is left then, the same command fills"
    if made.other_key:
        yield f"  read everything again: airflow dags trigger {pipeline} --conf '{{\"full\": true}}'"
    if made.incomplete:
        yield f"  fill them together: fenxiang backfill-field {pipeline} {' '.join([*fields, *made.also])}"

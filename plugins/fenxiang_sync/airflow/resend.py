"""``fenxiang resend``: rows are sent again as the hub has stored them, for a target that was truncated or restored."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fenxiang_sync.airflow.terminal import Dags, cannot_tell, declared, opened_hub, progress
from fenxiang_sync.errors import FenxiangSyncError, ParamError

if TYPE_CHECKING:
    from fenxiang_sync.hub import Hub
    from fenxiang_sync.pipeline import Pipeline
    from fenxiang_sync.steps import Run
    from fenxiang_sync.window import Window


Moment = Annotated[str | None, typer.Option(help="With its zone: 2026-11-22T08:00:00+08:00.")]


def resend(
    pipeline: Annotated[str, typer.Argument(metavar="PIPELINE", help="The pipeline whose rows are sent.")],
    since: Moment = None,
    until: Moment = None,
    all_rows: Annotated[bool, typer.Option("--all", help="Every row, however old.")] = False,
    missing: Annotated[
        bool, typer.Option("--missing", help="Only rows that the target does not hold, where it can be asked.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many rows that is (空跑).")] = False,
    may_duplicate: Annotated[
        bool,
        typer.Option("--may-duplicate", help="At a target that only inserts: rows that are there will be there twice."),
    ] = False,
    dags: Dags = None,
) -> None:
    """Send rows again as the hub has stored them (重新写入), with no call to Fenxiang: those whose record was modified
    from --since to --until, --all, or those that are --missing. Exit code 1 if a row was not delivered."""
    [found] = declared(dags, pipeline)
    with opened_hub() as hub:
        try:
            window = _window(found, since, until, whole=all_rows, missing=missing)
            numbers = _sent(found, hub, window, missing=missing, dry_run=dry_run, may_duplicate=may_duplicate)
        except FenxiangSyncError as error:
            cannot_tell(f"{pipeline}: {error}")
    verb = "would be sent" if dry_run else "delivered"
    typer.echo(
        f"{pipeline}: {numbers['read']:,} rows in the hub, {numbers['delivered']:,} {verb}, "
        f"{numbers['dead_letters']:,} refused, {numbers['in_doubt']:,} in doubt, {numbers['left']:,} left to the runs "
        "that send them"
    )
    raise typer.Exit(1 if numbers["dead_letters"] or numbers["in_doubt"] else 0)


def _window(pipeline: Pipeline, since: str | None, until: str | None, *, whole: bool, missing: bool) -> Window | None:
    found = window_of(pipeline, since, until)
    if whole and found is not None:
        raise ParamError("--all is everything; leave --since and --until out")
    if found is None and not whole and not missing:
        raise ParamError("say which rows: --since and --until, --all, or --missing")
    return found


def window_of(pipeline: Pipeline, since: str | None, until: str | None) -> Window | None:
    """The window between two moments of a command, of which one may be open; None where neither is given."""
    from fenxiang_sync.airflow.params import instant
    from fenxiang_sync.window import Window

    given = {"since": since, "until": until}
    first, last = (instant(given, name, pipeline.timezone) for name in given)
    if first is None and last is None:
        return None
    first, last = first or datetime.fromtimestamp(0, UTC), last or datetime.now(UTC)
    if first >= last:
        raise ParamError(f"--since ({since}) must be before --until ({until or 'now'})")
    return Window.between(first, last)


def _sent(
    pipeline: Pipeline, hub: Hub, window: Window | None, *, missing: bool, dry_run: bool, may_duplicate: bool
) -> dict[str, int]:
    from fenxiang_sync.airflow.deployment import Deployment
    from fenxiang_sync.steps import Run
    from fenxiang_sync.steps.plan import may_send_again
    from fenxiang_sync.steps.resend import KIND, resend

    if not missing and not dry_run:
        may_send_again(pipeline, may_duplicate=may_duplicate, how="--may-duplicate")
    deployment, began = Deployment(), datetime.now(UTC)
    run_id = f"{KIND}__{began.isoformat(timespec='milliseconds')}"
    run = Run(pipeline=pipeline, id=run_id, folder=deployment.stage.run(pipeline.name, run_id))
    with progress(pipeline.name) as done:
        numbers = resend(
            run,
            hub=hub,
            reach=deployment.reach,
            clock=deployment.now,
            window=window,
            missing=missing,
            dry_run=dry_run,
            done=done,
        )
    if not dry_run:
        record(hub, run, KIND, window, began, numbers)
    return numbers


def record(
    hub: Hub, run: Run, kind: str, window: Window | None, began: datetime, numbers: dict[str, Any], requests: int = 0
) -> None:
    """What the hub remembers of a run of a command, as of every run."""
    from fenxiang_sync.hub import RunRecord

    hub.record_run(
        RunRecord(
            pipeline=run.pipeline.name,
            run=run.id,
            kind=kind,
            state="success",
            window=window,
            started_at=began,
            finished_at=datetime.now(UTC),
            config_hash=run.pipeline.config_hash,
            requests=requests,
            numbers=numbers,
        )
    )

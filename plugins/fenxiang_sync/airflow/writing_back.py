"""Writing back on the command line: ``fenxiang write-back PIPELINE``.

Exit codes: 0 done, 1 the CRM refused something or it is in doubt, 2 it could not be done.
"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from fenxiang_sync.airflow.terminal import Dags, Json, One, cannot_tell, counted, declared


def write_back(
    pipeline: One,
    every: Annotated[bool, typer.Option("--all", help="Look at every record, not only at those that changed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many would be written.")] = False,
    dags: Dags = None,
    as_json: Json = False,
) -> None:
    """Write into the CRM what became of its records (回写): what the target told, where they stand, why they were
    refused; only what has changed."""
    from fenxiang_sync.airflow.write_back import write_back_by_hand

    [meant] = declared(dags, pipeline)
    if meant.write_back is None:
        cannot_tell(f"pipeline {pipeline!r} writes nothing back: it declares no write_back=WriteBack(…)")
    run_id, numbers = write_back_by_hand(meant, every=every, dry_run=dry_run)
    if as_json:
        typer.echo(json.dumps({"pipeline": pipeline, "run": run_id, "dry_run": dry_run, **numbers}, indent=1))
    else:
        written = "would be written" if dry_run else "written"
        typer.echo(
            f"{pipeline}: {counted(numbers['looked_at'], 'record')} looked at, {numbers['delivered']:,} {written}, "
            f"{numbers['unchanged']:,} as the CRM has them, {numbers['dead_letters']:,} refused, "
            f"{numbers['in_doubt']:,} in doubt"
        )
        if numbers["dead_letters"]:
            typer.echo(f"  why: fenxiang letters {pipeline}.write_back")
    raise typer.Exit(1 if numbers["dead_letters"] or numbers["in_doubt"] else 0)

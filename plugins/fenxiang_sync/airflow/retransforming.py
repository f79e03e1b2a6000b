"""A changed mapping, applied to what was read before, on the command line: ``fenxiang retransform PIPELINE``.

Exit codes of the command: 0 nothing differs, or all of it was delivered; 1 there are differences, or records that must
be looked at; 2 it could not be told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fenxiang_sync.airflow.terminal import Dags, Json, One, cannot_tell, declared, say, shown
from fenxiang_sync.errors import FenxiangSyncError, TransientError

if TYPE_CHECKING:
    from fenxiang_sync.hub import Hub
    from fenxiang_sync.pipeline import Pipeline
    from fenxiang_sync.steps.retransform import Difference, Retransformed

_COMMAND = "retransform.command__"
"""How the ids of its runs begin."""


def retransform(
    pipeline: One,
    run: Annotated[str | None, typer.Option("--run", help="The records that this run has read.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All records, as they were read last.")] = False,
    apply: Annotated[
        bool, typer.Option("--apply/--diff", help="Deliver what differs; by default it is only told.")
    ] = False,
    dags: Dags = None,
    as_json: Json = False,
) -> None:
    """Map records that were read before by the declaration of today, without a call to Fenxiang: say what the target
    would get, field by field, or deliver it."""
    if everything == (run is not None):
        cannot_tell("give --run RUN (the records that it has read) or --all (all, as they were read last)")
    [meant] = declared(dags, pipeline)
    try:
        made = _made(meant, run, apply)
    except TransientError as error:
        cannot_tell(f"{error}. The command may be given again: what was delivered is not sent twice")
    except FenxiangSyncError as error:
        cannot_tell(str(error))
    if as_json:
        typer.echo(json.dumps(made.to_json(), ensure_ascii=False, indent=1, default=str))
    else:
        say(lines(meant, made))
    raise typer.Exit(1 if made.differs else 0)


def _made(pipeline: Pipeline, of: str | None, apply: bool) -> Retransformed:
    from fenxiang_sync.airflow.deployment import Deployment
    from fenxiang_sync.steps import Run
    from fenxiang_sync.steps import retransform as steps

    deployment = Deployment()
    try:
        run_id = _run_id(deployment.hub, pipeline, of)
        run = Run(pipeline=pipeline, id=run_id, folder=deployment.stage.run(pipeline.name, run_id))
        if not apply:
            return steps.difference(run, of=of, hub=deployment.hub, stage=deployment.stage)
        return steps.apply(
            run,
            of=of,
            hub=deployment.hub,
            stage=deployment.stage,
            reach=deployment.reach,
            clock=deployment.now,
        )
    finally:
        deployment.close()


def _run_id(hub: Hub, pipeline: Pipeline, of: str | None) -> str:
    """That of the last one if it failed at the same: then it goes on, and the rows that it has claimed are its own."""
    last = next((each for each in hub.runs(pipeline.name, limit=1_000) if each.run.startswith(_COMMAND)), None)
    if last and last.state == "failed" and last.numbers.get("of") == of and last.config_hash == pipeline.config_hash:
        return last.run
    return f"{_COMMAND}{datetime.now(UTC).isoformat(timespec='milliseconds')}"


def lines(pipeline: Pipeline, made: Retransformed) -> Iterator[str]:
    """What came of it, for people."""
    counts = made.tally.counts
    of = "all kept records, as they were read last" if made.of is None else f"the records that {made.of} has read"
    done = "nothing was sent" if made.outcomes is None else f"applied as {made.run}"
    yield f"{made.pipeline}: {counts['read']:,} of {of}; mapped by the declaration of today, {done}"
    for name, says in _SAYS.items():
        if counts[name]:
            yield f"  {counts[name]:>9,}  {name.replace('_', ' '):<10}  {says}"
    yield from _unread(pipeline, made)
    if made.outcomes is not None:
        told = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in made.outcomes.items() if count)
        yield f"  outcome of the records: {told or 'none'}"
    for title, examples in (
        ("does not fit", [f"{source_id}: {reason}" for source_id, reason in made.tally.rejects]),
        ("no longer given", made.tally.orphans),
    ):
        if examples:
            yield f"{title}, for example"
            yield from (f"  {each}" for each in examples)
    if made.tally.differences:
        yield "what the target has → what it gets, for example"
        for difference in made.tally.differences:
            yield from _difference(difference)


_SAYS = {
    "new": "rows that the target does not have",
    "changed": "rows that the target has with other content",
    "unchanged": "rows that the target has",
    "stale": "rows of which the target has a newer version",
    "busy": "rows that another run is sending just now",
    "in_doubt": "rows in doubt: somebody must look first",
    "no_longer": "rows that the target has and the records give no more: for the delete policy",
    "removed": "of these were removed",
    "not_removed": "of these the target would not remove: dead letters",
    "filtered": "records that the conditions leave out",
    "rejected": "records that do not fit: dead letters where it is applied",
    "superseded": "records of which a newer version was read since: left out",
    "gone": "records that are deleted, voided, or no longer what the source asks for: left out",
    "unkept": "records that were not kept, or not in their newest version: left out, read them again",
    "unread": "records that were not asked for every field that is mapped now: left out",
}


def _unread(pipeline: Pipeline, made: Retransformed) -> Iterator[str]:
    if not made.tally.unread and not made.tally.counts["unkept"]:
        return
    for name, count in sorted(made.tally.unread.items()):
        yield f"  field {name!r} was not read then, of {count:,} records"
    yield f"  to read them again: {_command(pipeline, made)}"


def _command(pipeline: Pipeline, made: Retransformed) -> str:
    asked: dict[str, Any] = {"full": True}
    if made.window is not None:
        asked = {"since": made.window.since.isoformat(), "until": made.window.until.isoformat()}
    return f"airflow dags trigger {pipeline.name} --conf '{json.dumps(asked)}'"


def _difference(difference: Difference) -> Iterator[str]:
    yield f"  row {difference.row}{'' if difference.fields else ': all of it'}"
    for path, was, now in difference.fields:
        yield f"    {path}: {shown(was)} → {shown(now)}"

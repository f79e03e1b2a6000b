"""``fenxiang``: what a deployment needs beside the DAG files, made (``setup``) and demanded (``check``); what the hub
knows (`reports`, `tracing`); dead letters (`letters`) and rows in doubt (`doubt`); what is kept, mapped anew
(`retransforming`), or told the CRM (`writing_back`)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fenxiang_sync.airflow import (
    discovery,
    doubt,
    drift,
    fill,
    letters,
    lineage,
    migration,
    preview,
    reports,
    resend,
    retransforming,
    tracing,
    writing_back,
)
from fenxiang_sync.airflow.fitness import Fitness
from fenxiang_sync.airflow.terminal import Json, parsed, printable, say
from fenxiang_sync.errors import FenxiangSyncError
from fenxiang_sync.targets.protocol import Checking

if TYPE_CHECKING:
    from fenxiang_sync.pipeline import Pipeline

app = typer.Typer(
    help="Sync Fenxiang CRM (纷享销客) objects with Airflow: set up and check a deployment.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_NO_DATABASE = (
    "Airflow's own database cannot be used: {said}. Run `airflow db migrate`, or check the setting "
    "[database] sql_alchemy_conn (AIRFLOW__DATABASE__SQL_ALCHEMY_CONN)"
)

Dags = Annotated[
    Path | None, typer.Argument(help="Folder or file of DAG files; by default Airflow's own dags folder.", exists=True)
]


@dataclass(frozen=True, slots=True)
class Needs:
    """What the DAG files in `place` need of the deployment: connections to Fenxiang (`sources`) and others (`targets`);
    `errors` has the traceback of each file that cannot be read."""

    place: str
    pools: set[str] = field(default_factory=set)
    sources: set[str] = field(default_factory=set)
    targets: set[str] = field(default_factory=set)
    pipelines: dict[str, Pipeline] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


@app.callback()
def configure() -> None:
    # Airflow reads these when it is imported, which no command has done yet. It logs to the same terminal, and what it
    # says of a broken DAG file is said here in a line; which line of the file, only a whole traceback tells.
    os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "CRITICAL"
    os.environ["AIRFLOW__CORE__DAGBAG_IMPORT_ERROR_TRACEBACK_DEPTH"] = "100"


@app.command()
def setup(dags: Dags = None) -> None:
    """Make what the DAG files need: the hub's tables, and one pool with one slot per connection and interface."""
    needs = _needs(dags)
    _fail(_hub_problems())
    typer.echo("hub      ready")
    with _airflow_database():
        for pool in sorted(needs.pools):
            typer.echo(f"pool     {pool} {_made(pool)}")
        _fail([*_pool_problems(needs), *_file_problems(needs)])


@app.command()
def check(
    dags: Dags = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Only parse the DAG files: no database, no connection, no call.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what is wrong with the DAG files, the hub, the stage, the pools and the connections; exit code 1 if anything
    is. Declarations are held against the descriptions of their objects: the CRM's, or with --offline those that
    `fenxiang describe OBJECT --save DAGS/describe/OBJECT.json` has kept."""
    needs = _needs(dags)
    problems = list(_file_problems(needs))
    fitness = Fitness(Path(needs.place))
    if not offline:
        with _airflow_database(problems):
            problems += _deployment_problems(needs, fitness)
    for pipeline in needs.pipelines.values():
        fitness.hold(pipeline)
        fitness.relate(pipeline, needs.pipelines)
    problems += fitness.problems
    if as_json:
        found = {"pipelines": sorted(needs.pipelines), "problems": problems, "notes": fitness.notes}
        typer.echo(json.dumps(found, ensure_ascii=False, indent=1))
        raise typer.Exit(1 if problems else 0)
    say(fitness.notes)
    _fail(problems)
    typer.echo(f"{len(needs.pipelines)} pipelines, nothing wrong: {', '.join(sorted(needs.pipelines))}")


app.command()(discovery.objects)
app.command()(discovery.describe)
app.command()(discovery.new)
app.command()(preview.preview)
app.command()(lineage.lineage)
app.command()(drift.drift)
app.command()(fill.backfill_field)
app.command()(migration.import_qeasy)
app.command()(reports.gaps)
app.command()(reports.late)
app.command()(reports.calls)
app.command()(tracing.trace)
app.command()(retransforming.retransform)
app.command()(writing_back.write_back)
for command in (letters.letters, letters.letter, letters.replay, letters.dismiss, doubt.doubt, resend.resend):
    app.command()(command)


def _fail(problems: Iterable[str]) -> None:
    """End with exit code 1 where there is a problem, each on a line of its own."""
    found = list(problems)
    for problem in found:
        typer.echo(printable(problem), err=True)
    if found:
        raise typer.Exit(1)


@contextmanager
def _airflow_database(problems: Iterable[str] = ()) -> Iterator[None]:
    """Where Airflow's database fails, end with a sentence about it, behind the `problems` that are known already."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except SQLAlchemyError as error:
        said = str(getattr(error, "orig", None) or error).strip().splitlines()[0].rstrip(".")
        _fail([*problems, _NO_DATABASE.format(said=said)])


def _needs(dags: Path | None) -> Needs:
    from airflow import settings

    from fenxiang_sync.airflow.operators import PipelineOperator
    from fenxiang_sync.airflow.pools import PREFIX
    from fenxiang_sync.pipeline import Source

    place = str(dags or settings.DAGS_FOLDER)
    bag = parsed(place)
    needs = Needs(place, errors={str(file): str(error) for file, error in bag.import_errors.items()})
    for dag in bag.dags.values():
        needs.pools.update(task.pool for task in dag.tasks if task.pool.startswith(PREFIX))
        pipelines = [task.pipeline for task in dag.tasks if isinstance(task, PipelineOperator)]
        for pipeline in pipelines[:1]:
            if pipeline.name not in needs.pipelines:  # its companion DAGs are no pipelines of their own
                needs.pipelines[pipeline.name] = pipeline
            fenxiang = isinstance(pipeline.source, Source)
            (needs.sources if fenxiang else needs.targets).add(pipeline.source.connection)
            if pipeline.write_back is not None and pipeline.write_back.connection is not None:
                needs.sources.add(pipeline.write_back.connection)
            if not isinstance(pipeline.target, Checking):
                needs.targets.update(pipeline.target.connections)
    return needs


def _file_problems(needs: Needs) -> Iterator[str]:
    for file, error in sorted(needs.errors.items()):
        yield f"{file}{_said(file, error)}"
    if not needs.pipelines and not needs.errors:
        yield (
            f"{needs.place} declares no pipeline; a DAG file assigns sync_dag(Pipeline(…)) to a name "
            "(Airflow skips files without the words dag and airflow)"
        )


def _said(file: str, trace: str) -> str:
    """Where a DAG file went wrong and what the error says, all its lines, of a traceback."""
    lines = trace.strip().splitlines()
    frames = [place for place, line in enumerate(lines) if line.startswith('  File "')]
    own = [lines[place] for place in frames if lines[place].startswith(f'  File "{file}", line ')]
    where = f", line {own[-1].split(', line ')[1].split(',')[0]}" if own else ""
    said = lines[frames[-1] + 1 :] if frames else lines
    while said and said[0].startswith(" "):
        said = said[1:]
    first, *more = said or lines[-1:]
    return "\n".join([f"{where}: {first.removeprefix('fenxiang_sync.errors.')}", *more])


def _deployment_problems(needs: Needs, fitness: Fitness) -> list[str]:
    hub = list(_hub_problems())
    problems = [*hub, *_pool_problems(needs)]
    if not hub:  # where it is, and the settings can be read: without them no connection can be asked
        connections = list(_connection_problems(needs))
        problems += [*_stage_problems(), *connections, *_table_problems(needs)]
        if not connections:
            fitness.ask(needs.pipelines.values())
    return problems


def _hub_problems() -> Iterator[str]:
    from fenxiang_sync.airflow.settings import Settings
    from fenxiang_sync.hub import Hub

    try:
        url = Settings.load().hub_url()
    except FenxiangSyncError as error:
        yield f"settings: {error}"
        return
    try:
        Hub.connect(url).close()
    except FenxiangSyncError as error:
        yield f"hub: {error}"


def _stage_problems() -> Iterator[str]:
    from fenxiang_sync.airflow.settings import Settings
    from fenxiang_sync.stage import Stage

    try:
        Stage(Settings.load().stage_root()).probe()
    except FenxiangSyncError as error:
        yield f"stage: {error}"


def _pool_problems(needs: Needs) -> Iterator[str]:
    for pool in sorted(needs.pools):
        slots = _slots(pool)
        if slots is None:
            yield f"pool {pool} is missing, so its tasks would wait for ever; run: fenxiang setup"
        elif slots != 1:
            yield (
                f"pool {pool} has {slots} slots; its tasks share one quota, so it must have 1. "
                f"Change it under Admin, Pools, or run: airflow pools set {pool} 1 quota"
            )


def _connection_problems(needs: Needs) -> Iterator[str]:
    from fenxiang_sync.airflow.connections import find
    from fenxiang_sync.airflow.hook import FenxiangHook
    from fenxiang_sync.airflow.qeasy import QeasyHook

    for conn_id in sorted(needs.sources | needs.targets):
        connection = find(conn_id)
        if connection is None:
            yield f"connection {conn_id} is missing; add it under Admin, Connections"
            continue
        good, said = True, ""
        if conn_id in needs.sources:
            good, said = FenxiangHook(conn_id).test_connection()
        elif connection.conn_type == QeasyHook.conn_type:  # other targets cannot be asked without writing
            good, said = QeasyHook(conn_id).test_connection()
        if not good:
            yield f"connection {conn_id}: {said}"


def _table_problems(needs: Needs) -> Iterator[str]:
    from fenxiang_sync.airflow.reach import make_reach

    for target in (pipeline.target for pipeline in needs.pipelines.values()):
        if isinstance(target, Checking):
            try:
                target.check(make_reach())
            except FenxiangSyncError as error:
                yield f"target {target.describe()}: {error}"


def _slots(pool: str) -> int | None:
    from airflow.models.pool import Pool

    found = Pool.get_pool(pool)
    return None if found is None else int(found.slots)


def _made(pool: str) -> str:
    """Make the pool unless it is there; returns which it was."""
    from airflow.models.pool import Pool

    if _slots(pool) is not None:
        return "was there"
    Pool.create_or_update_pool(
        pool, slots=1, description="One task at a time owns this quota (fenxiang setup)", include_deferred=False
    )
    return "made, 1 slot"

"""`fenxiang retransform` and the DAG beside each pipeline's: what was read is mapped by the declaration of today."""

from __future__ import annotations

import doctest
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fenxiang_sync import HubTarget
from fenxiang_sync.airflow import sync_dag, terminal
from fenxiang_sync.airflow.params import retransform_params, retransform_wanted
from fenxiang_sync.airflow.retransform import RetransformOperator, retransform_dag
from fenxiang_sync.errors import ParamError
from fenxiang_sync.steps.retransform import KIND
from fenxiang_sync.steps.verify import clean
from tests.airflow_fixtures import ConnectionSetter
from tests.cli_fixtures import fenxiang
from tests.hub_fixtures import hub_file
from tests.source_fixtures import FEW
from tests.steps_fixtures import Bench, bench, manual, pipeline

NAME = "AccountObj"
DAG_FILE = """
from fenxiang_sync import Condition, Constant, Field, HubTarget, Logic, Pipeline, Source
from fenxiang_sync.airflow import sync_dag
account = sync_dag(Pipeline(
    name="account", source=Source(object="AccountObj"), target=HubTarget(),
    fields=[Field("_id"), Field("name"), Field("life_status"), {more}],
))
"""


@pytest.fixture
def crm(
    tmp_path: Path, connection: ConnectionSetter, monkeypatch: pytest.MonkeyPatch, airflow_home: Path
) -> Iterator[Bench]:
    connection("fenxiang_hub", conn_type="sqlite", host=str(hub_file(tmp_path)))
    monkeypatch.setenv("AIRFLOW__FENXIANG__STAGE_URL", f"file://{tmp_path}/stage")
    with bench(tmp_path, **FEW | {NAME: 30}) as made:
        account = pipeline()
        run = made.run(account, "first")
        made.deliver(run, made.plan(run, manual(full=True)))
        made.verify(run)
        clean(run, keep_records=True)
        yield made


def declared(folder: Path, more: str) -> Path:
    file = folder / "account.py"
    file.write_text(DAG_FILE.format(more=more), encoding="utf-8")
    return file


def test_the_examples_in_the_docstrings_are_true() -> None:
    assert doctest.testmod(terminal).failed == 0


def test_the_command_tells_the_difference_and_then_delivers_it(crm: Bench, tmp_path: Path) -> None:
    dags = declared(tmp_path, 'Constant("tenant", "east")')
    said = fenxiang("retransform", "account", "--run", "first", "--dags", dags)
    lines = said.stdout.splitlines()
    assert (said.exit_code, lines[0]) == (
        1, "account: 30 of the records that first has read; mapped by the declaration of today, nothing was sent",
    )  # fmt: skip
    assert lines[1] == "         30  changed     rows that the target has with other content"
    assert lines[2] == "what the target has → what it gets, for example"
    assert lines[4] == '    tenant: null → "east"'
    assert len(lines) == 3 + 2 * 20, "some examples, not all"
    said = fenxiang("retransform", "account", "--all", "--apply", "--json", "--dags", dags)
    assert said.exit_code == 0, said.stderr
    assert json.loads(said.stdout)["outcomes"]["delivered"] == 30
    said = fenxiang("retransform", "account", "--all", "--dags", dags)
    assert (said.exit_code, len(said.stdout.splitlines())) == (0, 2)
    last = crm.hub.last_run("account", [KIND])
    assert last is not None
    assert last.run.startswith("retransform.command__")


def test_a_field_that_was_not_read_is_told_with_the_command_that_reads_it(crm: Bench, tmp_path: Path) -> None:
    dags = declared(tmp_path, 'Field("tel")')
    said = fenxiang("retransform", "account", "--all", "--apply", "--dags", dags)
    assert said.exit_code == 1
    assert "30  unread      records that were not asked for every field that is mapped now: left out" in said.stdout
    assert "  field 'tel' was not read then, of 30 records" in said.stdout
    assert """  to read them again: airflow dags trigger account --conf '{"full": true}'""" in said.stdout
    said = fenxiang("retransform", "account", "--run", "first", "--dags", dags)
    assert """airflow dags trigger account --conf '{"since": "1970-01-01T00:00:00+00:00", "until": """ in said.stdout


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ([], "give --run RUN (the records that it has read) or --all"),
        (["--run", "first", "--all"], "give --run RUN"),
        (["--run", "frist"], "has no run 'frist' whose records are kept; the newest are: first"),
    ],
)
def test_what_it_cannot_do_it_says_in_a_sentence(crm: Bench, tmp_path: Path, asked: list[str], sentence: str) -> None:
    said = fenxiang("retransform", "account", *asked, "--dags", declared(tmp_path, 'Constant("a", 1)'))
    assert (said.exit_code, said.stdout) == (2, "")
    assert sentence in said.stderr


# The DAG


def context(run_id: str, **params: Any) -> dict[str, Any]:
    run = SimpleNamespace(run_id=run_id, run_type="manual", start_date=None)
    return {"dag_run": run, "ti": SimpleNamespace(dag_id=f"account.{KIND}"), "params": params, "outlet_events": {}}


def test_every_pipeline_that_keeps_records_has_the_dag_and_it_has_no_schedule(crm: Bench) -> None:
    made = retransform_dag(pipeline(target=HubTarget()))
    assert made is not None
    assert (made.dag_id, made.schedule, [task.task_id for task in made.tasks]) == ("account.retransform", None, [KIND])
    assert set(made.params) == set(retransform_params()) == {"run", "apply"}
    assert retransform_dag(pipeline(keep_records=False)) is None
    assert sync_dag(pipeline()).dag_id == "account"


def test_its_task_tells_numbers_and_writes_what_differs_to_the_stage(crm: Bench, tmp_path: Path) -> None:
    account = pipeline(fields=[*pipeline().fields[:2]])
    task = RetransformOperator(task_id=KIND, pipeline=account)
    numbers = task.execute(context("manual__1", run="first"))
    assert (numbers["changed"], numbers["outcomes"]) == (30, None)
    told = json.loads((tmp_path / "stage/account/retransform.manual__1/report.json").read_text())
    assert [path for path, _, _ in told["differences"][0]["fields"]] == ["life_status"]
    numbers = task.execute(context("manual__2", apply=True))
    assert numbers["outcomes"]["delivered"] == 30
    assert all("life_status" not in content for content in crm.held(account).values())


def test_params_that_cannot_be_meant_end_the_run_before_anything_is_done() -> None:
    wanted = retransform_wanted(context("manual__1", run="", apply=True))
    assert (wanted.run, wanted.apply) == (None, True)
    for params, sentence in (
        ({"aply": True}, "did you mean apply"),
        ({"run": 7}, "Param run is 7"),
        ({"apply": "yes"}, "Param apply is 'yes'; give true or false"),
    ):
        with pytest.raises(ParamError, match=sentence):
            retransform_wanted(context("manual__1", **params))

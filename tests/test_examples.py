"""Each recipe of the scenario pack, played end to end over HTTP: what its fixture says comes out, exactly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.example_fixtures import (
    EXAMPLES,
    ROOT,
    World,
    files_of,
    fixture,
    names,
    needs_database,
    pipelines_of,
    world,
)
from tests.sql_fixtures import MARIADB, PSYCOPG2, place

PLAIN = [name for name in names() if not needs_database(name)]
OF_DATABASES = [name for name in names() if needs_database(name)]


def assert_played(played: World) -> None:
    for number, step in enumerate(played.told["steps"], start=1):
        said = f"step {number}: {step['says']}"
        played.people(step.get("people", ()))
        for run in step["runs"]:
            assert played.run(run) == run["numbers"], f"{said}: {run['pipeline']} {run.get('how', 'sync')}"
        assert played.letters() == step["letters"], said
        assert played.rows() == step["rows"], said
        assert played.again(step) == {}, f"{said}: everything was read again, and something was sent"
        assert played.rows() == step["rows"], f"{said}: reading everything again changed a target"


@pytest.mark.parametrize("name", PLAIN)
def test_an_example_does_what_its_fixture_says(name: str, tmp_path: Path) -> None:
    with world(name, tmp_path) as played:
        assert_played(played)


@pytest.mark.parametrize("kind", ["sqlite", PSYCOPG2, MARIADB])
@pytest.mark.parametrize("name", OF_DATABASES)
def test_an_example_with_a_database_does_what_its_fixture_says(name: str, kind: str, tmp_path: Path) -> None:
    with place(kind, tmp_path) as database, world(name, tmp_path, database) as played:
        assert_played(played)


def test_every_example_has_a_fixture_and_every_fixture_runs_all_of_its_pipelines() -> None:
    played = {path for name in names() for path in files_of(fixture(name))}
    assert {*EXAMPLES.glob("*.py")} <= played
    for name in names():
        told = fixture(name)
        runs = {run["pipeline"] for step in told["steps"] for run in step["runs"]}
        assert runs == {each.name for path in files_of(told) for each in pipelines_of(path)}, name


def test_every_scenario_is_there() -> None:
    assert {each for name in names() for each in fixture(name)["scenarios"]} == {f"S{n}" for n in range(1, 13)}


def test_every_fixture_delivers_something_first_and_goes_on_after_people_changed_it() -> None:
    for name in names():
        told = fixture(name)
        assert any(run["numbers"].get("delivered") for step in told["steps"] for run in step["runs"]), name
        assert [step for step in told["steps"] if step.get("people")], name


def test_the_names_of_examples_are_those_of_their_files() -> None:
    assert all((EXAMPLES / f"{name}.py").exists() or (ROOT / "dags" / f"{name}.py").exists() for name in names())

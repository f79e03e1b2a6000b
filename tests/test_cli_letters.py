"""`fenxiang letters`, `letter`, `replay`, `dismiss` and `doubt`: told to people and to programs, and done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fenxiang_simulator.target_knobs import Fault
from fenxiang_sync import Field, Pipeline, WriteApi
from fenxiang_sync.hub import DeadLetter
from tests.airflow_fixtures import ConnectionSetter
from tests.cli_fixtures import Said, fenxiang, quiet_settings  # noqa: F401 - a fixture
from tests.hub_fixtures import hub_file
from tests.steps_fixtures import Bench, bench, pipeline

pytestmark = pytest.mark.usefixtures("quiet_settings")

NAME = "AccountObj"
RECORDS = 3
DAG_FILE = """
from fenxiang_sync import DeadLetters, Field, HubTarget, Pipeline, Source, WriteApi
from fenxiang_sync.airflow import sync_dag

account = sync_dag(Pipeline(
    name="account", source=Source(object="AccountObj"), fields=[Field("_id", "id"), Field("name")],
    target=WriteApi(upserts=False, tries=1), dead_letters=DeadLetters(keep=None),
))
other = sync_dag(Pipeline(
    name="other", source=Source(object="AccountObj"), fields=[Field("_id")], target=HubTarget(), timezone="UTC",
))
"""


@pytest.fixture
def dags(tmp_path: Path) -> Path:
    folder = tmp_path / "dags"
    folder.mkdir()
    (folder / "two.py").write_text(DAG_FILE, encoding="utf-8")
    return folder


@pytest.fixture
def crm(
    connection: ConnectionSetter, airflow_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    with bench(tmp_path, **{NAME: RECORDS}) as crm:
        connection("fenxiang_hub", conn_type="sqlite", host=str(hub_file(tmp_path)))
        connection("write_api", conn_type="http", host=crm.simulator.url)
        monkeypatch.setenv("AIRFLOW__FENXIANG__STAGE_URL", f"file://{tmp_path}/stage")
        yield crm


def declared() -> Pipeline:
    return pipeline(fields=[Field("_id", "id"), Field("name")], target=WriteApi(upserts=False, tries=1))


def refuse(crm: Bench) -> list[str]:
    """The target has refused every row, and would take it now; the ids of the records."""
    crm.simulator.targets.knobs.write_required = ["nothing"]
    crm.sync(declared(), run_id="manual__1")
    crm.simulator.targets.knobs.write_required = []
    return sorted(crm.simulator.tenant.records(NAME))


def documents(said: Said) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(said.stdout)
    return found


class TestLetters:
    def test_without_any_it_says_so_of_each_pipeline(self, crm: Bench, dags: Path) -> None:
        said = fenxiang("letters", "--dags", dags)
        assert (said.exit_code, said.stdout.splitlines()) == (
            0,
            ["account: 0 open dead letters", "other: 0 open dead letters"],
        )

    def test_each_letter_is_a_line_with_its_reason(self, crm: Bench, dags: Path) -> None:
        ids = refuse(crm)
        said = fenxiang("letters", "account", "--limit", 2, "--dags", dags)
        assert said.exit_code == 1
        lines = said.stdout.splitlines()
        assert lines[0] == "account: 3 open dead letters (Asia/Shanghai)"
        assert [line.split()[1] in ids for line in lines[1:3]] == [True, True]
        assert all("load" in line and "1 try" in line and "Refused 400: " in line for line in lines[1:3])
        assert lines[3] == "  … and 1 more (--limit)"
        assert lines[5].startswith("  all open ones again: fenxiang replay account --all")

    def test_they_are_found_by_run_stage_error_and_record(self, crm: Bench, dags: Path) -> None:
        ids = refuse(crm)
        for words, number in (
            (("--run", "manual__1"), 3),
            (("--run", "manual__2"), 0),
            (("--stage", "transform"), 0),
            (("--error", "Refused", "--record", ids[0], "--record", ids[1]), 2),
        ):
            said = fenxiang("letters", "account", "--json", "--dags", dags, *words)
            assert (len(documents(said)), said.exit_code) == (number, 1 if number else 0)

    def test_a_stage_that_is_none_is_told(self, crm: Bench, dags: Path) -> None:
        said = fenxiang("letters", "account", "--stage", "extract", "--dags", dags)
        assert said.exit_code == 2
        assert "--stage extract is none; a record fails in transform" in said.stderr

    def test_one_letter_whole_has_its_tries_the_row_and_the_record(self, crm: Bench, dags: Path) -> None:
        ids = refuse(crm)
        number = documents(fenxiang("letters", "account", "--record", ids[0], "--json", "--dags", dags))[0]["id"]
        crm.simulator.targets.knobs.write_required = ["nothing"]
        assert fenxiang("replay", "account", "--record", ids[0], "--dags", dags).exit_code == 1
        said = fenxiang("letter", number)
        assert said.exit_code == 0
        assert f"dead letter {number} of account: open; 2 tries" in said.stdout
        assert "by manual__1, load: Refused" in said.stdout
        assert f'row      {{"id":"{ids[0]}"' in said.stdout
        assert "last_modified_time" in said.stdout
        assert f"fenxiang replay account --record {ids[0]}" in said.stdout
        whole = json.loads(fenxiang("letter", number, "--json").stdout)
        assert whole["record"]["_id"] == whole["row"]["id"] == ids[0]
        assert [each["run"] for each in whole["history"]] == ["manual__1"]

    def test_a_letter_without_its_record_says_how_to_read_it_again(self, crm: Bench) -> None:
        lost = DeadLetter(
            pipeline="account", run="r", stage="load", error="Refused", reason="no", record_id="A", modified_ms=1_000,
        )  # fmt: skip
        crm.hub.bury([lost], now=crm.now())
        said = fenxiang("letter", 1)
        assert "not kept" in said.stdout
        assert (
            "airflow dags trigger account --conf "
            '\'{"since": "1970-01-01T00:00:01.000+00:00", "until": "1970-01-01T00:00:01.001+00:00"}\''
        ) in said.stdout

    def test_a_number_that_no_letter_has_is_told(self, crm: Bench) -> None:
        said = fenxiang("letter", 99)
        assert (said.exit_code, said.stderr) == (
            2,
            "there is no dead letter 99; fenxiang letters shows those that are open\n",
        )


class TestReplay:
    def test_it_delivers_and_the_hub_knows_the_run(self, crm: Bench, dags: Path) -> None:
        refuse(crm)
        said = fenxiang("replay", "account", "--all", "--dags", dags)
        assert (said.exit_code, said.stdout) == (0, "account: 3 dead letters; 3 delivered\n")
        assert len(crm.simulator.targets.write.rows) == RECORDS
        [run] = crm.hub.runs("account")
        assert (run.kind, run.state, run.numbers["delivered"]) == ("replay", "success", RECORDS)
        assert run.run.startswith("replay.cli__")

    def test_a_dry_run_delivers_nothing(self, crm: Bench, dags: Path) -> None:
        refuse(crm)
        said = fenxiang("replay", "account", "--all", "--dry-run", "--dags", dags)
        assert (said.exit_code, said.stdout) == (0, "account: 3 dead letters; would be: 3 delivered\n")
        assert crm.simulator.targets.write.rows == []

    def test_what_failed_again_is_told_with_where_to_look(self, crm: Bench, dags: Path) -> None:
        refuse(crm)
        crm.simulator.targets.knobs.write_required = ["nothing"]
        said = fenxiang("replay", "account", "--stage", "load", "--dags", dags)
        assert said.exit_code == 1
        first, second = said.stdout.splitlines()
        assert first == "account: 3 dead letters; 3 failed again"
        run = second.split("'")[1]
        assert len(documents(fenxiang("letters", "account", "--run", run, "--json", "--dags", dags))) == RECORDS

    @pytest.mark.parametrize("words", [(), ("--all", "--record", "A")])
    def test_nothing_is_done_to_letters_that_nobody_named(self, crm: Bench, dags: Path, words: tuple[str, ...]) -> None:
        said = fenxiang("replay", "account", "--dags", dags, *words)
        assert said.exit_code == 2
        assert said.stderr == "say which letters: --all, or some by --record, --run, --stage, --error\n"

    def test_a_target_that_cannot_be_reached_ends_it_with_a_sentence(
        self, crm: Bench, dags: Path, connection: ConnectionSetter
    ) -> None:
        refuse(crm)
        connection("write_api", conn_type="http", host="")
        said = fenxiang("replay", "account", "--all", "--dags", dags)
        assert said.exit_code == 2
        assert said.stderr.startswith("SetupError: Connection 'write_api' has no host")
        [run] = crm.hub.runs("account")
        assert (run.state, run.numbers["error"]) == ("failed", "SetupError")

    def test_as_json_it_tells_every_number(self, crm: Bench, dags: Path) -> None:
        refuse(crm)
        numbers = json.loads(fenxiang("replay", "account", "--all", "--json", "--dags", dags).stdout)
        assert (numbers["pipeline"], numbers["letters"], numbers["delivered"]) == ("account", 3, 3)
        assert (numbers["open_letters"], numbers["rows_in_doubt"]) == (0, 0)


class TestDismiss:
    def test_a_letter_that_was_put_aside_says_by_whom_and_why(self, crm: Bench, dags: Path) -> None:
        ids = refuse(crm)
        said = fenxiang("dismiss", "account", "--record", ids[0], "--reason", "a test account", "--dags", dags)
        assert said.exit_code == 0
        assert said.stdout.startswith("account: 1 dead letter put aside by ")
        closed = documents(fenxiang("letters", "account", "--closed", "--json", "--dags", dags))
        assert {(each["record_id"], each["closed_as"], each["note"]) for each in closed if not each["open"]} == {
            (ids[0], "dismissed", "a test account")
        }
        again = fenxiang("dismiss", "account", "--record", ids[0], "--reason", "again", "--dags", dags)
        assert (again.exit_code, "none of the open dead letters is meant" in again.stdout) == (1, True)


class TestDoubt:
    @pytest.fixture
    def doubtful(self, crm: Bench) -> list[str]:
        """The ids of two rows that the target took, and whose answers were lost."""
        crm.simulator.targets.knobs.write_appends = True
        crm.simulator.targets.faults.inject(Fault.DROP_AFTER_COMMIT, Fault.DROP_AFTER_COMMIT, on="write")
        crm.sync(declared(), run_id="manual__1")
        return sorted(each.id for each in crm.hub.doubts.find("account", now=crm.now()))

    def test_it_shows_what_was_sent_when_and_what_to_do(self, crm: Bench, dags: Path, doubtful: list[str]) -> None:
        said = fenxiang("doubt", "account", "--dags", dags)
        assert said.exit_code == 1
        lines = said.stdout.splitlines()
        assert lines[0] == "account: 2 rows in doubt (Asia/Shanghai)"
        assert "by manual__1/1: " in lines[1]
        assert json.loads(lines[2])["id"] == doubtful[0]
        assert f"fenxiang doubt account --accept --record {doubtful[0]}" in lines[-2]
        told = documents(fenxiang("doubt", "--json", "--dags", dags))
        assert [(each["pipeline"], each["id"]) for each in told] == [("account", each) for each in doubtful]

    def test_they_are_accepted_and_sent_again_as_a_person_says(
        self, crm: Bench, dags: Path, doubtful: list[str]
    ) -> None:
        said = fenxiang("doubt", "account", "--accept", "--record", doubtful[0], "--dags", dags)
        assert (said.exit_code, said.stdout) == (0, "account: 1 row in doubt; 1 accepted\n")
        said = fenxiang("doubt", "account", "--resend", "--all", "--dags", dags)
        assert (said.exit_code, said.stdout) == (0, "account: 1 row in doubt; 1 sent again\n")
        assert [row["id"] for row in crm.simulator.targets.write.rows].count(doubtful[1]) == 2
        assert fenxiang("doubt", "account", "--dags", dags).exit_code == 0

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (("account", "--resend", "--accept", "--all"), "give one"),
            (("account", "--resend"), "say which rows: the pipeline, and --all or some by --record"),
            (("--accept", "--all"), "say which rows"),
        ],
    )
    def test_nothing_is_done_to_rows_that_nobody_named(
        self, crm: Bench, dags: Path, words: tuple[str, ...], says: str
    ) -> None:
        said = fenxiang("doubt", "--dags", dags, *words)
        assert said.exit_code == 2
        assert says in said.stderr

    def test_an_id_that_is_not_in_doubt_is_told(self, crm: Bench, dags: Path) -> None:
        said = fenxiang("doubt", "account", "--accept", "--record", "nobody", "--dags", dags)
        assert (said.exit_code, "none of the rows in doubt is meant" in said.stdout) == (1, True)

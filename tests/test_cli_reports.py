"""`fenxiang gaps`, `late` and `calls`: what the hub knows, told to people and to programs."""

from __future__ import annotations

import doctest
import json
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fenxiang_sync.airflow import reports, terminal
from fenxiang_sync.airflow.params import asked
from fenxiang_sync.coverage import Coverage
from fenxiang_sync.hub import Certificate, DayCalls, Hub
from fenxiang_sync.hub.late import LateArrival
from fenxiang_sync.source.metering import _SHANGHAI
from fenxiang_sync.window import Window, to_ms
from tests.airflow_fixtures import ConnectionSetter
from tests.cli_fixtures import fenxiang, quiet_settings  # noqa: F401 - a fixture
from tests.hub_fixtures import hub_file
from tests.steps_fixtures import Bench, at, bench, pipeline, scheduled

pytestmark = pytest.mark.usefixtures("quiet_settings")

DAG_FILE = """
from datetime import UTC, datetime, timedelta
from fenxiang_sync import Field, HubTarget, Lookback, Pipeline, Source
from fenxiang_sync.airflow import sync_dag
for name in ("account", "contact"):
    sync_dag(Pipeline(
        name=name, source=Source(object="AccountObj"), fields=[Field("_id")], target=HubTarget(),
        start=datetime(2026, 10, 1, tzinfo=UTC), reach_back=timedelta(days=3),
        lookbacks=[Lookback(schedule="@daily", over=timedelta(days=1))],
    ))
"""


@pytest.fixture
def dags(tmp_path: Path) -> Path:
    folder = tmp_path / "dags"
    folder.mkdir()
    (folder / "two.py").write_text(DAG_FILE, encoding="utf-8")
    return folder


@pytest.fixture
def hub(connection: ConnectionSetter, tmp_path: Path, airflow_home: Path) -> Iterator[Hub]:
    connection("fenxiang_hub", conn_type="sqlite", host=str(hub_file(tmp_path)))
    with Hub.connect(f"sqlite:///{hub_file(tmp_path)}") as hub:
        yield hub


def certify(hub: Hub, since: datetime, until: datetime, name: str = "account") -> None:
    hub.certify(Certificate(pipeline=name, run=f"{since}", window=Window.between(since, until)), now=until)


def test_the_examples_in_the_docstrings_are_true() -> None:
    assert doctest.testmod(reports).failed == doctest.testmod(terminal).failed == 0


class TestGaps:
    def test_without_one_it_says_up_to_when_everything_is_certified(self, hub: Hub, dags: Path) -> None:
        certify(hub, at(1), at(2))
        certify(hub, at(2), at(3))
        said = fenxiang("gaps", "account", "--dags", dags)
        assert said.exit_code == 0
        lines = said.stdout.splitlines()
        assert lines[0] == "account: 0 gaps; certified up to 2026-10-03 08:00 (Asia/Shanghai)"
        assert lines[1] == "  certified  2026-10-01 08:00 → 2026-10-03 08:00"
        assert lines[-1] == "  after it   airflow dags trigger account"

    def test_each_gap_comes_with_the_command_that_closes_it(self, hub: Hub, dags: Path) -> None:
        certify(hub, at(2), at(3))
        certify(hub, at(9), at(10))
        said = fenxiang("gaps", "account", "--dags", dags)
        assert said.exit_code == 1
        assert "gap        2026-10-01 08:00 → 2026-10-02 08:00  (older than reach_back:)" in said.stdout
        assert "gap        2026-10-03 08:00 → 2026-10-09 08:00  (the next run closes it; at once:)" in said.stdout
        commands = [shlex.split(line) for line in said.stdout.splitlines() if "--conf" in line]
        assert [command[:4] for command in commands] == [["airflow", "dags", "trigger", "account"]] * 2
        assert json.loads(commands[1][5]) == {
            "since": "2026-10-03T00:00:00.000+00:00",
            "until": "2026-10-09T00:00:00.000+00:00",
        }

    def test_as_json_it_tells_all_pipelines(self, hub: Hub, dags: Path) -> None:
        certify(hub, at(2), at(3))
        said = fenxiang("gaps", "--json", "--dags", dags)
        assert said.exit_code == 1
        account, contact = json.loads(said.stdout)
        assert (account["pipeline"], contact["pipeline"]) == ("account", "contact")
        assert [gap["next_run_closes_it"] for gap in account["gaps"]] == [True]
        assert contact["gaps"] == [], "nothing is certified yet: there is nothing to have a gap in"
        assert shlex.split(contact["command"])[-1] == '{"full": true}'

    def test_what_it_cannot_tell_is_another_exit_code(self, hub: Hub, dags: Path, connection: ConnectionSetter) -> None:
        said = fenxiang("gaps", "acount", "--dags", dags)
        assert (said.exit_code, said.stdout) == (2, "")
        assert "no DAG file declares a pipeline 'acount'; there are: account, contact" in said.stderr
        connection("fenxiang_hub", conn_type="sqlite", host="/nowhere/hub.db")
        said = fenxiang("gaps", "--dags", dags)
        assert (said.exit_code, said.stdout) == (2, "")
        assert "hub: " in said.stderr


class TestHealing:
    """Whatever made a gap, the command that is shown closes it."""

    @pytest.fixture
    def crm(self, tmp_path: Path) -> Iterator[Bench]:
        with bench(tmp_path, AccountObj=60) as made:
            yield made

    def close_all(self, crm: Bench, **words: object) -> list[Window]:
        """Run what each command says; the windows that were read for it."""
        account = pipeline(**words)
        coverage = Coverage.of(account, crm.hub.certified("account"))
        for gap in coverage.gaps:
            conf = json.loads(shlex.split(coverage.command(gap))[-1])
            run = type("Run", (), {"run_type": "manual", "run_after": crm.now()})
            report = crm.sync(account, asked({"dag_run": run, "params": conf}))
            assert report.certified == [gap]
        assert Coverage.of(account, crm.hub.certified("account")).gaps == []
        return coverage.gaps

    def test_a_pause_that_a_later_backfill_hid(self, crm: Bench) -> None:
        crm.sync(pipeline(), scheduled(at(1), at(2)))
        crm.sync(pipeline(), scheduled(at(5), at(6)))
        certified = crm.hub.certified("account")
        assert len(certified) == 1, "a scheduled run reaches back by itself"
        crm.sync(pipeline(reach_back=timedelta(0)), scheduled(at(9), at(10)))
        assert self.close_all(crm) == [Window.between(at(6), at(9))]

    def test_a_run_that_failed_and_was_cleared_out_of_its_order(self, crm: Bench) -> None:
        account = pipeline(start=at(1), reach_back=timedelta(0))
        crm.sync(account, scheduled(at(1), at(2)))
        failed = crm.run(account, "failed")
        crm.plan(failed, scheduled(at(2), at(3)))
        crm.sync(account, scheduled(at(3), at(4)))
        assert Coverage.of(account, crm.hub.certified("account")).gaps == [Window.between(at(2), at(3))]
        crm.sync(account, scheduled(at(2), at(3)), run_id="failed")
        assert self.close_all(crm, start=at(1)) == []
        assert crm.hub.certified("account") == [Window.between(at(1), at(4))]

    def test_a_schedule_that_was_changed_to_other_ticks(self, crm: Bench) -> None:
        account = pipeline(reach_back=timedelta(0))
        crm.sync(account, scheduled(at(1), at(1, 7)))
        crm.sync(account, scheduled(at(1, 9), at(1, 13)))
        crm.sync(account, scheduled(at(1, 12), at(2)))
        assert self.close_all(crm) == [Window.between(at(1, 7), at(1, 9))]

    def test_a_start_that_was_moved_back(self, crm: Bench) -> None:
        crm.sync(pipeline(start=at(5)), scheduled(at(5), at(6)))
        assert self.close_all(crm, start=at(2)) == [Window.between(at(2), at(5))]

    def test_a_gap_of_a_millisecond(self, crm: Bench) -> None:
        account, ms = pipeline(reach_back=timedelta(0)), timedelta(milliseconds=1)
        crm.sync(account, scheduled(at(1), at(2)))
        crm.sync(account, scheduled(at(2) + ms, at(3)))
        assert self.close_all(crm) == [Window.between(at(2), at(2) + ms)]


class TestLate:
    def note(self, hub: Hub, *minutes: tuple[int, int], found_by: str = "run") -> None:
        arrivals = [
            LateArrival(record_id=f"r{most}", modified_ms=to_ms(at(1)), least_ms=least * 60_000, most_ms=most * 60_000)
            for least, most in minutes
        ]
        hub.note_late("account", arrivals, found_by=found_by, run="run-1", now=at(2))

    def test_it_says_which_lookback_would_have_caught_all_of_them(self, hub: Hub, dags: Path) -> None:
        self.note(hub, (3, 3), (8, 8))
        self.note(hub, (31, 47), found_by="lookback")
        said = fenxiang("late", "account", "--dags", dags)
        assert said.exit_code == 0
        assert said.stdout.startswith("account: 3 late arrivals, the last found 2026-10-02 08:00 (Asia/Shanghai)")
        rows = [re.split(r" *\| *", line.strip()) for line in said.stdout.splitlines() if "|" in line][1:]
        assert [row[:3] for row in rows] == [
            ["5 min", "1 of 3", "run 1"],
            ["10 min", "2 of 3", "run 1"],
            ["1 h", "3 of 3", "lookback 1"],
        ]
        assert rows[2][3] == "r47 of 2026-10-01 08:00, found by run-1: 31 min to 47 min"
        advice = said.stdout.splitlines()[-1]
        assert "Source(lookback=timedelta(minutes=47)) would have caught all of them for certain" in advice
        assert "less than 31 min would not" in advice

    def test_where_the_present_lookback_is_enough_it_says_so(self, hub: Hub, dags: Path) -> None:
        self.note(hub, (3, 3))
        said = fenxiang("late", "--dags", dags).stdout
        assert "The lookback of 10 min catches all of them" in said
        assert "contact: no late arrival so far; lookback 10 min" in said

    def test_as_json_and_from_zero_again(self, hub: Hub, dags: Path) -> None:
        self.note(hub, (31, 47))
        [account] = json.loads(fenxiang("late", "account", "--json", "--dags", dags).stdout)
        assert (account["arrivals"], account["least_s"], account["enough_s"]) == (1, 31 * 60, 47 * 60)
        assert account["bins"][0]["record_id"] == "r47"
        assert "1 late arrivals forgotten" in fenxiang("late", "account", "--forget", "--dags", dags).stdout
        assert hub.late("account") == []


class TestCalls:
    @pytest.fixture
    def today(self) -> str:
        return datetime.now(_SHANGHAI).date().isoformat()

    def add(self, hub: Hub, day: str, calls: int, connection: str = "fenxiang") -> None:
        made = DayCalls(app="host/app", day=day, connection=connection, calls=calls)
        hub.add_calls(made, now=datetime.now(UTC))

    def test_it_counts_all_connections_of_an_app_against_the_quota(
        self, hub: Hub, connection: ConnectionSetter, today: str
    ) -> None:
        connection("fenxiang", conn_type="fenxiang", extra={"day_quota": 1_000})
        self.add(hub, today, 500)
        self.add(hub, "2020-01-01", 7)
        said = fenxiang("calls")
        assert said.exit_code == 0
        assert said.stdout == f"{today}  fenxiang  500 calls  (50 % of 1,000; host/app)\n"
        self.add(hub, today, 300, "second")
        said = fenxiang("calls", "--json")
        assert said.exit_code == 1, "80 % are used"
        assert [each["calls"] for each in json.loads(said.stdout)] == [500, 300]

    def test_without_a_known_quota_it_only_counts(self, hub: Hub, today: str) -> None:
        assert fenxiang("calls").stdout == "no call was counted in 7 days\n"
        self.add(hub, today, 5, "nobody")
        said = fenxiang("calls", "--days", "1")
        assert said.exit_code == 0
        assert "5 calls  (day_quota of the connection is not set; host/app)" in said.stdout

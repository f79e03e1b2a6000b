"""漏单补救: a lookback reads the last hours or days again, delivers what came late, and moves nobody's window."""

from __future__ import annotations

import doctest
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG

from fenxiang_simulator import Simulator
from fenxiang_sync import Field, HubTarget, Lookback, Pipeline, Source, WriteApi, lookback
from fenxiang_sync.airflow.priority import RunPriority
from fenxiang_sync.airflow.settings import Settings
from fenxiang_sync.errors import DeclarationError, SetupError
from fenxiang_sync.hub import Hub
from fenxiang_sync.steps import Asked, Kind
from fenxiang_sync.window import Window, to_ms
from tests.steps_fixtures import Bench, bench, manual, pipeline

TWO_DAYS = Lookback(schedule="0 */2 * * *", over=timedelta(days=2))
DAG_FILE = """
from datetime import timedelta
from fenxiang_sync import Field, HubTarget, Lookback, Pipeline, Source
from fenxiang_sync.airflow import sync_dag
dag = sync_dag(Pipeline(
    name="account", source=Source(object="AccountObj"), fields=[Field("_id")], target=HubTarget(), tags=["crm"],
    lookbacks=[Lookback(schedule="0 */2 * * *", over=timedelta(days=2)),
               Lookback(schedule="30 3 * * *", over=timedelta(hours=36))],
), default_args={"retries": 1})
"""


def refused(*lookbacks: Any) -> str:
    with pytest.raises(DeclarationError) as caught:
        pipeline(lookbacks=lookbacks)
    return str(caught.value)


class TestDeclared:
    def test_the_examples_in_the_docstrings_are_true(self) -> None:
        assert doctest.testmod(lookback).failed == 0

    def test_two_that_reach_equally_far_are_refused(self) -> None:
        said = refused(TWO_DAYS, Lookback(schedule="5 5 * * *", over=timedelta(hours=48)))
        assert "pipeline 'account'" in said
        assert "'lookback-2d'" in said
        assert "another over" in said

    @pytest.mark.parametrize(
        ("given", "says"),
        [
            ({"schedule": "every day", "over": timedelta(days=1)}, "'every day' is no cron expression"),
            ({"schedule": None, "over": timedelta(days=1)}, "schedule=None: give a cron expression"),
            ({"schedule": "@daily", "over": 2}, "over=2: give a timedelta"),
            ({"schedule": "@daily", "over": timedelta(0)}, "over=datetime.timedelta(0): give a second or more"),
            ({"schedule": "@daily", "over": timedelta(milliseconds=1500)}, "no part of one"),
            ({"schedule": "@daily", "over": timedelta(days=-1)}, "is negative"),
        ],
    )
    def test_what_cannot_be_meant_is_said_with_a_way_out(self, given: dict[str, Any], says: str) -> None:
        assert says in refused(Lookback(**given))

    def test_what_is_none_at_all_is_named(self) -> None:
        assert "'0 * * * *' is no Lookback" in refused("0 * * * *")
        with pytest.raises(DeclarationError, match="did you mean 'over'"):
            Lookback(schedule="@daily", ower=timedelta(days=1))  # type: ignore[call-arg]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, DAG]:
    """What Airflow finds in a DAG file that assigns only the DAG of the pipeline to a name."""
    folder = tmp_path_factory.mktemp("dags")
    (folder / "account.py").write_text(DAG_FILE, encoding="utf-8")
    bag = DagBag(str(folder))
    assert bag.import_errors == {}
    return dict(bag.dags)


class TestItsDag:
    def test_airflow_finds_it_in_the_file_of_the_pipeline(self, found: dict[str, DAG]) -> None:
        assert set(found) == {
            "account", "account.lookback-2d", "account.lookback-36h", "account.reconcile", "account.replay",
            "account.retransform",
        }  # fmt: skip

    def test_it_has_the_same_graph_a_schedule_of_its_own_and_no_params_of_a_window(self, found: dict[str, DAG]) -> None:
        dag = found["account.lookback-2d"]
        assert [task.task_id for task in dag.topological_sort()] == [
            task.task_id for task in found["account"].topological_sort()
        ]
        assert dag.timetable.summary == "0 */2 * * *"
        assert "Asia/Shanghai" in str(dag.timetable.serialize())
        assert (dag.catchup, dag.max_active_runs) == (False, 1)
        assert set(dag.params) == {"dry_run"}
        assert dag.tags >= {"fenxiang", "AccountObj", "crm", "lookback"}
        assert dag.get_task("plan").retries == 1
        assert "fenxiang late account" in (dag.doc_md or "")
        assert "account.lookback-36h" in (found["account"].doc_md or "")

    def test_its_runs_go_behind_manual_runs_and_before_backfills(self, found: dict[str, DAG]) -> None:
        def weight(dag_id: str, run_id: str) -> int:
            task = found[dag_id].get_task("segment.extract")
            return RunPriority().get_weight(SimpleNamespace(run_id=run_id, task=task, map_index=-1))

        mine = weight("account.lookback-2d", "scheduled__2026-01-01")
        assert weight("account", "manual__2026") > mine > weight("account", "backfill__2026")

    def test_its_run_ids_differ_from_those_of_the_pipeline_in_hub_and_stage(
        self, found: dict[str, DAG], fenxiang: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("AIRFLOW__FENXIANG__STAGE_URL", f"file://{tmp_path}/stage")
        now = datetime.now(UTC)
        for dag_id in ("account", "account.lookback-2d"):
            run = SimpleNamespace(
                dag_id=dag_id, run_id="scheduled__1", run_type="scheduled", run_after=now, start_date=now
            )
            here = {
                "ti": SimpleNamespace(dag_id=dag_id),
                "dag_run": run,
                "params": {},
                "data_interval_start": now - timedelta(hours=1),
                "data_interval_end": now - timedelta(minutes=1),
            }
            found[dag_id].get_task("plan").execute(here)
        assert sorted(path.name for path in (tmp_path / "stage" / "account").iterdir()) == [
            "lookback-2d.scheduled__1",
            "scheduled__1",
        ]
        with Hub.connect(Settings.load().hub_url()) as hub:
            runs = {each.run: each for each in hub.runs("account")}
        assert {name: each.kind for name, each in runs.items()} == {
            "lookback-2d.scheduled__1": "lookback",
            "scheduled__1": "scheduled",
        }
        assert self.failed_kind(found["account.lookback-2d"], monkeypatch) == "lookback"
        window = runs["lookback-2d.scheduled__1"].window
        assert window is not None
        assert window.length_ms == 2 * 86_400_000

    def failed_kind(self, dag: DAG, monkeypatch: pytest.MonkeyPatch) -> str:
        """How a run is noted down that ends before it has a plan."""
        now = datetime.now(UTC)
        run = SimpleNamespace(dag_id=dag.dag_id, run_id="manual__2", run_type="manual", run_after=now, start_date=now)
        ti = SimpleNamespace(dag_id=dag.dag_id, xcom_push=lambda **_: None)
        monkeypatch.delenv("AIRFLOW_CONN_FENXIANG")
        with pytest.raises(SetupError):
            dag.get_task("plan").execute({"ti": ti, "dag_run": run, "params": {}})
        with Hub.connect(Settings.load().hub_url()) as hub:
            [kind] = [each.kind for each in hub.runs("account") if each.state == "failed"]
        return kind

    @pytest.fixture
    def simulator(self) -> Iterator[Simulator]:
        with Simulator(seed=7, records={"AccountObj": 5}) as running:
            yield running


def looks_back(over: timedelta = timedelta(days=2), **asked: Any) -> Asked:
    return Asked(kind=Kind.LOOKBACK, over=over, **asked)


def certified_until(crm: Bench, moment: datetime) -> None:
    """Everything up to a moment is certified."""
    crm.sync(pipeline(), manual(since=datetime(2020, 1, 1, tzinfo=UTC), until=moment))


def create(crm: Bench, *moments: datetime) -> str:
    """Records with these stamps; the id of the last."""
    return [crm.simulator.tenant.create("AccountObj", {"name": str(at)}, modified_ms=to_ms(at)) for at in moments][-1]


class TestItsRun:
    @pytest.fixture
    def crm(self, tmp_path: Path) -> Iterator[Bench]:
        with bench(tmp_path, AccountObj=30) as made:
            yield made

    @pytest.fixture
    def now(self, crm: Bench) -> datetime:
        return crm.now()

    def test_it_delivers_what_came_after_its_span_was_certified_and_only_that(self, crm: Bench, now: datetime) -> None:
        certified_until(crm, now - timedelta(minutes=5))
        late = create(crm, now - timedelta(hours=30))
        older = create(crm, now - timedelta(hours=50))
        report = crm.sync(pipeline(), looks_back())
        assert report.delivered == 1
        held = crm.held(pipeline())
        assert late in held
        assert older not in held
        again = crm.sync(pipeline(), looks_back())
        assert (again.read, again.delivered, again.unchanged) == (report.read, 0, report.read)

    def test_where_nothing_changed_the_target_is_not_called(self, crm: Bench, now: datetime) -> None:
        create(crm, now - timedelta(hours=3), now - timedelta(hours=30))
        sending = pipeline(target=WriteApi(upserts=True), fields=[Field("_id", "id"), Field("name")])
        assert crm.sync(sending, looks_back()).delivered == 2
        calls = crm.simulator.report()["targets"]
        report = crm.sync(sending, looks_back())
        assert (report.read, report.unchanged) == (2, 2)
        assert crm.simulator.report()["targets"] == calls

    def test_it_leaves_the_window_of_the_next_run_where_it_was(self, crm: Bench, now: datetime) -> None:
        until = now - timedelta(minutes=5)
        certified_until(crm, until)
        fresh = create(crm, now - timedelta(minutes=2))
        crm.sync(pipeline(), looks_back())
        assert fresh in crm.held(pipeline()), "it is read, and delivered"
        made = crm.plan(crm.run(pipeline()), manual())
        assert made.window.since_ms == int(until.timestamp() * 1000), "and read again by who has to certify it"

    def test_before_the_first_run_of_the_pipeline_it_certifies_nothing(self, crm: Bench) -> None:
        report = crm.sync(pipeline(), looks_back())
        assert (report.certified, crm.hub.certified("account")) == ([], [])
        assert crm.sync(pipeline()).window.since_ms == 0

    def test_it_closes_the_gaps_that_it_has_read(self, crm: Bench, now: datetime) -> None:
        hours = [now - timedelta(hours=number) for number in (40, 30, 20, 10)]
        crm.sync(pipeline(), manual(since=hours[0], until=hours[1]))
        crm.sync(pipeline(), manual(since=hours[2], until=hours[3]))
        in_the_gap = create(crm, now - timedelta(hours=25))
        crm.sync(pipeline(), looks_back())
        assert in_the_gap in crm.held(pipeline())
        [whole] = crm.hub.certified("account")
        assert whole.until == Window.between(hours[3], hours[3]).until

    def test_it_reads_nothing_before_the_start_of_the_pipeline(self, crm: Bench, now: datetime) -> None:
        start = now - timedelta(hours=1)
        report = crm.sync(pipeline(start=start), looks_back())
        assert report.window.since == Window.between(start, start).since

    def test_a_dry_one_sends_and_certifies_nothing(self, crm: Bench, now: datetime) -> None:
        certified_until(crm, now - timedelta(minutes=5))
        proofs = len(list(crm.hub.certificates("account")))
        create(crm, now - timedelta(hours=30))
        report = crm.sync(pipeline(), looks_back(dry_run=True))
        assert (report.delivered, report.certified) == (1, [])
        assert len(list(crm.hub.certificates("account"))) == proofs
        assert crm.sync(pipeline(), looks_back()).delivered == 1


def test_a_pipeline_without_lookbacks_has_none() -> None:
    plain = Pipeline(name="plain", source=Source(object="AccountObj"), fields=[Field("_id")], target=HubTarget())
    assert plain.lookbacks == ()
    assert plain.config_hash == pipeline(name="plain", fields=[Field("_id")], lookbacks=[TWO_DAYS]).config_hash

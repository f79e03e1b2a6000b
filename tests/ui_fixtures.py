"""Airflow's own API server in this process, with the plugin, users of different rights, and a hub to show.

The API server takes two seconds to import, so only a test that uses it does.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from fenxiang_sync import Field, Lookback, Pipeline, Source, WriteApi, text
from fenxiang_sync.convert import SHANGHAI
from fenxiang_sync.declared import Declared
from fenxiang_sync.hub import Certificate, DayCalls, DeadLetter, Hub, RunRecord, Settled
from fenxiang_sync.hub.late import LateArrival
from fenxiang_sync.rows import IdCheck, Outcome
from fenxiang_sync.window import Window, to_ms
from tests.hub_fixtures import row

DAG_FILE = """
from datetime import timedelta
from fenxiang_sync import Field, HubTarget, Lookback, Pipeline, Source
from fenxiang_sync.airflow import sync_dag
for name, title in (("shown_account", "客户"), ("shown_contact", "联系人")):
    sync_dag(Pipeline(
        name=name, title=title, source=Source(object="AccountObj"), fields=[Field("_id")], target=HubTarget(),
        lookbacks=[Lookback(schedule="@daily", over=timedelta(days=1))],
    ))
"""
ACCOUNT, CONTACT = "shown_account", "shown_contact"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECRET = "13800001111"
"""A value that a reason quotes."""


def account(**words: Any) -> Pipeline:
    return Pipeline(
        **{
            "name": ACCOUNT,
            "title": "客户",
            "source": Source(object="AccountObj"),
            "fields": [Field("_id"), Field("name", convert=text)],
            "target": WriteApi(path="/write"),
            "schedule": "0 * * * *",
            "start": datetime(2026, 10, 1, tzinfo=UTC),
            "lookbacks": [Lookback(schedule="@daily", over=timedelta(days=1))],
            **words,
        }
    )


def at(day: int, hour: int = 0, month: int = 11) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def fill(hub: Hub) -> None:
    """What a pipeline leaves behind that has seen some trouble."""
    Declared.of(account(), ACCOUNT).note(hub)
    certified = [(at(3, month=10), at(1)), (at(1), at(12, 9)), (at(12, 14), at(22, 11))]
    for since, until in certified:
        window = Window.between(since, until)
        hub.certify(Certificate(pipeline=ACCOUNT, run=f"scheduled__{until}", window=window), now=until)
    _late(hub)
    _runs(hub)
    letters = [
        DeadLetter(
            pipeline=ACCOUNT, run="r", stage="transform", error="RejectedError", record_id=f"68ab{number:020x}",
            field="tel", reason=f"tel '{SECRET}' is no <b>number</b>", payload={"secret": "payload-of-it"},
        )
        for number in range(5)
    ]  # fmt: skip
    hub.bury(letters, NOW)
    refused = DeadLetter(
        pipeline=ACCOUNT, run="r", stage="load", error="RefusedError", record_id="68cd", reason="/write: name too long"
    )
    hub.bury([refused], NOW)
    lost = [row("lost-1"), row("lost-2")]
    told: dict[str, Any] = {"run": "r", "now": NOW}
    hub.claim(ACCOUNT, lost, id_check=IdCheck.UPSERT_ON_CHANGE, lease_s=60, **told)
    hub.sending(ACCOUNT, lost, lease_s=60, upserts=False, **told)
    hub.settle(ACCOUNT, [Settled(row=each, outcome=Outcome.IN_DOUBT) for each in lost], **told)
    today = datetime.now(ZoneInfo(SHANGHAI)).date().isoformat()
    for connection, calls in (("fenxiang", 1_800), ("second", 6_700)):
        hub.add_calls(DayCalls(app="host/app", day=today, connection=connection, calls=calls), now=NOW)


def _late(hub: Hub) -> None:
    stamp = to_ms(at(20))
    for found_by, minutes in (("run", [(3, 3)] * 20 + [(8, 8)] * 15), ("lookback", [(31, 47), (20, 47)])):
        arrivals = [
            LateArrival(record_id=f"68ef{most}", modified_ms=stamp, least_ms=least * 60_000, most_ms=most * 60_000)
            for least, most in minutes
        ]
        hub.note_late(ACCOUNT, arrivals, found_by=found_by, run=f"{found_by}-1", now=at(21))


def _runs(hub: Hub) -> None:
    numbers = {
        "read": 1_432, "delivered": 1_200, "unchanged": 214, "stale": 3, "filtered": 9, "in_doubt": 2,
        "dead_letters": 4, "repaired": 1, "late": 2, "dry_run": False,
    }  # fmt: skip
    failed = {"task": "verify", "error": "IncompleteError", "reason": f"3 records are missing, for example {SECRET}"}
    quiet = {**dict.fromkeys(numbers, 0), "read": 88, "unchanged": 88, "dry_run": False}
    compared = {"compared": 20_411, "missing": 2, "stale": 1, "vanished": 1, "fetched": 3, "delivered": 3, "late": 2}
    for kind, state, hour, said in (
        ("scheduled", "success", 8, numbers),
        ("scheduled", "failed", 9, failed),
        ("reconcile", "success", 10, compared),
        ("scheduled", "success", 11, quiet),
        ("manual", "running", 12, {"segments": 2, "dry_run": True}),
    ):
        began = at(22, hour)
        ended = None if state == "running" else began + timedelta(minutes=3, seconds=20)
        hub.record_run(
            RunRecord(
                pipeline=ACCOUNT, run=f"{kind}__{began}", kind=kind, state=state, numbers=said, requests=14,
                window=Window.between(began - timedelta(hours=1), began), started_at=began, finished_at=ended,
            )
        )  # fmt: skip


@pytest.fixture(scope="module")
def served(airflow_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The API server's application, with the DAGs of `DAG_FILE` in its database."""
    from airflow.api_fastapi.app import create_app, purge_cached_app
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.session import create_session

    folder = tmp_path_factory.mktemp("shown")
    (folder / "shown.py").write_text(DAG_FILE, encoding="utf-8")
    other = "from airflow.sdk import DAG\nwith DAG('shown_other', schedule=None) as dag:\n    pass\n"
    (folder / "other.py").write_text(other, encoding="utf-8")
    with create_session() as session:
        session.merge(DagBundleModel(name="shown"))
    sync_bag_to_db(DagBag(folder, bundle_path=folder, bundle_name="shown"), "shown", None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__AUTH_MANAGER", "tests.ui_rights.Rights")
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "somebody:viewer")
        purge_cached_app()
        yield create_app(apps="core")
        purge_cached_app()


def token_of(username: str, role: str | None = "viewer") -> str:
    """What Airflow gives a user who logs in."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    token: str = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=username, role=role))
    return token

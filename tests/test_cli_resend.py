"""`fenxiang resend`: what the hub has stored goes to the target once more."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fenxiang_sync.hub import Hub, Settled
from fenxiang_sync.rows import IdCheck, Outcome
from fenxiang_sync.window import to_ms
from tests.airflow_fixtures import ConnectionSetter
from tests.hub_fixtures import hub_file, row
from tests.targets_fixtures import Stand, stand
from tests.test_cli_reports import fenxiang

DAG_FILE = """
from fenxiang_sync import Field, HubTarget, Pipeline, Source, WriteApi
from fenxiang_sync.airflow import sync_dag
words = dict(source=Source(object="AccountObj"), fields=[Field("_id")])
sync_dag(Pipeline(name="account", target=WriteApi(upserts=True), **words))
sync_dag(Pipeline(name="inserts", target=WriteApi(), **words))
"""
OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)


@pytest.fixture
def dags(tmp_path: Path) -> Path:
    folder = tmp_path / "dags"
    folder.mkdir()
    (folder / "two.py").write_text(DAG_FILE, encoding="utf-8")
    return folder


@pytest.fixture
def shop(connection: ConnectionSetter) -> Iterator[Stand]:
    with stand() as made:
        connection("write_api", conn_type="http", host=made.url)
        yield made


@pytest.fixture(autouse=True)
def hub(
    connection: ConnectionSetter, tmp_path: Path, airflow_home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Hub]:
    monkeypatch.setenv("AIRFLOW__LOGGING__LOGGING_LEVEL", "INFO")
    monkeypatch.setenv("AIRFLOW__CORE__DAGBAG_IMPORT_ERROR_TRACEBACK_DEPTH", "2")
    monkeypatch.setenv("AIRFLOW__FENXIANG__STAGE_URL", f"file://{tmp_path}/stage")
    connection("fenxiang_hub", conn_type="sqlite", host=str(hub_file(tmp_path)))
    with Hub.connect(f"sqlite:///{hub_file(tmp_path)}") as made:
        for name in ("account", "inserts"):
            rows = [row(f"r{day}", to_ms(OCTOBER.replace(day=day)), id=f"r{day}", needed="x") for day in (1, 2, 3)]
            made.claim(name, rows, run="run", id_check=IdCheck.UPSERT_ON_CHANGE, lease_s=60, now=OCTOBER)
            settled = [Settled(row=each, outcome=Outcome.DELIVERED) for each in rows]
            made.settle(name, settled, run="run", now=OCTOBER)
        yield made


def test_a_range_or_all_of_it_is_sent_and_remembered_as_a_run(hub: Hub, shop: Stand, dags: Path) -> None:
    said = fenxiang(
        "resend", "account", "--since", "2026-10-02T00:00:00Z", "--until", "2026-10-03T00:00:00Z", "--dags", dags
    )
    assert (said.exit_code, said.stderr) == (0, "")
    assert said.stdout == (
        "account: 1 rows in the hub, 1 delivered, 0 refused, 0 in doubt, 0 left to the runs that send them\n"
    )
    assert [each["id"] for each in shop.targets.write.rows] == ["r2"]
    [told] = hub.runs("account")
    assert (told.kind, told.state, told.numbers["delivered"]) == ("resend", "success", 1)
    assert fenxiang("resend", "account", "--all", "--dags", dags).exit_code == 0
    assert sorted(each["id"] for each in shop.targets.write.rows) == ["r1", "r2", "r3"]


def test_a_dry_run_says_how_many_and_sends_nothing(hub: Hub, shop: Stand, dags: Path) -> None:
    said = fenxiang("resend", "account", "--all", "--dry-run", "--dags", dags)
    assert (said.exit_code, "3 would be sent" in said.stdout) == (0, True)
    assert (shop.targets.write.rows, hub.runs("account")) == ([], [])


def test_a_target_that_only_inserts_takes_a_word_that_it_may_duplicate(shop: Stand, dags: Path) -> None:
    said = fenxiang("resend", "inserts", "--all", "--dags", dags)
    assert said.exit_code == 2
    assert "would be there twice" in said.stderr
    assert "--may-duplicate" in said.stderr
    assert shop.targets.write.rows == []
    assert fenxiang("resend", "inserts", "--all", "--may-duplicate", "--dags", dags).exit_code == 0
    assert len(shop.targets.write.rows) == 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "say which rows"),
        (("--all", "--since", "2026-10-02T00:00:00Z"), "--all is everything"),
        (("--since", "2026-10-02"), "has no time zone"),
        (("--since", "2026-10-02T00:00:00Z", "--until", "2026-10-01T00:00:00Z"), "must be before"),
        (("--missing",), "cannot say which rows it holds"),
    ],
)
def test_what_cannot_be_meant_is_said_and_nothing_is_sent(
    shop: Stand, dags: Path, arguments: tuple[str, ...], says: str
) -> None:
    said = fenxiang("resend", "account", *arguments, "--dags", dags)
    assert said.exit_code == 2
    assert says in said.stderr
    assert shop.targets.write.rows == []

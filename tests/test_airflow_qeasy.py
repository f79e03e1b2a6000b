"""The test of a Qeasy connection, against the simulator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fenxiang_simulator import Simulator
from fenxiang_simulator.qeasy import APP_SECRET
from fenxiang_sync.airflow.qeasy import QeasyHook
from tests.airflow_fixtures import ConnectionSetter


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(only="targets") as running:
        yield running


@pytest.fixture
def fields(simulator: Simulator, connection: ConnectionSetter) -> dict[str, Any]:
    fields = {
        "conn_type": "qeasy",
        "host": simulator.url,
        "login": "demoappkey01",
        "password": APP_SECRET,
    }
    connection("qeasy", **fields)
    return fields


@pytest.mark.usefixtures("fields")
def test_a_good_connection_gets_a_token() -> None:
    good, sentence = QeasyHook().test_connection()
    assert good, sentence
    assert "demoappkey01" in sentence


def test_a_wrong_secret_is_a_sentence_without_it(fields: dict[str, Any], connection: ConnectionSetter) -> None:
    connection("qeasy", **{**fields, "password": "wrong-secret-19-wrong"})
    good, sentence = QeasyHook().test_connection()
    assert not good
    assert "app_secret" in sentence
    assert "wrong-secret-19" not in sentence


def test_a_field_that_is_missing_is_named(fields: dict[str, Any], connection: ConnectionSetter) -> None:
    connection("qeasy", **{**fields, "login": ""})
    good, sentence = QeasyHook().test_connection()
    assert not good
    assert "app_key" in sentence


def test_a_connection_that_does_not_exist_is_a_sentence() -> None:
    good, sentence = QeasyHook("qeasy_production").test_connection()
    assert not good
    assert "'qeasy_production' does not exist" in sentence

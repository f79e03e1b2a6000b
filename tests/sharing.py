"""How the tests are shared among processes: those of one Airflow go to one process, the longest begin first.

Tests with real servers wait most of their time, the others compute; begun together they keep two cores busy.
"""

from __future__ import annotations

import gc
from typing import Any

import pytest

ONE_AIRFLOW = "tests/test_airflow_server"
LONGEST_FIRST = (
    ONE_AIRFLOW,
    "tests/test_demo_demo",
    "tests/test_secrets",
    "tests/test_steps_",
    "tests/test_chaos",
    "tests/test_faults",
    "tests/test_source_",
    "tests/test_hub_",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _rank(item.nodeid))


def pytest_collection_finish() -> None:
    """What was imported until here stays: the collector need not look at it again and again (a seventh of all CPU)."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    from xdist.scheduler import LoadFileScheduling

    class Sharing(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return ONE_AIRFLOW if nodeid.startswith(ONE_AIRFLOW) else str(super()._split_scope(nodeid))

    return Sharing(config, log)


def _rank(nodeid: str) -> int:
    fitting = (at for at, start in enumerate(LONGEST_FIRST) if nodeid.startswith(start))
    return next(fitting, len(LONGEST_FIRST))

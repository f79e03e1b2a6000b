"""Fixtures for the whole project; a home for Airflow is made before anything imports Airflow."""

import os

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.sharing", "tests.airflow_fixtures", "tests.server_fixtures"]

settings.register_profile(
    "machines are noisy",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    derandomize=os.environ.get("CI") == "true",  # what is merged is judged by its change alone; at home examples vary
)
settings.load_profile("machines are noisy")

# Importing Airflow's API server takes two seconds of every test process; tests/test_airflow_ui.py runs their examples.
collect_ignore_glob = ["plugins/fenxiang_sync/airflow/ui/*"]

"""Fixtures for the whole project; a home for Airflow is made before anything imports Airflow."""

from hypothesis import settings

pytest_plugins = ["tests.sharing", "tests.airflow_fixtures", "tests.server_fixtures"]

settings.register_profile("machines are noisy", deadline=None)
settings.load_profile("machines are noisy")

# Importing Airflow's API server takes two seconds of every test process; tests/test_airflow_ui.py runs their examples.
collect_ignore_glob = ["plugins/fenxiang_sync/airflow/ui/*"]

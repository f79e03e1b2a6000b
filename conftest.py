"""Fixtures for the whole project; a home for Airflow is made before anything imports Airflow."""

pytest_plugins = ["tests.airflow_fixtures", "tests.server_fixtures", "tests.sharing"]

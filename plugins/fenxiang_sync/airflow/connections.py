"""Airflow connections, wherever the code runs: in a task, in a server, on the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fenxiang_sync.errors import SetupError

if TYPE_CHECKING:
    from airflow.sdk import Connection


class Place(Enum):
    """Where this process stands towards Airflow's database."""

    TASK = "task"
    """It asks the Execution API: a task, the DAG processor, a trigger."""
    SERVER = "server"
    """It opens the database itself: the API server, the command line, a script."""
    APART = "apart"
    """It has neither: a connection test that the API server handed to a worker."""

    @classmethod
    def here(cls) -> Place:
        # Airflow's own test for it: airflow.models.Variable and Connection decide by the same attribute.
        task_runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
        if getattr(task_runner, "SUPERVISOR_COMMS", None) is not None:
            return cls.TASK
        return cls.APART if os.environ.get("_AIRFLOW_PROCESS_CONTEXT") == "client" else cls.SERVER


def find(conn_id: str) -> Connection | None:
    """The connection, None where there is none. Secrets backends and ``AIRFLOW_CONN_…`` count."""
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return _get(conn_id)
    except AirflowNotFoundException:
        return None


def need(conn_id: str, conn_type: str) -> Connection:
    """The connection; raises `SetupError` that says how to add one of that type."""
    connection = find(conn_id)
    if connection is None:
        raise SetupError(
            f"Connection {conn_id!r} does not exist. Add it in the UI (Admin → Connections, type {conn_type}), with "
            f'`airflow connections add {conn_id} --conn-json \'{{"conn_type": "{conn_type}", …}}\'`, '
            f"or as the environment variable AIRFLOW_CONN_{conn_id.upper()}"
        )
    return connection


def base_url(connection: Connection, default: str = "") -> str:
    """``https://host:port/path`` of a connection, without a slash at the end; https where it does not say.

    Raises `SetupError` where the host is unusable, or missing without a `default`.
    """
    name, host = connection.conn_id, (connection.host or default).strip()
    if not host:
        raise SetupError(f"Connection {name!r} has no host; set it to a URL such as https://api.example.com")
    url = host if "://" in host else f"{connection.schema or 'https'}://{host}"
    try:
        parts = urlsplit(url)
        port = parts.port or connection.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise SetupError(f"Connection {name!r}: its host is no URL; give one such as https://api.example.com")
    at = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{at}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


def positive(
    extra: Mapping[str, Any], name: str, default: float, conn_id: str | None, most: float | None = None
) -> float:
    """A number above 0 from a connection's extra; raises `SetupError` for another value."""
    value = extra.get(name)
    if value is None or value == "":
        return default
    try:
        found = 0.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = 0.0
    if not found > 0 or found == float("inf") or (most is not None and found > most):
        limit = f" up to {most:g}" if most is not None else ""
        raise SetupError(f"Connection {conn_id!r}: extra {name} is {value!r}; give a number above 0{limit}")
    return found


def _get(conn_id: str) -> Connection:
    if Place.here() is Place.SERVER:
        # The SDK's chain leaves the database out unless the process declared itself a server, and the command
        # line does not.
        from airflow.models.connection import Connection as Stored

        return Stored.get_connection_from_secrets(conn_id)
    from airflow.sdk import Connection

    found: Connection = Connection.get(conn_id)
    return found

"""Databases: an Airflow connection of type postgres, mysql or sqlite, as a target needs it."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import URL

from fenxiang_sync.airflow.connections import find, positive
from fenxiang_sync.errors import SetupError
from fenxiang_sync.targets.protocol import Database

if TYPE_CHECKING:
    from airflow.sdk import Connection

_BACKENDS = {
    "postgres": "postgresql",
    "postgresql": "postgresql",
    "mysql": "mysql",
    "mariadb": "mysql",
    "sqlite": "sqlite",
}
_OF_OTHER_HOOKS = frozenset(
    ("cursor", "enable_log_db_messages", "sqlalchemy_scheme", "charset", "client", "local_infile")
)
"""Extras that Airflow's own hooks read, and that change nothing here: texts are always UTF-8."""
_LIBPQ = frozenset(
    (
        "application_name", "channel_binding", "connect_timeout", "gssencmode", "keepalives", "keepalives_count",
        "keepalives_idle", "keepalives_interval", "options", "sslcert", "sslcrl", "sslkey", "sslmode", "sslrootcert",
        "target_session_attrs",
    )
)  # fmt: skip
_MYSQL = frozenset(
    ("connect_timeout", "read_timeout", "ssl", "ssl_ca", "ssl_cert", "ssl_key", "ssl_mode", "unix_socket")
)
_MODES = {"VERIFY_CA": False, "VERIFY_IDENTITY": True}
"""What ssl_mode says about the host's name, of those that check the certificate."""


def make_database(conn_id: str) -> Database:
    """The database of a connection; raises `SetupError` for one that is missing, incomplete, or of another type."""
    connection = find(conn_id)
    if connection is None:
        raise SetupError(
            f"Connection {conn_id!r} does not exist. Add it in the UI (Admin → Connections), or with "
            f"`airflow connections add {conn_id} --conn-uri postgres://user:password@host:5432/database` "
            "(mysql://…:3306/… for MySQL and MariaDB, sqlite:////absolute/path.db for SQLite)"
        )
    backend = _BACKENDS.get(str(connection.conn_type).split("+")[0])
    if backend is None:
        raise SetupError(
            f"Connection {conn_id!r} is of type {connection.conn_type!r}; a SQL target takes postgres, mysql or sqlite"
        )
    if connection.password:
        from airflow.sdk.log import mask_secret

        mask_secret(connection.password)
    if backend == "sqlite":
        return Database(conn_id=conn_id, url=_sqlite(connection))
    if not connection.host or not connection.schema:
        raise SetupError(f"Connection {conn_id!r} needs a host and a database (field Schema)")
    url = URL.create(
        _driver(connection, backend),
        username=connection.login or None,
        password=connection.password or None,
        host=connection.host,
        port=connection.port,
        database=connection.schema,
        query={"charset": "utf8mb4"} if backend == "mysql" else {},
    )
    extra = _known_extra(connection, _MYSQL if backend == "mysql" else _LIBPQ)
    options = _mysql_options(extra, conn_id) if backend == "mysql" else extra
    return Database(conn_id=conn_id, url=url, options=options)


def _sqlite(connection: Connection) -> URL:
    # A URI has the path behind the host's slash; the form has it in the field Host.
    path = connection.host or connection.schema or ""
    if not path.startswith("/"):
        raise SetupError(
            f"Connection {connection.conn_id!r} needs the absolute path of a SQLite file in the field Host, "
            f"or the URI sqlite:////absolute/path.db; it has {path!r}"
        )
    return URL.create("sqlite", database=path)


def _driver(connection: Connection, backend: str) -> str:
    if backend == "mysql":
        return "mysql+pymysql"
    scheme = str(connection.extra_dejson.get("sqlalchemy_scheme") or "")
    if scheme in ("postgresql+psycopg2", "postgresql+psycopg"):
        return scheme
    only_third = importlib.util.find_spec("psycopg2") is None and importlib.util.find_spec("psycopg") is not None
    return "postgresql+psycopg" if only_third else "postgresql+psycopg2"


def _known_extra(connection: Connection, known: frozenset[str]) -> dict[str, Any]:
    extra = {name: value for name, value in connection.extra_dejson.items() if name not in _OF_OTHER_HOOKS}
    unknown = sorted(set(extra) - known)
    if unknown:
        raise SetupError(
            f"Connection {connection.conn_id!r} has the extra {unknown[0]!r}, which a SQL target does not know; "
            f"it knows {', '.join(sorted(known))}"
        )
    return extra


def _mysql_options(extra: Mapping[str, Any], conn_id: str) -> dict[str, Any]:
    options: dict[str, Any] = {
        name: positive(extra, name, 0, conn_id) for name in ("connect_timeout", "read_timeout") if name in extra
    }
    options.update({name: extra[name] for name in ("unix_socket", "ssl_ca", "ssl_cert", "ssl_key") if extra.get(name)})
    mode = str(extra.get("ssl_mode") or "").upper()
    if mode == "DISABLED":
        options["ssl_disabled"] = True
    elif mode in _MODES:
        options |= {"ssl_verify_cert": True, "ssl_verify_identity": _MODES[mode]}
    elif mode == "REQUIRED":
        options.setdefault("ssl", {"check_hostname": False, "verify_mode": "none"})
    elif mode not in ("", "PREFERRED"):
        raise SetupError(
            f"Connection {conn_id!r}: extra ssl_mode is {mode!r}; give DISABLED, PREFERRED, REQUIRED, VERIFY_CA or "
            "VERIFY_IDENTITY"
        )
    if extra.get("ssl"):
        options["ssl"] = _object(extra["ssl"], conn_id)
    return options


def _object(given: Any, conn_id: str) -> dict[str, Any]:
    """An extra that is an object, or JSON of one."""
    try:
        found = json.loads(given) if isinstance(given, str) else given
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise SetupError(f'Connection {conn_id!r}: extra ssl is no object; give one such as {{"ca": "/path/ca.pem"}}')
    return found

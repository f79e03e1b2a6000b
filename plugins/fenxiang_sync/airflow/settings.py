"""Settings: what a deployment sets in Airflow's configuration section ``[fenxiang]``.

Each is also an environment variable: ``AIRFLOW__FENXIANG__STAGE_URL``. Names, texts and defaults are in `OPTIONS`
alone; the provider shows them to Airflow, so ``airflow config list --section fenxiang`` and the UI have them too.
Nothing here imports Airflow before a function is called: the provider reads `OPTIONS` inside ``import airflow``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fenxiang_sync.errors import SetupError

if TYPE_CHECKING:
    from airflow.sdk import Connection, ObjectStoragePath

SECTION = "fenxiang"
_HOME = "{AIRFLOW_HOME}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option of the section, as ``airflow config`` shows it."""

    name: str
    type: str
    default: str
    example: str
    description: str

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"AIRFLOW__{SECTION.upper()}__{self.name.upper()}"


STAGE_URL = Option(
    name="stage_url",
    type="string",
    default=f"file://{_HOME}/fenxiang_stage",
    example="s3://aws_default@my-bucket/fenxiang",
    description="Folder of the batch files that pass from task to task, as the URL of an ObjectStoragePath. "
    "Workers on several machines need one that all of them reach.",
)
STAGE_RETENTION_DAYS = Option(
    name="stage_retention_days",
    type="integer",
    default="7",
    example="14",
    description="Days after which the batch files of a run are removed, whatever became of the run; its records are "
    "kept for records_retention_days.",
)
RECORDS_RETENTION_DAYS = Option(
    name="records_retention_days",
    type="integer",
    default="30",
    example="90",
    description="Days for which the records that a run has read are kept in the stage, compressed, for `fenxiang "
    "trace` and `fenxiang retransform`; at least stage_retention_days. Pipeline(keep_records=False) keeps none.",
)
EVENTS_RETENTION_DAYS = Option(
    name="events_retention_days",
    type="integer",
    default="180",
    example="365",
    description="Days for which the hub remembers what happened to each row: each attempt and the target's answer.",
)
HUB_CONN_ID = Option(
    name="hub_conn_id",
    type="string",
    default="fenxiang_hub",
    example="fenxiang_hub",
    description="Connection of the hub, where the state of every record is kept: type postgres. Where the connection "
    f"fenxiang_hub does not exist the hub is the SQLite file {_HOME}/fenxiang_hub.db, which serves one machine.",
)
OPTIONS = (STAGE_URL, STAGE_RETENTION_DAYS, RECORDS_RETENTION_DAYS, EVENTS_RETENTION_DAYS, HUB_CONN_ID)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The values in force."""

    stage_url: str
    stage_retention_days: int
    records_retention_days: int
    events_retention_days: int
    hub_conn_id: str
    most_segments: int
    """How many segments a run may have: Airflow's own ``[core] max_map_length``."""

    @classmethod
    def load(cls) -> Settings:
        """Read them; raises `SetupError` for a value that cannot be used."""
        from airflow.sdk.configuration import conf

        return cls(
            stage_url=_stage_url(_text(STAGE_URL)),
            stage_retention_days=_positive(STAGE_RETENTION_DAYS),
            records_retention_days=_positive(RECORDS_RETENTION_DAYS),
            events_retention_days=_positive(EVENTS_RETENTION_DAYS),
            hub_conn_id=_text(HUB_CONN_ID),
            most_segments=conf.getint("core", "max_map_length"),
        )

    def stage_root(self) -> ObjectStoragePath:
        """The stage's folder; raises `SetupError` where the storage has no driver."""
        from airflow.sdk import ObjectStoragePath

        try:
            root = ObjectStoragePath(self.stage_url)
            _ = root.fs
        except (ImportError, ValueError) as error:
            raise SetupError(f"{_named(STAGE_URL)} is {self.stage_url!r}, which cannot be opened: {error}") from error
        return root

    def hub_url(self) -> str:
        """SQLAlchemy URL of the hub, with its password; raises `SetupError` for a connection of no use."""
        from fenxiang_sync.airflow.connections import find

        connection = find(self.hub_conn_id)
        if connection is not None:
            return _sqlalchemy_url(connection)
        if self.hub_conn_id != HUB_CONN_ID.default:
            raise SetupError(
                f"{_named(HUB_CONN_ID)} names the connection {self.hub_conn_id!r}, which does not exist. "
                f"Add it (type postgres), or remove the setting to use the SQLite file {_home()}/fenxiang_hub.db"
            )
        return f"sqlite:///{_home()}/fenxiang_hub.db"


def _text(option: Option) -> str:
    from airflow.sdk.configuration import conf

    value = str(conf.get(SECTION, option.name, fallback=option.default)).strip()
    return (value or option.default).replace(_HOME, _home())


def _positive(option: Option) -> int:
    text = _text(option)
    if not text.isdecimal() or int(text) < 1:
        raise SetupError(f"{_named(option)} is {text!r}; give a whole number from 1 on, for example {option.example}")
    return int(text)


def _stage_url(url: str) -> str:
    if "://" not in url:
        raise SetupError(f"{_named(STAGE_URL)} is {url!r}; give a URL, for example file://{url} or {STAGE_URL.example}")
    return url


def _named(option: Option) -> str:
    return f"[{SECTION}] {option.name} ({option.variable})"


def _home() -> str:
    from airflow.configuration import AIRFLOW_HOME

    return str(AIRFLOW_HOME)


def _sqlalchemy_url(connection: Connection) -> str:
    from sqlalchemy import URL

    conn_type, name = connection.conn_type, connection.conn_id
    if conn_type == "sqlite":
        return f"sqlite:///{connection.host}"
    if conn_type not in ("postgres", "postgresql"):
        raise SetupError(f"Connection {name!r} is of type {conn_type!r}; the hub takes postgres (or sqlite)")
    if not connection.host or not connection.schema:
        raise SetupError(f"Connection {name!r} needs a host and a database (field Schema) for the hub")
    query: dict[str, Any] = {key: str(value) for key, value in connection.extra_dejson.items()}
    url = URL.create(
        "postgresql",
        username=connection.login,
        password=connection.password,
        host=connection.host,
        port=connection.port,
        database=connection.schema,
        query=query,
    )
    return url.render_as_string(hide_password=False)

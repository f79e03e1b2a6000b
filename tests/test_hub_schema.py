"""A hub makes and migrates itself, whoever comes first, and says in a sentence where it cannot."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, event, inspect, make_url, text

import fenxiang_sync.hub
from fenxiang_sync.errors import FenxiangSyncError, SetupError, TransientError
from fenxiang_sync.hub import Hub
from fenxiang_sync.hub.connect import Database
from fenxiang_sync.hub.schema import migrate
from fenxiang_sync.hub.tables import REVISION, VERSION_TABLE, metadata
from tests.hub_fixtures import DATABASES, DRIVERS, POSTGRES, empty_database, hub_database, run_in_postgres

MIGRATIONS = Path(fenxiang_sync.hub.__file__).parent / "migrations"


@pytest.fixture(params=DRIVERS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with empty_database(request.param, tmp_path) as url:
        yield url


def connect(url: str) -> str:
    """In a process of its own: "" or what went wrong."""
    try:
        with Hub.connect(url) as hub:
            return "" if hub.counts("stock") == {} else "not empty"
    except FenxiangSyncError as error:
        return str(error)


def test_migrations_lead_to_the_tables_of_the_code(url: str) -> None:
    with Hub.connect(url):
        pass
    engine = create_engine(url)
    with engine.connect() as connection:
        # Alembic reads SQLite's empty default back as none.
        options = {"version_table": VERSION_TABLE, "compare_server_default": not url.startswith("sqlite")}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
    engine.dispose()


@pytest.mark.parametrize("kind", DRIVERS)
def test_the_hub_that_other_tests_begin_with_is_the_one_that_migrations_make(kind: str, tmp_path: Path) -> None:
    made, given = tmp_path / "made", tmp_path / "given"
    made.mkdir(), given.mkdir()
    with empty_database(kind, made) as url, hub_database(kind, given) as other:
        Hub.connect(url).close()
        assert parts(other) == parts(url)
        with Hub.connect(other) as hub:
            assert hub.counts("stock") == {}


def parts(url: str) -> object:
    """All that a database is made of, in its own words, and the revision."""
    engine = create_engine(url)
    with engine.connect() as connection:
        revision = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).all()
        if url.startswith("sqlite"):
            return revision, connection.execute(text("SELECT name, sql FROM sqlite_master ORDER BY name")).all()
        found = inspect(connection)
        tables = {name: (found.get_columns(name), found.get_indexes(name)) for name in sorted(found.get_table_names())}
        return revision, repr(tables), [(name, found.get_view_definition(name)) for name in found.get_view_names()]


def test_the_code_is_written_for_the_newest_migration() -> None:
    assert ScriptDirectory(MIGRATIONS).get_heads() == [REVISION]


def test_a_hub_that_is_up_to_date_costs_one_query(url: str) -> None:
    connect(url)
    database = Database(url)
    said: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *given: said.append(given[2]))
    migrate(database)
    database.close()
    assert [one for one in said if not one.startswith("BEGIN")] == [f"SELECT version_num FROM {VERSION_TABLE}"]


def test_a_hub_that_is_up_to_date_needs_no_alembic(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/hub.db"
    connect(url)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_alembic_after_connect, (url,)) is False


def _alembic_after_connect(url: str) -> bool:
    for name in [name for name in sys.modules if name.split(".")[0] == "alembic"]:
        del sys.modules[name]
    connect(url)
    return "alembic" in sys.modules


def test_many_processes_may_connect_at_once_to_an_empty_database(url: str) -> None:
    with multiprocessing.get_context("spawn").Pool(6) as pool:
        assert pool.map(connect, [url] * 12, chunksize=1) == [""] * 12


def test_a_hub_newer_than_the_code_is_refused(url: str) -> None:
    connect(url)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(SetupError, match=r"is at revision 9999, which is newer than this installation knows .* update"):
        Hub.connect(url)


@pytest.mark.parametrize("kind", DATABASES)
def test_what_is_there_besides_the_hub_is_left_alone(kind: str, tmp_path: Path) -> None:
    with empty_database(kind, tmp_path) as url:
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE alembic_version (version_num TEXT)"))
            connection.execute(text("INSERT INTO alembic_version VALUES ('airflow')"))
        with Hub.connect(url), engine.connect() as connection:
            assert connection.execute(text("SELECT version_num FROM alembic_version")).all() == [("airflow",)]
        engine.dispose()


# Sentences


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("mysql://user:hush-hush@host/db", "cannot be kept in 'mysql'"),
        ("hush-hush", "URL cannot be read"),
        ("postgresql://user:hush-hush@host:port/db", "URL cannot be read"),
        ("sqlite://", "in memory would be lost"),
        ("sqlite:////no/such/folder/hub.db", "no folder /no/such/folder"),
        ("postgresql+pg8000://user:hush-hush@host/db", "needs the driver 'pg8000'"),
    ],
)
def test_a_url_of_no_use_gives_a_sentence_without_the_password(url: str, sentence: str) -> None:
    with pytest.raises(SetupError, match=sentence) as raised:
        Hub.connect(url)
    assert "hush-hush" not in repr(raised.value)
    assert raised.value.__context__ is None or "hush-hush" not in repr(raised.value.__context__)


@pytest.mark.parametrize("driver", ["postgresql", "postgresql+psycopg"])
def test_a_server_that_does_not_answer_may_do_so_later(driver: str) -> None:
    with pytest.raises(TransientError, match=r"'stock' at 127.0.0.1:1 cannot be used now: .*refused") as raised:
        Hub.connect(f"{driver}://user:hush-hush@127.0.0.1:1/stock")
    assert "hush-hush" not in str(raised.value)


@pytest.mark.postgres
@pytest.mark.parametrize("driver", ["postgresql", "postgresql+psycopg"])
def test_a_database_that_is_not_there_is_set_up_wrong(driver: str) -> None:
    run_in_postgres("SELECT 1")
    url = make_url(POSTGRES).set(drivername=driver, database="no_such_hub").render_as_string(hide_password=False)
    with pytest.raises(SetupError, match=r"no_such_hub.* does not exist\. Check the hub"):
        Hub.connect(url)


@pytest.mark.postgres
@pytest.mark.parametrize("driver", ["postgresql", "postgresql+psycopg"])
def test_a_user_who_may_not_create_tables_is_told_so(driver: str, tmp_path: Path) -> None:
    with empty_database(driver, tmp_path) as url:
        options = str(make_url(url).query["options"])
        run_in_postgres(f"GRANT USAGE ON SCHEMA {options.split('=')[1]} TO pg_monitor")
        asked = make_url(url).update_query_dict({"options": f"{options} -crole=pg_monitor"})
        with pytest.raises(SetupError, match=r"cannot be used: permission denied"):
            Hub.connect(asked.render_as_string(hide_password=False))


@pytest.mark.postgres
@pytest.mark.parametrize("driver", ["postgresql", "postgresql+psycopg"])
def test_a_read_only_server_is_told_so(driver: str, tmp_path: Path) -> None:
    with empty_database(driver, tmp_path) as url:
        options = make_url(url).query["options"]
        asked = make_url(url).update_query_dict({"options": f"{options} -cdefault_transaction_read_only=on"})
        with pytest.raises(SetupError, match=r"read-only transaction"):
            Hub.connect(asked.render_as_string(hide_password=False))


def test_a_file_that_is_no_database_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "hub.db").write_text("these are notes" * 100)
    with pytest.raises(SetupError, match=r"hub.db cannot be used: file is not a database"):
        Hub.connect(f"sqlite:///{tmp_path}/hub.db")


def test_a_folder_in_the_place_of_the_file_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "hub.db").mkdir()
    with pytest.raises(SetupError, match=r"unable to open database file"):
        Hub.connect(f"sqlite:///{tmp_path}/hub.db")


def test_a_file_that_may_only_be_read_is_told_so(tmp_path: Path) -> None:
    with Hub.connect(f"sqlite:///{tmp_path}/hub.db"):
        pass
    url = f"sqlite:///file:{tmp_path}/hub.db?mode=ro&uri=true"
    with Hub.connect(url) as hub, pytest.raises(SetupError, match="readonly"), hub.lease("x", ttl_s=1, wait_s=0):
        pass


def test_airflows_old_scheme_names_postgresql_too(tmp_path: Path) -> None:
    with empty_database("postgresql", tmp_path) as url:
        assert connect(url.replace("postgresql://", "postgres://")) == ""

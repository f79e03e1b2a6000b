"""Bring a hub to the tables of this code: one small query where nothing is to be done."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from fenxiang_sync.errors import SetupError
from fenxiang_sync.hub.connect import Database, lacks_table
from fenxiang_sync.hub.tables import REVISION, VERSION_TABLE

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

_MIGRATIONS = Path(__file__).parent / "migrations"
_one_at_a_time = threading.Lock()  # alembic's context is global to the process


def migrate(database: Database) -> None:
    """Create or migrate the tables. Many processes may call it at once; one does it, the others wait.

    Raises `SetupError` where the hub is newer than this code, or may not be changed by this user.
    """
    if _revision(database) == REVISION:
        return
    with _one_at_a_time, database.writing("migrations") as connection:
        _upgrade(connection, database.name)


def _revision(database: Database) -> str | None:
    try:
        with database.reading() as connection:
            return _stored(connection)
    except DBAPIError as error:
        if lacks_table(error):
            return None
        raise


def _stored(connection: Connection) -> str | None:
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608


def _upgrade(connection: Connection, name: str) -> None:
    # Imported here: a hub that is up to date never needs it, and every task connects.
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(_MIGRATIONS)
    # Not by an env.py: that would be a module that only alembic can import.
    with EnvironmentContext(Config(), scripts, fn=lambda found, _: scripts._upgrade_revs("head", found)) as upgrade:
        upgrade.configure(connection=connection, version_table=VERSION_TABLE)
        _refuse_newer(upgrade.get_context().get_current_revision(), scripts, name)
        upgrade.run_migrations()


def _refuse_newer(found: str | None, scripts: ScriptDirectory, name: str) -> None:
    if found is not None and found not in [script.revision for script in scripts.walk_revisions()]:
        raise SetupError(
            f"The {name} is at revision {found}, which is newer than this installation knows ({REVISION}): "
            "update the provider here to the version that runs elsewhere."
        )

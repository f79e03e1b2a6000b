"""Dialects: the one of ours that belongs to a database."""

from __future__ import annotations

from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine import Dialect as SqlalchemyDialect

from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.targets.sql.dialect import Dialect
from fenxiang_sync.targets.sql.mysql import MySQL
from fenxiang_sync.targets.sql.postgresql import PostgreSQL
from fenxiang_sync.targets.sql.sqlite import SQLite

_DIALECTS: dict[str, type[Dialect]] = {
    "postgresql": PostgreSQL,
    "mysql": MySQL,
    "mariadb": MySQL,
    "sqlite": SQLite,
}


def dialect_of(dialect: SqlalchemyDialect) -> Dialect:
    """Ours for one of SQLAlchemy's."""
    return _DIALECTS[dialect.name](dialect)


def offline(database: str) -> Dialect:
    """The dialect of a database by its name, for text alone."""
    made = {
        "postgresql": postgresql.dialect,
        "mysql": mysql.dialect,
        "mariadb": mysql.dialect,
        "sqlite": sqlite.dialect,
    }
    if database not in made:
        raise DeclarationError(f"{database!r} is no database of SqlTable; there are {', '.join(made)}")
    dialect = made[database]()
    if database == "mariadb":
        dialect.is_mariadb = True
    return dialect_of(dialect)

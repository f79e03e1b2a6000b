"""Calls to Fenxiang by app, day and connection: the day quota is the app's, whoever calls."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from fenxiang_sync.hub.bulk import Upsert
from fenxiang_sync.hub.connect import Database
from fenxiang_sync.hub.tables import calls as table
from fenxiang_sync.window import to_ms

_COLUMNS = ("app", "day", "connection", "calls", "updated_at")
_STORE = Upsert(table, key=_COLUMNS[:3], columns=_COLUMNS, update=_COLUMNS[3:])


@dataclass(frozen=True, slots=True, kw_only=True)
class DayCalls:
    """The calls of one connection on one day (Asia/Shanghai, YYYY-MM-DD). `app` is host and appId."""

    app: str
    day: str
    connection: str
    calls: int

    def of_app(self, found: Iterable[DayCalls]) -> int:
        """What all connections of its app have made on its day, by `found`: the quota is the app's."""
        return sum(each.calls for each in found if (each.app, each.day) == (self.app, self.day))


class Calls:
    """The counted calls of one hub."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, made: DayCalls, now: datetime) -> int:
        """Add calls to a day; returns what all connections of the app have made on it."""
        mine = (table.c.app == made.app, table.c.day == made.day)
        with self._database.writing(f"calls of {made.app}") as connection:
            if made.calls:
                was = connection.execute(
                    select(table.c.calls).where(*mine, table.c.connection == made.connection)
                ).scalar()
                row = (made.app, made.day, made.connection, (was or 0) + made.calls, to_ms(now))
                _STORE.run(connection, [row])
            return int(connection.execute(select(func.coalesce(func.sum(table.c.calls), 0)).where(*mine)).scalar_one())

    def since(self, day: str) -> list[DayCalls]:
        """The calls from a day on, the newest day first."""
        wanted = select(table).where(table.c.day >= day).order_by(table.c.day.desc(), table.c.app, table.c.connection)
        with self._database.reading() as connection:
            return [
                DayCalls(app=found.app, day=found.day, connection=found.connection, calls=found.calls)
                for found in connection.execute(wanted)
            ]

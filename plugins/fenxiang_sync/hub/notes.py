"""Notes: small JSON documents that processes on any machine read, change and write with nobody in between."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from sqlalchemy import select

from fenxiang_sync.hub.bulk import Upsert
from fenxiang_sync.hub.connect import Database, clock_ms
from fenxiang_sync.hub.tables import note as table

Change = Callable[[dict[str, Any] | None, float], dict[str, Any]]
"""From what the note says (None: it is not there yet) and the database's clock (epoch s) to what it shall say."""

_PUT = Upsert(table, key=("name",), columns=("name", "content"), update=("content",))


class Notes:
    """The notes of one hub."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def revise(self, name: str, change: Change) -> None:
        """Change a note alone. `change` is called once and must not use the hub; nothing is stored where it raises."""
        with self._database.writing(f"note {name}") as connection:
            held = connection.execute(select(table.c.content).where(table.c.name == name)).scalar_one_or_none()
            content = change(None if held is None else json.loads(held), clock_ms(connection) / 1000)
            _PUT.run(connection, [(name, json.dumps(content, separators=(",", ":")))])

    def read(self, name: str) -> dict[str, Any] | None:
        """What a note says; None where it is not there."""
        with self._database.reading() as connection:
            held = connection.execute(select(table.c.content).where(table.c.name == name)).scalar_one_or_none()
        return None if held is None else dict(json.loads(held))

    def all(self, prefix: str) -> dict[str, dict[str, Any]]:
        """What the notes say whose names begin so, by name."""
        wanted = select(table.c.name, table.c.content).where(table.c.name.startswith(prefix, autoescape=True))
        with self._database.reading() as connection:
            return {name: json.loads(content) for name, content in connection.execute(wanted.order_by(table.c.name))}

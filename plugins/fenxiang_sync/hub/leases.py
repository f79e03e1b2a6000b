"""Leases: one holder at a time of a name, across threads, processes and machines."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import time
import uuid
from collections.abc import Iterator

from sqlalchemy import delete, select

from fenxiang_sync.errors import TransientError
from fenxiang_sync.hub.bulk import Upsert
from fenxiang_sync.hub.connect import Database, clock_ms
from fenxiang_sync.hub.tables import lease as table
from fenxiang_sync.window import to_ms

_POLL_S = (0.05, 0.25)

_TAKE = Upsert(table, key=("name",), columns=("name", "holder", "until"), update=("holder", "until"))


class Leases:
    """The leases of one hub."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextlib.contextmanager
    def hold(self, name: str, *, ttl_s: float, wait_s: float) -> Iterator[None]:
        """Hold `name` for the body, waiting up to `wait_s` for it.

        A holder that died is succeeded when its `ttl_s` is over, so `ttl_s` must be longer than the body can take.
        Raises `TransientError` when the wait is over.
        """
        holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
        give_up = time.monotonic() + wait_s
        while (other := self._take(name, holder, ttl_s)) is not None:
            if time.monotonic() >= give_up:
                raise TransientError(
                    f"The lease {name!r} was not free within {wait_s:g} s: {other}.", retry_after=ttl_s
                )
            time.sleep(random.uniform(*_POLL_S))  # noqa: S311
        try:
            yield
        finally:
            self._give_back(name, holder)

    def _take(self, name: str, holder: str, ttl_s: float) -> str | None:
        """None when it is ours now, else who holds it."""
        with self._database.writing(f"lease {name}") as connection:
            now_ms = clock_ms(connection)
            held = connection.execute(select(table.c.holder, table.c.until).where(table.c.name == name)).one_or_none()
            if held is not None and to_ms(held.until) > now_ms:
                return f"{held.holder} holds it until {held.until:%Y-%m-%d %H:%M:%S} UTC"
            _TAKE.run(connection, [(name, holder, now_ms + round(ttl_s * 1000))])
        return None

    def _give_back(self, name: str, holder: str) -> None:
        with self._database.writing(f"lease {name}") as connection:
            connection.execute(delete(table).where(table.c.name == name, table.c.holder == holder))

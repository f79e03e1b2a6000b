"""Leases: one holder at a time of a name, across threads, processes and machines."""

from __future__ import annotations

import contextlib
import math
import os
import random
import socket
import time
import uuid
from collections.abc import Iterator

from sqlalchemy import select, update

from fenxiang_sync.errors import TransientError
from fenxiang_sync.hub.bulk import Upsert
from fenxiang_sync.hub.connect import Database, clock_ms
from fenxiang_sync.hub.tables import lease as table
from fenxiang_sync.window import from_ms, to_ms

_POLL_S = (0.05, 0.25)

_TAKE = Upsert(table, key=("name",), columns=("name", "holder", "until"), update=("holder", "until"))


class Lease:
    """A lease that is held. All its times are by the hub's clock, which is the same for every holder."""

    def __init__(self, leases: Leases, name: str, holder: str, ttl_s: float) -> None:
        self.rested_s = math.inf
        """How long nobody had held it before; infinite where nobody ever had."""
        self.name, self.holder, self.ttl_s = name, holder, ttl_s
        self._leases = leases

    def keep(self) -> None:
        """Hold it for its whole `ttl_s` again; raises `TransientError` where another has taken it meanwhile."""
        other = self._leases.take(self, again=True)
        if other is not None:
            raise TransientError(f"The lease {self.name!r} was lost, since this holder was away for too long: {other}.")


class Leases:
    """The leases of one hub."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextlib.contextmanager
    def hold(self, name: str, *, ttl_s: float, wait_s: float) -> Iterator[Lease]:
        """Hold `name` for the body, waiting up to `wait_s` for it.

        A holder that died is succeeded when its `ttl_s` is over, so the body must not take longer than `ttl_s` from
        one `keep` of its lease to the next. Raises `TransientError` when the wait is over.
        """
        holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
        give_up = time.monotonic() + wait_s
        lease = Lease(self, name, holder, ttl_s)
        while (other := self.take(lease)) is not None:
            if time.monotonic() >= give_up:
                raise TransientError(
                    f"The lease {name!r} was not free within {wait_s:g} s: {other}.", retry_after=ttl_s
                )
            time.sleep(random.uniform(*_POLL_S))  # noqa: S311
        try:
            yield lease
        finally:
            self._give_back(lease)

    def take(self, lease: Lease, *, again: bool = False) -> str | None:
        """None when it is ours now, else who holds it, or has held it since we did."""
        with self._database.writing(f"lease {lease.name}") as connection:
            now_ms = clock_ms(connection)
            asked = select(table.c.holder, table.c.until).where(table.c.name == lease.name)
            held = connection.execute(asked).one_or_none()
            ours = held is not None and held.holder == lease.holder
            if held is not None and not ours and (again or to_ms(held.until) > now_ms):
                return f"{held.holder} holds it until {held.until:%Y-%m-%d %H:%M:%S} UTC"
            if held is not None and not ours:
                lease.rested_s = (now_ms - to_ms(held.until)) / 1000
            _TAKE.run(connection, [(lease.name, lease.holder, now_ms + round(lease.ttl_s * 1000))])
        return None

    def _give_back(self, lease: Lease) -> None:
        """The row stays: it says when the lease was held last."""
        with self._database.writing(f"lease {lease.name}") as connection:
            until = from_ms(clock_ms(connection))
            ours = (table.c.name == lease.name) & (table.c.holder == lease.holder) & (table.c.until > until)
            connection.execute(update(table).where(ours).values(until=until))

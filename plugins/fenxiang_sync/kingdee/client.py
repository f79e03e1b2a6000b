"""KingdeeClient: bill queries to one connection: logged in, paced, asked again where that may help."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import requests
from requests.auth import AuthBase

from fenxiang_sync.errors import RefusedError, SetupError, TransientError
from fenxiang_sync.kingdee.query import BillQuery
from fenxiang_sync.source.protocol import Client
from fenxiang_sync.targets.exchange import Bad, Exchange
from fenxiang_sync.targets.kingdee import KingdeeLogin
from fenxiang_sync.targets.kingdee_answers import entries_of, status_of
from fenxiang_sync.targets.kingdee_sender import FORM_SERVICE
from fenxiang_sync.targets.meaning import Meaning, of_status
from fenxiang_sync.targets.pace import Pace, Rate
from fenxiang_sync.targets.protocol import Endpoint, Reach
from fenxiang_sync.targets.results import look
from fenxiang_sync.targets.wire import Call, Reply, Wire, encode

PATH = FORM_SERVICE.format("ExecuteBillQuery")
TRIES = 4
"""How often a query is asked whose answer is of another shape."""


@dataclass(frozen=True, slots=True)
class _Manner:
    """How answers to queries are judged, and what is tried again."""

    tries: int = 6
    pauses: Sequence[float] = (1.0, 2.0, 4.0, 8.0)
    patience: float = 60.0

    def meaning(self, reply: Reply, *, fresh_token: bool) -> Meaning:  # noqa: ARG002 - a new session tells no more
        by_status = of_status(reply.status)
        if by_status is not Meaning.OK:
            return by_status
        status = status_of(reply.payload)
        if status:
            return Meaning.TOKEN if status.get("MsgCode") == 1 else Meaning.BAD_ROW
        return Meaning.OK if isinstance(reply.payload, list) else Meaning.FAILED

    def reason(self, reply: Reply) -> tuple[str, int | str]:
        status = status_of(reply.payload)
        said = [str(look(entry, "Message")) for entry in entries_of(status, "Errors")]
        code = status.get("ErrorCode")
        return "; ".join(said) or f"HTTP {reply.status}", code if isinstance(code, int | str) else reply.status


class _CountedWire(Wire):
    """A wire that counts what it sends, by path."""

    def __init__(self, session: requests.Session, endpoint: Endpoint, pace: Pace, *, now: Callable[[], float]) -> None:
        super().__init__(session, endpoint, pace, now=now)
        self.calls: Counter[str] = Counter()

    def send(self, call: Call, auth: AuthBase | None) -> Reply:
        self.calls[call.path] += 1
        return super().send(call, auth)


class QueryError(RefusedError):
    """Kingdee refuses this very query, and not whoever asks."""


class KingdeeClient:
    """For one thread. `calls` counts the requests made, by path; log-ins are among them."""

    def __init__(self, reach: Reach, connection: str, rate: Rate | None = None) -> None:
        endpoint = reach.endpoint(connection)
        if not endpoint.url:
            raise SetupError(f"connection {connection!r} has no host; set it to the address of Kingdee")
        manner = _Manner()
        self._connection = connection
        self._now = reach.now
        self._session = reach.session()
        pace = Pace(rate, patience=manner.patience, now=reach.now, sleep=reach.sleep)
        self._wire = _CountedWire(self._session, endpoint, pace, now=reach.now)
        self._auth = KingdeeLogin().open(endpoint, self._wire)
        self._exchange = Exchange(manner, self._wire, self._auth, reach)
        self.calls = self._wire.calls
        self.numeric: dict[tuple[str, str], bool] = {}
        """Whether the ids of a form are numbers, by form and key: found out once."""

    @classmethod
    def of(cls, client: Client) -> Self:
        """The client, where only one of Kingdee will do; raises `TypeError` for another source's."""
        if not isinstance(client, cls):
            raise TypeError(f"{type(client).__name__} is no client of Kingdee, which this source is read by")
        return client

    def close(self) -> None:
        """The connections are given back; the session ends at Kingdee by itself."""
        self._session.close()

    def rows(self, query: BillQuery) -> list[list[Any]]:
        """The rows, each with a value for every key. Raises `QueryError` with what Kingdee says of the query, where
        it says so twice: its errors do not tell whether a query is wrong or the database was busy."""
        call = Call(path=PATH, body=encode({"data": query.body()}))
        refused = False
        for _ in range(TRIES):
            reply = self._exchange.repeat(call)
            if isinstance(reply, Bad):
                if refused:
                    where = f"connection {self._connection!r}, form {query.form}"
                    raise QueryError(f"{where}: Kingdee refuses the query: {reply.reason}", code=reply.code)
                refused = True
            elif _answers(reply.payload, query):
                return list(reply.payload)
        raise TransientError(
            f"connection {self._connection!r}, form {query.form}: asked {TRIES} times for {len(query.keys)} fields of "
            f"at most {query.limit} rows, Kingdee sent rows of another shape"
        )

    def server_time(self) -> datetime:
        """See `Client.server_time`."""
        if not self._wire.dated:
            self._auth.renew()
        if not self._wire.dated:
            raise SetupError(
                f"{self._connection!r} sends no Date header, so its time is unknown; a proxy may remove it"
            )
        return datetime.fromtimestamp(self._now() + self._wire.skew, UTC)

    def skew(self) -> timedelta:
        """See `Client.skew`."""
        return self.server_time() - datetime.fromtimestamp(self._now(), UTC)


def _answers(payload: Any, query: BillQuery) -> bool:
    """Whether it is a page of the query."""
    return (
        isinstance(payload, list)
        and len(payload) <= query.limit
        and all(isinstance(row, list) and len(row) == len(query.keys) for row in payload)
    )

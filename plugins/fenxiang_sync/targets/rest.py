"""RestTarget: what HTTP targets share. A new one says its path, its envelope and how to read an answer.

How its rows are sent, and what becomes of them when a call is refused or its answer lost, is in ``sending``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from string import Formatter
from typing import Any

from requests.auth import AuthBase

from fenxiang_sync.errors import DeclarationError, SetupError
from fenxiang_sync.rows import DeletePolicy, Row
from fenxiang_sync.targets.auth import Auth, Basic
from fenxiang_sync.targets.envelope import Array, Envelope
from fenxiang_sync.targets.meaning import Meaning, Verdict
from fenxiang_sync.targets.pace import Pace, Rate
from fenxiang_sync.targets.protocol import Answer, Reach, Sender
from fenxiang_sync.targets.results import Counters, Results, Whole
from fenxiang_sync.targets.sending import RestSender
from fenxiang_sync.targets.single import FindOne, RemoveOne, filled
from fenxiang_sync.targets.wire import Call, Reply, Wire

_PATH = re.compile(r"/[^\s?#]*$")
_METHODS = ("POST", "PUT", "PATCH")
_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})


@dataclass(frozen=True, kw_only=True)
class RestTarget:
    """A declared HTTP target. Use it as it is, or give a class of your own its defaults.

    `upserts` is the one thing to know for certain: whether a row sent twice is there once.

    `path` may name fields of the declaration (``/v1/{scheme}/rows``), `headers` and `query` go with every write; none
    of them holds a secret. `auth` signs; without one, HTTP Basic where the connection has a login. `envelope` makes a
    body of rows, `verdict` judges an answer as a whole, `results` says what it tells of single rows.

    `batch_rows` rows are taken at a time and travel in calls of at most `call_rows` rows and `max_bytes` bytes.
    `omit_nulls` leaves nulls out of what is sent; a row nested deeper than `max_depth` is refused without a call.

    `tries` counts the calls made for one thing before giving up, `pauses` are the seconds between them (the last one
    repeats); `patience` is the longest pause (seconds) that is waited for in place, a longer one ends the batch with
    `retry_after`. After `most_lost` lost answers in a row that leave rows in doubt nothing more is sent.

    `key_header` is a header for the idempotency key of a call, which each try of it repeats, `key_field` a field for
    that of each row. Keys are made of ids, versions and hashes of the rows.

    `find_one` asks for a row by its id after a lost answer, and for `sample` rows after each segment. `flag_one` and
    `delete_one` say how a row is flagged or deleted.
    """

    connection: str
    path: str
    method: str = "POST"
    auth: Auth | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    envelope: Envelope = Array()
    verdict: Verdict = Verdict()
    results: Results = Whole()
    upserts: bool = False
    batch_rows: int = 100
    max_bytes: int = 1_000_000
    omit_nulls: bool = False
    max_depth: int | None = None
    rate: Rate | None = None
    gzip: bool = False
    tries: int = 4
    pauses: Sequence[float] = (1.0, 2.0, 4.0)
    patience: float = 60.0
    most_lost: int = 3
    key_header: str = ""
    key_field: str = ""
    find_one: FindOne | None = None
    sample: int = 0
    flag_one: RemoveOne | None = None
    delete_one: RemoveOne | None = None

    def __post_init__(self) -> None:
        for name, least in (
            ("batch_rows", 1), ("max_bytes", 1), ("tries", 1), ("patience", 0), ("most_lost", 1), ("sample", 0),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise self.wrong(name, f"it must be {least} or more")
        if not self.connection:
            raise self.wrong("connection", "name an Airflow connection")
        if self.method not in _METHODS:
            raise self.wrong("method", f"a write is one of {', '.join(_METHODS)}")
        if not self.pauses or min(self.pauses) < 0:
            raise self.wrong("pauses", "give seconds, as in (1, 2, 4)")
        if self.max_depth is not None and self.max_depth < 1:
            raise self.wrong("max_depth", "it must be 1 or more; a row without objects in it is 1 deep")
        for name in self.headers:
            if name.lower() in _SECRET_HEADERS:
                raise DeclarationError(
                    f"{type(self).__name__} headers: {name} carries a secret; put it into the connection, and say with "
                    "auth= how it travels"
                )
        self._check_path()
        if self.sample != type(self).sample and not self.finds:
            raise self.wrong("sample", "this target cannot be asked what it holds; leave it out")

    def wrong(self, name: str, way_out: str) -> DeclarationError:
        """The error for a field that cannot be meant."""
        return DeclarationError(f"{type(self).__name__} {name}={getattr(self, name)!r}: {way_out}")

    def _check_path(self) -> None:
        if not _PATH.match(self.path):
            raise self.wrong("path", 'it must be a path such as "/write", without query; the host is the connection\'s')
        for name in _placeholders(self.path):
            if not hasattr(self, name):
                raise self.wrong("path", f"{type(self).__name__} has no field {name!r} to put there")

    @property
    def connections(self) -> Sequence[str]:
        return (self.connection,)

    @property
    def finds(self) -> bool:
        """Whether the sender can say what the target holds (`Finder`)."""
        return self.find_one is not None

    @property
    def asks(self) -> int:
        """Of how many rows of a segment the target is asked afterwards (`Holder`)."""
        return self.sample if self.finds else 0

    @property
    def removals(self) -> AbstractSet[DeletePolicy]:
        """What can become of a row whose record is gone (`Removing`)."""
        return frozenset(policy for policy in (DeletePolicy.FLAG, DeletePolicy.DELETE) if self.removal(policy))

    def removal(self, policy: DeletePolicy) -> RemoveOne | None:
        """The call that carries `policy` out."""
        return {DeletePolicy.FLAG: self.flag_one, DeletePolicy.DELETE: self.delete_one}.get(policy)

    @property
    def tells(self) -> AbstractSet[str]:
        """The names of what it tells of a row that it took (`Telling`)."""
        return frozenset(getattr(self.results, "tells", ()))

    @property
    def call_rows(self) -> int:
        """How many rows one call carries at most."""
        blind = isinstance(self.results, Counters) and not self.upserts and not self.finds
        return 1 if blind else min(self.batch_rows, self.envelope.most_rows or self.batch_rows)

    def describe(self) -> str:
        """One line for the DAG page."""
        return f"{self.method} {self.path} (connection {self.connection})"

    def route(self) -> str:
        """The path of a write, from the root of the connection."""
        return filled(self.path, {name: getattr(self, name) for name in _placeholders(self.path)})

    def content(self, row: Row) -> dict[str, Any]:
        """What is sent of a row."""
        content = {**row.content, self.key_field: key_of([row])} if self.key_field else row.content
        return _without_nulls(content) if self.omit_nulls else content

    def call(self, rows: Sequence[Row], contents: Sequence[bytes]) -> Call:
        """A write of `rows`; `contents` is what is sent of each, encoded."""
        key = {self.key_header: key_of(rows)} if self.key_header else {}
        return Call(
            path=self.route(),
            body=self.envelope.pack(contents),
            method=self.method,
            kind=self.envelope.kind,
            headers={**self.headers, **key},
            query=self.query,
        )

    def objection(self, row: Row) -> Answer | None:  # noqa: ARG002 - for those that check
        """Why a row cannot be sent at all, None where it can."""
        return None

    def meaning(self, reply: Reply, *, fresh_token: bool) -> Meaning:
        """What an answer means for its call."""
        if self.key_header and reply.status == 409:  # the first try of this key is still at work
            return Meaning.FAILED
        return self.verdict.meaning(reply, fresh_token=fresh_token)

    def reason(self, reply: Reply) -> tuple[str, int | str]:
        """What the target says in an answer, and its code."""
        return self.verdict.reason(reply)

    def sender(self, wire: Wire, auth: AuthBase | None, reach: Reach) -> RestSender:
        return RestSender(self, wire, auth, reach)

    @contextmanager
    def open(self, reach: Reach) -> Iterator[Sender]:
        endpoint = reach.endpoint(self.connection)
        if not endpoint.url:
            raise SetupError(f"connection {self.connection!r} has no host; set it to the address of the target")
        pace = Pace(self.rate, patience=self.patience, now=reach.now, sleep=reach.sleep)
        with reach.session() as session:
            wire = Wire(session, endpoint, pace, now=reach.now, packed=self.gzip)
            auth = (self.auth or Basic(required=False)).open(endpoint, wire)
            yield self.sender(wire, auth, reach)


def key_of(rows: Sequence[Row]) -> str:
    """The idempotency key of rows: 32 hex digits, the same wherever these versions are sent together."""
    text = "\n".join(f"{row.id}\t{row.modified_ms}\t{row.version}\t{row.hash}" for row in rows)
    return sha256(text.encode()).hexdigest()[:32]


def _placeholders(path: str) -> list[str]:
    return [name for _, name, _, _ in Formatter().parse(path) if name]


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(part) for key, part in value.items() if part is not None}
    return [_without_nulls(part) for part in value] if isinstance(value, list) else value

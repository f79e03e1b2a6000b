"""QeasyStore: rows into a Qeasy (轻易云) scheme by its open API.

Facts are from the vendor's documents unless a comment says otherwise; they leave open how many rows a call takes and
what `store` does with an id that the scheme holds, and three pages disagree about error codes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import floor
from typing import Any, ClassVar

import msgspec
from requests.auth import AuthBase

from fenxiang_sync.errors import RefusedError, SetupError, ThrottledError, TransientError
from fenxiang_sync.rows import Row
from fenxiang_sync.targets.login import Grant, Place, TokenAuth
from fenxiang_sync.targets.meaning import Codes, Meaning, of_status
from fenxiang_sync.targets.pace import Rate
from fenxiang_sync.targets.protocol import Endpoint, Reach
from fenxiang_sync.targets.rest import Bad, RestSender, RestTarget
from fenxiang_sync.targets.results import Counters, Results, look
from fenxiang_sync.targets.wire import AnswerLostError, Reply, Wire, decode, encode

STORE_CODES = Codes(
    ok=frozenset({0}),
    bad_row=frozenset({40001, 40005, 40002}),
    token=frozenset({40102, 40002, 10001, 401}),
    throttled=frozenset({42901, 40029, 429}),
    refused=frozenset({40101, 40401, 40003, 404, 40301, 40004, 403}),
    failed=frozenset({50001, 50000, 500}),
)
"""Every documented code of a scheme's calls. 40002 is a bad token on one page and a wrong format on another."""

OAUTH_CODES = Codes(
    ok=frozenset({0}),
    throttled=frozenset({42901, 40029, 429}),
    failed=frozenset({50001, 50000, 500}),
    unlisted=Meaning.REFUSED,
)
"""The token endpoint: whatever is neither a throttle nor a failure is a refusal of app_key or app_secret."""

QEASY_RATE = Rate(calls=60, per_seconds=60, cool_down=300)

_SCHEME = re.compile(r"[A-Za-z0-9_-]+$")
_PAGE_ROWS = 100
_MOST_PAGES = 50
_MOST_SAMPLED = 1_000
_MARGIN_S = 5
"""How far before a call its rows are looked for: the clocks are compared to a second only."""


@dataclass(frozen=True, kw_only=True)
class QeasyStore(RestTarget):
    """POST /v2/open-api/business/{scheme}/store, batches of rows.

    Set ``upserts=True`` where the receiving scheme has a correct `id` and ``idCheck: false`` (overwrite). With
    ``idCheck: true`` it is safe too, but the scheme drops every later change of a row. Left False, nothing is sent
    twice unasked: after a lost answer or a partial failure the scheme is queried for what it stored meanwhile, by equal
    content. `look_up=False` is for a scheme that may not be queried: each call then carries one row.

    When a segment is delivered, the scheme is asked for the last `sample` rows of it; 0 asks for none.

    At most 60 calls a minute, and five minutes of silence after a throttle.

    >>> QeasyStore(scheme="demo").describe()
    'Qeasy store, scheme demo (connection qeasy)'
    """

    scheme: str
    connection: str = "qeasy"
    rate: Rate | None = QEASY_RATE
    look_up: bool = True
    sample: int = 100
    codes: Codes = STORE_CODES

    results: ClassVar[Results] = Counters(taken="content.inserted", failed="content.failed")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not _SCHEME.match(self.scheme):
            raise self.wrong("scheme", "give the id of the receiving scheme (letters, digits, - and _)")
        if type(self.sample) is not int or not 0 <= self.sample <= _MOST_SAMPLED:
            raise self.wrong("sample", f"give how many rows are asked for, 0 to {_MOST_SAMPLED:,}")

    @property
    def finds(self) -> bool:
        return self.look_up

    @property
    def asks(self) -> int:
        return self.sample if self.look_up else 0

    def describe(self) -> str:
        return f"Qeasy store, scheme {self.scheme} (connection {self.connection})"

    def route(self) -> str:
        return f"/v2/open-api/business/{self.scheme}/store"

    def envelope(self, contents: Sequence[msgspec.Raw]) -> Any:
        return {"content": contents}

    def meaning(self, reply: Reply, *, fresh_token: bool) -> Meaning:
        return meaning_of(reply, self.codes, fresh_token=fresh_token)

    def reason(self, reply: Reply) -> tuple[str, int | str]:
        code = look(reply.payload, "code")
        said = look(reply.payload, "message") or f"HTTP {reply.status}"
        return str(said), code if isinstance(code, int | str) else reply.status

    def auth(self, endpoint: Endpoint, wire: Wire, reach: Reach) -> AuthBase:
        for name, meant in (("login", "app_key"), ("password", "app_secret")):
            if not getattr(endpoint, name):
                raise SetupError(f"connection {self.connection!r} has no {name}; set it to the {meant} of Qeasy")
        place = endpoint.extra.get("token_in", Place.QUERY)
        if place not in list(Place):
            raise SetupError(
                f"connection {self.connection!r}: extra token_in={place!r} is neither 'query' nor 'header'"
            )
        return TokenAuth(lambda: self._grant(endpoint, wire), now=reach.now, place=Place(place))

    def sender(self, wire: Wire, auth: AuthBase | None, reach: Reach) -> RestSender:
        return QeasySender(self, wire, auth, reach)

    def _grant(self, endpoint: Endpoint, wire: Wire) -> Grant:
        body = encode({"app_key": endpoint.login, "app_secret": endpoint.password})
        try:
            reply = wire.post("/v2/oauth", body, None)
        except AnswerLostError as lost:
            # Only a token was lost, no row.
            raise TransientError(str(lost), code=lost.code) from None
        said, code = self.reason(reply)
        where = f"connection {self.connection!r}, /v2/oauth: {wire.blot(said)} (code {code})"
        match meaning_of(reply, OAUTH_CODES):
            case Meaning.OK:
                return self._granted(reply, where)
            case Meaning.THROTTLED:
                pause = wire.pace.back_off(reply.retry_after)
                raise ThrottledError(f"{where}; no call for {pause:.0f} s", code=code, retry_after=pause)
            case Meaning.FAILED:
                raise TransientError(where, code=code)
        raise RefusedError(f"{where}; check login (app_key) and password (app_secret) of the connection", code=code)

    def _granted(self, reply: Reply, where: str) -> Grant:
        token, life = look(reply.payload, "content.access_token"), look(reply.payload, "content.expires_in")
        if not isinstance(token, str) or not token:
            raise RefusedError(f"{where}; the answer has no content.access_token; is the host Qeasy's?")
        return Grant(token, float(life) if isinstance(life, int | Decimal) else 7200.0)


class QeasySender(RestSender):
    """Also a `Finder`: it looks through what the scheme stored since, by equal content."""

    _target: QeasyStore

    def find(self, rows: Sequence[Row], *, since: float) -> Sequence[bool | None]:
        stored: Counter[str] = Counter()
        ended = False
        for entries in self._pages(floor(since + self._wire.skew) - _MARGIN_S):
            stored.update(_canonical(_content(entry)) for entry in entries)
            ended = not entries
        held: list[bool | None] = []
        for row in rows:
            key = _canonical(decode(encode(row.content)))
            held.append(True if stored[key] > 0 else False if ended else None)
            stored[key] -= 1
        return held

    def _pages(self, begin_at: int) -> Iterator[list[Any]]:
        """What the scheme stored since (its clock, seconds), each row once. An empty page is the end; without one
        (a page that repeats, or too many) there may be more.
        """
        seen: set[str] = set()
        for page in range(1, _MOST_PAGES + 1):
            entries = self._page(page, begin_at)
            fresh = [entry for entry in entries if look(entry, "_id") not in seen]
            if fresh or not entries:
                yield fresh
            if not fresh:
                return
            seen.update(entry["_id"] for entry in fresh if look(entry, "_id"))

    def _page(self, page: int, begin_at: int) -> list[Any]:
        scheme = self._target.scheme
        body = {"page": page, "pageSize": _PAGE_ROWS, "begin_at": begin_at}
        reply = self.read(f"/v2/open-api/business/{scheme}/query", body)
        if isinstance(reply, Bad):
            raise RefusedError(f"scheme {scheme}: query was refused: {reply.reason}", code=reply.code)
        # `content.list` on one page of the documents, `content` itself on another.
        content = look(reply.payload, "content")
        entries = look(content, "list") if isinstance(content, dict) else content
        if not isinstance(entries, list):
            raise RefusedError(f"scheme {scheme}: the answer of query has no list of rows")
        return entries


def meaning_of(reply: Reply, codes: Codes, *, fresh_token: bool = False) -> Meaning:
    """HTTP status and body together: an error code in the body is more exact than the status, success needs both."""
    by_status = of_status(reply.status)
    code = look(reply.payload, "code")
    if isinstance(code, int | str) and look(reply.payload, "success") is not True and code not in codes.ok:
        return codes.of(code, fresh_token=fresh_token)
    if by_status is Meaning.OK and not (look(reply.payload, "success") is True and code in codes.ok):
        # A page, or nothing we know: whoever sent it, the rows may be stored.
        return Meaning.FAILED
    return by_status


def _content(entry: Any) -> Any:
    return entry.get("content", entry) if isinstance(entry, dict) else entry


def _canonical(value: Any) -> str:
    """One text for equal contents: keys sorted, null like absent, 1.50 like 1.5."""
    if isinstance(value, dict):
        parts = (f"{key!r}:{_canonical(part)}" for key, part in sorted(value.items()) if part is not None)
        return "{" + ",".join(parts) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_canonical, value)) + "]"
    if isinstance(value, int | Decimal | float) and not isinstance(value, bool):
        return format(Decimal(str(value)).normalize(), "f")
    return repr(value)

"""QeasyStore: rows into a Qeasy (轻易云) scheme by its open API.

Facts are from the vendor's documents unless a comment says otherwise; they leave open how many rows a call takes and
what `store` does with an id that the scheme holds, and three pages disagree about error codes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import floor
from typing import Any

from requests.auth import AuthBase

from fenxiang_sync.errors import RefusedError, SetupError
from fenxiang_sync.rows import Row
from fenxiang_sync.targets.auth import BEARER, Auth, Place, Query
from fenxiang_sync.targets.envelope import Array, Envelope
from fenxiang_sync.targets.exchange import Bad
from fenxiang_sync.targets.login import TokenEndpoint
from fenxiang_sync.targets.meaning import Codes, Meaning, Says, Verdict
from fenxiang_sync.targets.pace import Rate
from fenxiang_sync.targets.protocol import Endpoint, Reach
from fenxiang_sync.targets.rest import RestTarget
from fenxiang_sync.targets.results import Counters, Results, look
from fenxiang_sync.targets.sending import RestSender
from fenxiang_sync.targets.wire import Call, Wire, decode, encode

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

SUCCESS = Says("success", (True,))

QEASY_RATE = Rate(calls=60, per_seconds=60, cool_down=300)

_SCHEME = re.compile(r"[A-Za-z0-9_-]+$")
_PAGE_ROWS = 100
_MOST_PAGES = 50
_MOST_SAMPLED = 1_000
_MARGIN_S = 5
"""How far before a call its rows are looked for: the clocks are compared to a second only."""


def app_credentials(endpoint: Endpoint) -> Mapping[str, Any]:
    """What the token endpoint is posted."""
    return {"app_key": endpoint.login, "app_secret": endpoint.password}


@dataclass(frozen=True, kw_only=True)
class QeasyToken(TokenEndpoint):
    """The token of an app. The documents show it in the query and in a header: extra ``token_in`` says which."""

    path: str = "/v2/oauth"
    body: Callable[[Endpoint], Mapping[str, Any]] = app_credentials
    token: str = "content.access_token"  # noqa: S105 - a path
    expires_in: str = "content.expires_in"
    login_is: str = "app_key"
    password_is: str = "app_secret"  # noqa: S105 - a word of a message
    verdict: Verdict = Verdict(ok=SUCCESS, code="code", codes=OAUTH_CODES)

    def place(self, endpoint: Endpoint) -> Place:
        places: dict[str, Place] = {"query": Query("access_token"), "header": BEARER}
        said = endpoint.extra.get("token_in") or "query"
        if said not in places:
            raise SetupError(
                f"connection {endpoint.conn_id!r}: extra token_in={said!r} is neither 'query' nor 'header'"
            )
        return places[said]


@dataclass(frozen=True, kw_only=True)
class QeasyStore(RestTarget):
    """POST /v2/open-api/business/{scheme}/store, batches of rows. Rows cannot be removed from a scheme by its open API.

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
    path: str = "/v2/open-api/business/{scheme}/store"
    auth: Auth | None = QeasyToken()
    envelope: Envelope = Array(root="content")
    verdict: Verdict = Verdict(ok=SUCCESS, code="code", codes=STORE_CODES)
    results: Results = Counters(taken="content.inserted", failed="content.failed")
    rate: Rate | None = QEASY_RATE
    look_up: bool = True
    sample: int = 100

    def __post_init__(self) -> None:
        if type(self.sample) is not int or not 0 <= self.sample <= _MOST_SAMPLED:
            raise self.wrong("sample", f"give how many rows are asked for, 0 to {_MOST_SAMPLED:,}")
        super().__post_init__()
        if not _SCHEME.match(self.scheme):
            raise self.wrong("scheme", "give the id of the receiving scheme (letters, digits, - and _)")

    @property
    def finds(self) -> bool:
        return self.look_up

    def describe(self) -> str:
        return f"Qeasy store, scheme {self.scheme} (connection {self.connection})"

    def sender(self, wire: Wire, auth: AuthBase | None, reach: Reach) -> RestSender:
        return QeasySender(self, wire, auth, reach)


class QeasySender(RestSender):
    """Also a `Finder`: it looks through what the scheme stored since, by equal content."""

    _target: QeasyStore

    def find(self, rows: Sequence[Row], *, since: float) -> Sequence[bool | None]:
        if not self._target.finds:
            return [None] * len(rows)
        stored: Counter[str] = Counter()
        ended = False
        for entries in self._pages(floor(since + self._wire.skew) - _MARGIN_S):
            stored.update(_canonical(_content(entry)) for entry in entries)
            ended = not entries
        held: list[bool | None] = []
        for row in rows:
            key = _canonical(decode(encode(self._target.content(row))))
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
        reply = self.repeat(Call(path=f"/v2/open-api/business/{scheme}/query", body=encode(body)))
        if isinstance(reply, Bad):
            raise RefusedError(f"scheme {scheme}: query was refused: {reply.reason}", code=reply.code)
        # `content.list` on one page of the documents, `content` itself on another.
        content = look(reply.payload, "content")
        entries = look(content, "list") if isinstance(content, dict) else content
        if not isinstance(entries, list):
            raise RefusedError(f"scheme {scheme}: the answer of query has no list of rows")
        return entries


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

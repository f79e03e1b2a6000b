"""What a source is to the steps: a client of a connection, and an origin: what one declaration reads by it.

Records have ``_id`` (text) and ``last_modified_time`` (epoch milliseconds) whatever the source calls them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol, runtime_checkable

from fenxiang_sync.errors import RefusedError
from fenxiang_sync.rows import is_voided
from fenxiang_sync.window import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One answer of a query. `total` is a hint, None where the server gave none; `limit` and `offset` as echoed.

    `outside` counts records that came although they are not in the window that was asked for.
    """

    records: list[dict[str, Any]]
    total: int | None = None
    limit: int | None = None
    offset: int | None = None
    outside: int = 0


@dataclass(frozen=True, slots=True)
class Slice:
    """The records of a window whose `_id` is above `above` and not above `upto`; None is open. Ids are compared as
    text, or as the numbers that they are."""

    window: Window
    above: str | None = None
    upto: str | None = None
    numbers: bool = False

    @property
    def whole(self) -> bool:
        """Whether it is all of its window."""
        return self.above is None and self.upto is None

    def holds(self, record_id: str) -> bool:
        """Whether a record of its window is in it.

        >>> Slice(Window(0, 1), "99", "100").holds("100"), Slice(Window(0, 1), "99", "100", numbers=True).holds("100")
        (False, True)
        """
        order = _number if self.numbers else str
        return (self.above is None or order(record_id) > order(self.above)) and (
            self.upto is None or order(record_id) <= order(self.upto)
        )


@dataclass(frozen=True, slots=True)
class Piece:
    """A slice and how many records it holds: a hint, None where nothing is known."""

    slice: Slice
    count: int | None


class Sighting(NamedTuple):
    """One record as a sweep sees it; what the server leaves out is None. `version` is a number as text."""

    id: str
    modified_ms: int
    version: str | None
    life_status: str | None
    is_deleted: bool | None

    @property
    def voided(self) -> bool:
        """Whether it is in the recycle bin (作废)."""
        return is_voided(self.life_status, self.is_deleted)


class Client(Protocol):
    """Reading calls to one connection. `calls` counts the requests made, by path."""

    calls: Counter[str]

    def close(self) -> None:
        """Nothing more is asked for now."""
        ...

    def server_time(self) -> datetime:
        """The server's time by the Date header of its last answer; up to about 1 s behind it, never ahead."""
        ...

    def skew(self) -> timedelta:
        """How far the server's clock is ahead of ours (negative: behind), to about 1 s."""
        ...


class Origin(Protocol):
    """What a declared source reads, opened by a client: asked in windows of the change stamp."""

    def pages(
        self, part: Slice, projection: Sequence[str], *, after: str | None = None, page_size: int | None = None
    ) -> Iterator[Page]:
        """Pages of the records in the slice, by `_id`; with `after` behind the last id of an earlier reading that was
        cut off. Some may come twice, none stays away. Raises `IncompleteError` where that cannot be said."""
        ...

    def sweep(self, part: Slice) -> Iterator[Sighting]:
        """Every record in the slice, as id, stamp and what tells its state."""
        ...

    def count(self, window: Window) -> int | None:
        """About how many records are in the window, with a call or two; None where the server does not tell."""
        ...

    def cut(self, window: Window, *, most: int, pieces: int) -> Iterator[Piece]:
        """About `pieces` adjacent pieces at most that make up the window, each of about `most` records or fewer; none
        where the server holds nothing. A cut decides nothing about completeness."""
        ...

    def fetch(self, ids: Iterable[str], projection: Sequence[str], *, filtered: bool) -> Iterator[Page]:
        """The records with these ids as they are now; what is gone, or does not pass the source's own filter where it
        is `filtered`, is left out."""
        ...

    def look(self, ids: Iterable[str], *, filtered: bool) -> Iterator[Sighting]:
        """As `fetch`, but only what a sweep sees of each."""
        ...


@runtime_checkable
class Gettable(Protocol):
    """An origin that can also be asked for one record in another way than by a query."""

    def get(self, record_id: str) -> dict[str, Any] | RefusedError | None:
        """The record, None where the server answers without one, or its refusal of this very id."""
        ...


@runtime_checkable
class Checkable(Protocol):
    """An origin that asks the server itself, before a run, whether it knows what is asked for."""

    def check(self, projection: Sequence[str]) -> None:
        """Raise `DeclarationError` where it does not, naming what."""
        ...


class Readable(Protocol):
    """A declared source. `counts`: it tells how many records a window holds. `at_once`: how many slices are worth
    reading at once. `grain`: how exact its stamps are; windows end on it."""

    @property
    def object(self) -> str:
        """What is read there, by its name."""
        ...

    @property
    def connection(self) -> str: ...

    @property
    def lookback(self) -> timedelta: ...

    @property
    def settle(self) -> timedelta: ...

    @property
    def page_size(self) -> int: ...

    @property
    def most_records(self) -> int:
        """How many records a segment holds."""
        ...

    @property
    def counts(self) -> bool: ...

    @property
    def at_once(self) -> int: ...

    @property
    def grain(self) -> timedelta: ...

    def opened(self, client: Client) -> Origin:
        """What it reads, by a client of its connection."""
        ...


def _number(record_id: str) -> Any:
    return int(record_id)

"""What a target is: a declaration that opens into a sender, and what a sender answers for each row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import requests

from fenxiang_sync.columns import Column
from fenxiang_sync.errors import SetupError
from fenxiang_sync.rows import DeletePolicy, Row
from fenxiang_sync.targets.crm import Crm, no_crm
from fenxiang_sync.window import Window

if TYPE_CHECKING:
    from sqlalchemy.engine import URL


class Delivery(StrEnum):
    """What the target said of one row."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    """It will not take this row; it took nothing of it. The row becomes a dead letter."""
    UNKNOWN = "unknown"
    """The answer was lost: it may hold the row or not."""
    STALE = "stale"
    """It holds a newer version of this row, which it kept."""
    AGAIN = "again"
    """Not settled, and safe to send again: the call failed before this row was taken, or the target upserts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The target's answer for one row, in the order of the batch. `retry_after` (seconds) belongs to AGAIN.

    `told` belongs to DELIVERED: what the target says of the row that it took, by name, as in ``{"Id": 100001}``.
    `touched` belongs to removals that did not succeed: part of it was done, so that the target does not hold the row as
    it was sent.
    """

    delivery: Delivery
    reason: str = ""
    code: int | str | None = None
    retry_after: float | None = None
    told: Mapping[str, str | int] = field(default_factory=dict)
    touched: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An Airflow connection as a target needs it; `password` never shows in a repr."""

    conn_id: str
    url: str
    login: str = ""
    password: str = field(default="", repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """What a target is opened for: one part of a run (``segment-0001``, ``removals``). A retry of it is the same."""

    pipeline: str
    run: str
    part: str


def _no_storage(url: str, conn_id: str | None) -> Any:
    raise SetupError(f"Nobody gives this process a storage, so {url!r} (connection {conn_id!r}) cannot be opened")


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """An Airflow connection to a database. The password is in `url`, whose repr hides it; `options` are what the driver
    is given besides."""

    conn_id: str
    url: URL
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


def no_database(conn_id: str) -> Database:
    """The databases of a reach that leads to none."""
    raise SetupError(f"connection {conn_id!r}: no database can be reached from here")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What a target may reach when it opens. The caller gives it; the target takes nothing else from outside.

    `endpoint(conn_id)`, `database(conn_id)` and `crm(conn_id)` raise `SetupError` for a connection that is not there;
    who asks for a CRM closes it. `session()` is a
    new session with the deployment's TLS, proxies and time-outs. `sleep(seconds)` waits; `now()` is epoch seconds.
    `storage(url, conn_id)` is a folder that looks like a ``pathlib.Path``; it raises `SetupError` where there is no
    driver for it.
    `errand` is None where nobody said what it is opened for.
    """

    endpoint: Callable[[str], Endpoint]
    session: Callable[[], requests.Session]
    sleep: Callable[[float], None]
    now: Callable[[], float]
    storage: Callable[[str, str | None], Any] = _no_storage
    errand: Errand | None = None
    database: Callable[[str], Database] = no_database
    crm: Callable[[str], Crm] = no_crm


class Sender(Protocol):
    """An open target."""

    def send(self, rows: Sequence[Row]) -> Sequence[Answer]:
        """Deliver one batch (at most `Target.batch_rows`); one answer per row, in order.

        Raises only while no row has an answer: `TransientError` (the same batch may be sent again: nothing was taken,
        or the target upserts), `RefusedError` (nothing can be delivered: credentials, permission, path), `SetupError`.
        When that happens later in a batch, the rows without an answer are answered `Delivery.AGAIN`.
        """
        ...


@runtime_checkable
class Finder(Protocol):
    """A sender that can also say what the target holds."""

    def find(self, rows: Sequence[Row], *, since: float) -> Sequence[bool | None]:
        """Whether the target holds each row as it is, stored at `since` (our epoch seconds) or later.

        None where that cannot be told. False right after a time-out is no proof: the write may still be under way.
        """
        ...


@runtime_checkable
class Teller(Protocol):
    """A sender that can also be asked what it tells of rows that it holds, where their answer was lost."""

    def tell(self, rows: Sequence[Row]) -> Sequence[Mapping[str, str | int]]:
        """What an answer would have told of each row, in order; empty for a row that the target does not hold. Raises
        as `Sender.send` does."""
        ...


@runtime_checkable
class Telling(Protocol):
    """A target that tells something of a row that it took."""

    @property
    def tells(self) -> AbstractSet[str]:
        """The names of what it tells; none where its declaration names none."""
        ...


def tells_of(target: object) -> AbstractSet[str]:
    """The names of what a target tells of a row that it took."""
    return target.tells if isinstance(target, Telling) else frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """One row to be removed: the id and number it was sent with, its content then, and the word that says why
    (``voided``, ``left``, ``vanished``; ``orphaned``: its record is there, and gives it no more). `stays` are the
    contents of the rows that its record does give: where one of them is the same thing at the target, as after a change
    of the key, that stays as it is."""

    id: str
    source_id: str
    number: str | None
    modified_ms: int
    version: int
    content: Mapping[str, Any]
    why: str
    stays: Sequence[Mapping[str, Any]] = ()


@runtime_checkable
class Remover(Protocol):
    """A sender that can also take rows away."""

    def remove(self, removals: Sequence[Removal], *, policy: DeletePolicy) -> Sequence[Answer]:
        """Flag or delete one batch (at most `Target.batch_rows`); one answer per row, in order. A row that is not
        there any more is `Delivery.DELIVERED`: the second time leaves the same state. One whose answer was lost is
        `Delivery.UNKNOWN`, also where it may be sent again: should its record come back, it is delivered anew. Raises
        as `Sender.send` does.
        """
        ...


@runtime_checkable
class Removing(Protocol):
    """A target that can take rows away: what it opens is a `Remover`."""

    @property
    def removals(self) -> AbstractSet[DeletePolicy]:
        """What it can do: FLAG, DELETE or both."""
        ...


def removals_of(target: object) -> AbstractSet[DeletePolicy]:
    """The delete policies that a target can carry out, beside ignoring."""
    return target.removals if isinstance(target, Removing) else frozenset()


@runtime_checkable
class BringingBack(Protocol):
    """A target whose rows keep their mark when they are written, so that it has to be taken away."""

    @property
    def brings_back(self) -> bool:
        """Whether it takes the mark away where a row `returns`."""
        ...


@runtime_checkable
class Holder(Protocol):
    """A sender whose target is asked, when a segment is delivered, whether it has what it said it took."""

    @property
    def sample(self) -> int | None:
        """Of how many rows of a segment (the last ones) it is asked; None: of all, 0: of none."""
        ...

    def holds(self, rows: Sequence[Row], *, since: float) -> Sequence[bool | None]:
        """Whether the target holds each row as it is, sent at `since` (our epoch seconds) or later.

        Patient: False once what was taken has had its time to show. None where that cannot be told.
        """
        ...


@runtime_checkable
class Counting(Protocol):
    """A sender whose target can be counted, so that one that was truncated or restored is found.

    Where it is a `Holder` as well, it can be asked for any row that it ever took, with ``since=0``: that is how a
    reconcile finds which rows are gone.
    """

    def count(self) -> int | None:
        """How many rows of this pipeline the target holds now, those that are flagged as removed left out.

        None where that cannot be told. Others' rows may be among them: only too few say something. Raises as
        `Sender.send` does.
        """
        ...


@runtime_checkable
class Target(Protocol):
    """A declared target: frozen, with real values, no secret; checked when built."""

    @property
    def batch_rows(self) -> int:
        """How many rows one `Sender.send` takes at most."""
        ...

    @property
    def upserts(self) -> bool:
        """True where sending a row twice leaves it there once."""
        ...

    @property
    def connections(self) -> Sequence[str]:
        """The Airflow connections it needs; empty for the hub."""
        ...

    def describe(self) -> str:
        """One line for the DAG page, without secrets: ``Qeasy store, scheme 123 (connection qeasy)``."""
        ...

    def open(self, reach: Reach) -> AbstractContextManager[Sender]:
        """Open it; raises `SetupError` where a connection lacks something, naming it."""
        ...


@runtime_checkable
class Fitting(Protocol):
    """A target that needs to know what rows it will take: a table has columns."""

    def fit(self, columns: Sequence[Column], *, key: str) -> Target:
        """The same target for rows of these columns, whose id is at the path `key`; asked once, when the pipeline is
        declared. Raises `DeclarationError` where it cannot take them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A run whose numbers add up: the `windows` that it read or compared, and its numbers as JSON."""

    pipeline: str
    run: str
    windows: Sequence[Window]
    numbers: Mapping[str, Any]


@runtime_checkable
class Finishing(Protocol):
    """A target that shows a run to its readers only when all of it is there."""

    def finish(self, finished: Finished, reach: Reach) -> None:
        """The run is complete; called before it is certified, and again if that fails: the second time leaves the same
        state. Raises `IncompleteError` where the target lacks what it took, else as `Sender.send` does.
        """
        ...


@runtime_checkable
class Checking(Protocol):
    """A target that can be asked, without a row, whether a run would find what it needs."""

    def describe(self) -> str:
        """As `Target.describe`."""
        ...

    def check(self, reach: Reach) -> None:
        """Ask, and change nothing; raises what a run would fail with."""
        ...

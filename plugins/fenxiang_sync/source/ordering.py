"""Ordering: how a server sorts and compares ids, where some have 24 and some 32 hex digits.

A keyset is complete only where sorting and GT agree. Whether they do over both forms of id is not documented, so it is
found out: sorting may put every shorter id first, and so may comparing.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from itertools import pairwise

from fenxiang_sync.source.reader import ID, Reader

ABOVE_SHORT = "f" * 24
"""No hex id of any length is far above it as text; compared by length every 32-digit id is."""
BELOW_LONG = "0" * 32
"""No 24-digit id is below it as text; compared by length every one is."""


class Order(Enum):
    """How the ids of a page follow the cursor and one another."""

    TEXT = "as text"
    LENGTH = "by length, then as text"
    NONE = "not at all"


def order_of(ids: Sequence[str], cursor: str | None, *, ascending: bool = True) -> Order:
    """
    >>> order_of(["a", "b"], None), order_of(["a", "b"], "b"), order_of(["c", "bb"], "a")
    (<Order.TEXT: 'as text'>, <Order.NONE: 'not at all'>, <Order.LENGTH: 'by length, then as text'>)
    """
    chain = list(ids) if ascending else list(reversed(ids))
    if cursor is not None and not all(each > cursor if ascending else each < cursor for each in chain):
        return Order.NONE
    if all(one < other for one, other in pairwise(chain)):
        return Order.TEXT
    if all((len(one), one) < (len(other), other) for one, other in pairwise(chain)):
        return Order.LENGTH
    return Order.NONE


def number_of(record_id: str) -> int:
    """
    >>> id_of(number_of("65aa")), number_of("not hex")
    ('65aa0000000000000000000000000000', 0)
    """
    try:
        return int(record_id[:32].ljust(32, "0"), 16)
    except ValueError:
        return 0


def id_of(number: int) -> str:
    """The 32-digit id of a number; between two such ids are, as text, the 24-digit ones."""
    return f"{number:032x}"


def compares_by_length(reader: Reader) -> bool:
    """Whether GT puts every longer id above every shorter one; asked once for each object."""
    known = reader.client.habits.compares_by_length
    if reader.object_name not in known:
        # Whoever believed this of a server that compares as text would read nothing at all: so it is asked twice.
        known[reader.object_name] = _is_beyond_short(reader) and _is_beyond_short(reader)
    return known[reader.object_name]


def _is_beyond_short(reader: Reader) -> bool:
    found = reader.first_beyond(ABOVE_SHORT)
    return found is not None and found < ABOVE_SHORT


def sorts_by_length(reader: Reader, short: str, long: str) -> bool:
    """Whether the server sorts `short` before `long`, which as text comes before it; asked once for each object.

    True also where one of the two is gone: then it is not known, and reading goes the safe way.
    """
    known = reader.client.habits.sorts_by_length
    if reader.object_name in known:
        return known[reader.object_name]
    came = [record[ID] for record in reader.among((short, long)).records]
    if sorted(came) == sorted((short, long)):
        known[reader.object_name] = came == [short, long]
    return came != [long, short]

"""turns: how a task takes its turn at rows that others work at too: leases, batches, waiting."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from fenxiang_sync.errors import TransientError
from fenxiang_sync.targets.protocol import Reach

log = logging.getLogger(__name__)

T = TypeVar("T")

LEASE_S = 900.0
"""How long a claim keeps other runs off a row; longer than sending one claim's rows takes."""
BUSY_S = 5.0
"""How long to wait before asking again for rows that another run has claimed."""


def groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of `size`, the last one shorter."""
    left = iter(items)
    while group := list(islice(left, size)):
        yield group


def wait_for(first: str, rows: int, waited: float, reach: Reach) -> float:
    """Wait once more for rows that another run has claimed; how long that makes. Raises `TransientError` where it took
    longer than a lease."""
    if waited > LEASE_S:
        raise TransientError(
            f"{rows} rows (the first is {first!r}) have been claimed by another run for over {LEASE_S:.0f} s; this "
            "task tries again later"
        )
    log.info("%d rows are being delivered by another run; asking again in %.0f s", rows, BUSY_S)
    reach.sleep(BUSY_S)
    return waited + BUSY_S

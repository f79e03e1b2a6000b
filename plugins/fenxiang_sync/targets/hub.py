"""HubTarget: the hub itself is the target (写入空操作). Nothing is sent anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ClassVar

from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.rows import DeletePolicy, Row
from fenxiang_sync.targets.protocol import Answer, Delivery, Reach, Removal, Sender


@dataclass(frozen=True, kw_only=True)
class HubTarget:
    """The row is delivered when the ledger has stored it; who needs it reads it there.

    Flagged is a row with a `removed_at`, deleted one without content besides.

    >>> HubTarget().describe()
    '写入空操作: rows stay in the hub'
    """

    batch_rows: int = 1_000

    upserts: ClassVar[bool] = True
    connections: ClassVar[Sequence[str]] = ()
    removals: ClassVar[AbstractSet[DeletePolicy]] = frozenset((DeletePolicy.FLAG, DeletePolicy.DELETE))

    def __post_init__(self) -> None:
        if self.batch_rows < 1:
            raise DeclarationError(f"HubTarget batch_rows={self.batch_rows!r}: a batch has at least 1 row")

    def describe(self) -> str:
        return "写入空操作: rows stay in the hub"

    def open(self, reach: Reach) -> AbstractContextManager[Sender]:  # noqa: ARG002 - it needs nothing from outside
        return nullcontext(_HubSender())


class _HubSender:
    def send(self, rows: Sequence[Row]) -> Sequence[Answer]:
        return [Answer(delivery=Delivery.DELIVERED)] * len(rows)

    def remove(self, removals: Sequence[Removal], *, policy: DeletePolicy) -> Sequence[Answer]:  # noqa: ARG002
        return [Answer(delivery=Delivery.DELIVERED)] * len(removals)

"""Row: what a record becomes on its way to the target; Outcome: what became of a record."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """What happened to one record in one run. Every record that was read ends with exactly one."""

    DELIVERED = "delivered"
    UNCHANGED = "unchanged"
    STALE = "stale"
    FILTERED = "filtered"
    IN_DOUBT = "in_doubt"
    DEAD_LETTER = "dead_letter"


class IdCheck(StrEnum):
    """What an id that the ledger already holds means for a row (idCheck, 轻易云)."""

    UPSERT_ON_CHANGE = "upsert_on_change"
    """Ours: the same content is not sent again, changed content is."""
    SKIP_EXISTING = "skip_existing"
    """Qeasy ``idCheck: true``: an id is sent once; later changes are not (REPEAT)."""
    OVERWRITE = "overwrite"
    """Qeasy ``idCheck: false``: every reading is sent."""


class DeletePolicy(StrEnum):
    """What becomes of a row whose record is voided (作废) or gone."""

    IGNORE = "ignore"
    """The row stays as it is."""
    FLAG = "flag"
    """The row stays and is marked as removed."""
    DELETE = "delete"
    """The row is taken away; a voided record gives none any more."""


def is_voided(life_status: object, is_deleted: object) -> bool:
    """Whether a record is voided: its life status says so (vendor documentation), or it is in the recycle bin.

    >>> is_voided("invalid", None), is_voided("normal", True), is_voided("normal", False)
    (True, True, False)
    """
    return life_status == "invalid" or is_deleted is True or is_deleted == "true"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row for the target.

    `id` is the row's key at the target, `source_id` the Fenxiang ``_id`` it came from. Rows of one id are
    ordered by (`modified_ms`, `version`): Fenxiang's ``last_modified_time`` in epoch milliseconds and its
    ``version``. `hash` is of `content` alone. `voided`: the record is in the recycle bin. `flagged`: the row is
    marked as removed at the target, and stays so; `returns`: it is marked, and its record gives it again; `held`: the
    ledger has the row at the target (told only to the target, with what is sent; `returns` to one that brings rows
    back, `held` to one that looks records up).
    """

    id: str
    source_id: str
    number: str | None
    modified_ms: int
    version: int
    content: dict[str, Any]
    hash: str
    voided: bool = False
    flagged: bool = False
    returns: bool = False
    held: bool = False

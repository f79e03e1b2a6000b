"""The time variables (变量): what a value made of them means for a window.

``LAST_SYNC_TIME`` is in Unix seconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum

from fenxiang_sync.convert import SHANGHAI, time_zone
from fenxiang_sync.qeasy.expressions import OutsideError, is_function, linear
from fenxiang_sync.qeasy.references import TIME, Reference, pieces

_TEXTS = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d")


class Anchor(Enum):
    """What a moment is counted from."""

    LAST = "the last run"
    NOW = "now"
    FIXED = "a moment that is written down"


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment in a request: so long before `anchor`, or the fixed one."""

    anchor: Anchor
    before: timedelta = timedelta()
    at: datetime | None = None


def moment(said: str) -> Moment | None:
    """The moment that a value means, None where it means none.

    >>> moment("_function ({{LAST_SYNC_TIME}} - 600) * 1000").before
    datetime.timedelta(seconds=600)
    >>> moment("{LAST_SYNC_TIME}000").anchor, moment("{{DAYS_AGO_2|timestamp_ms}}").before.days
    (<Anchor.LAST: 'the last run'>, 2)
    """
    if is_function(said):
        return _calculated(said)
    match pieces(said.strip()):
        case [Reference() as one] | [Reference() as one, "000"]:
            return _variable(one.name)
        case [str() as constant]:
            return _fixed(constant)
        case _:
            return None


def _variable(name: str) -> Moment | None:
    found = TIME.fullmatch(name)
    if found is None:
        return None
    if found[2]:
        return Moment(Anchor.NOW, timedelta(days=int(found[2])))
    if found[3]:
        return Moment(Anchor.NOW, timedelta(minutes=int(found[3])))
    return Moment(Anchor.LAST if name == "LAST_SYNC_TIME" else Anchor.NOW)


def _calculated(said: str) -> Moment | None:
    try:
        name, factor, offset = linear(said)
    except OutsideError:
        return None
    plain = _variable(name)
    if plain is None or factor <= 0:
        return None
    try:
        later = timedelta(seconds=int(Decimal(offset / factor)))
        return Moment(plain.anchor, plain.before - later)
    except (OverflowError, ArithmeticError):
        return None


def _fixed(said: str) -> Moment | None:
    if re.fullmatch(r"\d{10}|\d{13}", said, re.ASCII):
        return Moment(Anchor.FIXED, at=datetime.fromtimestamp(int(said[:10]), UTC))
    for form in _TEXTS:
        try:
            return Moment(
                Anchor.FIXED, at=datetime.strptime(said, form).replace(tzinfo=time_zone(SHANGHAI)).astimezone(UTC)
            )
        except ValueError:
            continue
    return None

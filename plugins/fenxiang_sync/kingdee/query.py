"""BillQuery: what ExecuteBillQuery is asked. Its filter is SQL as text, so every value of ours is written here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from fenxiang_sync.errors import DeclarationError

MOST_ROWS = 10_000
"""A query gives 2,000 rows, in later versions 10,000 (commonly known of the product)."""
LONGEST = 2_000
"""How long a filter of one's own may be, in characters."""

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}(?:\.[A-Za-z_][A-Za-z0-9_]{0,99}){0,4}", re.ASCII)
_FORM = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}", re.ASCII)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  Kingdee's moments are local, and have no zone
_SUMMERS = range(2000, 2050)
"""The years in which a zone must keep to one offset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BillQuery:
    """Rows of `keys`, in the order of `order` (each key ascends), from the row number `start` on."""

    form: str
    keys: Sequence[str]
    where: Sequence[str] = ()
    order: Sequence[str] = ()
    limit: int
    start: int = 0

    def body(self) -> dict[str, Any]:
        return {
            "FormId": self.form,
            "FieldKeys": ",".join(self.keys),
            "FilterString": " and ".join(self.where),
            "OrderString": ",".join(f"{key} ASC" for key in self.order),
            "TopRowCount": 0,
            "StartRow": self.start,
            "Limit": self.limit,
        }


def literal(value: str | int) -> str:
    """A value as it stands in a filter.

    >>> print(literal(7), literal("O'Neill"))
    7 'O''Neill'
    """
    if isinstance(value, int):
        return str(value)
    if "\0" in value:
        raise DeclarationError(f"{value!r} cannot be a value of a filter: it holds a NUL")
    return "'" + value.replace("'", "''") + "'"


def among(key: str, values: Iterable[str | int]) -> str:
    """The condition that a key has one of the values."""
    return f"{key} in ({','.join(map(literal, values))})"


def is_key(name: object) -> bool:
    """Whether it is a field key: a name, dotted where it leads into what the field refers to.

    >>> is_key("FBaseUnitId.FNumber"), is_key("FEntity_FQty"), is_key("FName; drop table"), is_key("lines.0.name")
    (True, True, False, False)
    """
    return isinstance(name, str) and _KEY.fullmatch(name) is not None


def is_form(name: object) -> bool:
    return isinstance(name, str) and _FORM.fullmatch(name) is not None


def where_problems(where: object) -> Iterator[str]:
    """What is wrong with a filter of one's own: it must be one condition in itself, whatever stands around it."""
    if not isinstance(where, str):
        yield f"where={where!r}: give a FilterString of Kingdee, as in \"FUseOrgId.FNumber = '100'\""
        return
    if len(where) > LONGEST:
        yield f"where has {len(where):,} characters; at most {LONGEST:,} are sent with every query"
    bare = re.sub(r"'(?:[^']|'')*'", "''", where)
    if bare.count("'") % 2:
        yield f"where={where!r}: a text does not end; a quote inside of one is written twice, as in 'O''Neill'"
    elif found := next((each for each in (";", "--", "/*", "\0") if each in bare), None):
        yield f"where={where!r}: {found!r} would end the filter or hide the rest of it; leave it out"
    elif not _balanced(bare):
        yield f"where={where!r}: its parentheses do not match"


def _balanced(bare: str) -> bool:
    depth = 0
    for letter in bare:
        depth += (letter == "(") - (letter == ")")
        if depth < 0:
            return False
    return depth == 0


@dataclass(frozen=True, slots=True)
class LocalTime:
    """The time of the ERP's server, which writes stamps without a zone: one offset from UTC, all year."""

    offset: timedelta

    @classmethod
    def of(cls, zone: str) -> LocalTime:
        """That of a zone; raises `DeclarationError` where an hour comes twice a year there, so that a stamp is
        ambiguous."""
        known = ZoneInfo(zone)
        offsets = {
            datetime(year, month, 1, tzinfo=known).utcoffset() for year in _SUMMERS for month in range(1, 13)
        }  # fmt: skip
        [offset, *others] = offsets
        if others or offset is None:
            raise DeclarationError(
                f"{zone} has summer time, or has changed its offset: a stamp without a zone would mean two moments "
                "there. Give a zone that keeps one offset, as in 'Asia/Shanghai' or 'UTC'"
            )
        return cls(offset)

    def written(self, ms: int, *, up: bool = False) -> str:
        """Epoch milliseconds as a stamp in whole seconds, rounded down or `up`.

        >>> LocalTime.of("Asia/Shanghai").written(1_700_000_000_001, up=True)
        '2023-11-15 06:13:21'
        """
        seconds = -(-ms // 1000) if up else ms // 1000
        return (_EPOCH + timedelta(seconds=seconds) + self.offset).strftime("%Y-%m-%d %H:%M:%S")

    def read(self, stamp: object) -> int | None:
        """The epoch milliseconds of a stamp, floored; None where it is none.

        >>> LocalTime.of("Asia/Shanghai").read("2023-11-15T06:13:20.1234567"), LocalTime.of("UTC").read("soon")
        (1700000000123, None)
        """
        try:
            moment = datetime.fromisoformat(stamp) if isinstance(stamp, str) else None
        except ValueError:
            return None
        if moment is None:
            return None
        local = moment - self.offset if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
        return (local - _EPOCH) // timedelta(milliseconds=1)

"""Values: one value of a row becomes what the driver is given, exactly as it is, or `ValueError` says why it cannot."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec

from fenxiang_sync.columns import Kind

Bind = Callable[[Any], Any]

_json = msgspec.json.Encoder(decimal_format="number")
_INT64 = range(-(2**63), 2**63)
_SHOWN = 60


def json_text(value: Any) -> str:
    """
    >>> json_text({"标签": ["a", Decimal("0.10")]})
    '{"标签":["a",0.10]}'
    """
    return _json.encode(value).decode()


def text(most: int | None = None) -> Bind:
    """Text of at most so many characters."""

    def bound(value: Any) -> str:
        if type(value) is not str:
            raise ValueError(f"{_shown(value)} is no text")
        if most is not None and len(value) > most:
            raise ValueError(f"it has {len(value)} characters, and the column holds {most}")
        if not value.isascii():
            value.encode()  # half a character (a lone surrogate) is a ValueError here, and would break a batch later
        return value

    return bound


def whole(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"{_shown(value)} is no whole number")
    if value not in _INT64:
        raise ValueError(f"{_shown(value)} does not fit in 64 bits")
    return value


def exact(precision: int | None, scale: int | None) -> Bind:
    """Digits of a number that the column holds without rounding; no limit where `precision` is None.

    >>> exact(5, 2)(Decimal("100.5")), exact(None, None)(Decimal("1E+2"))
    ('100.50', '100')
    """
    if precision is None:
        return lambda value: format(_number(value), "f" if scale is None else f".{scale}f")
    decimals = scale or 0
    room = precision - decimals
    form = f".{decimals}f"

    def bound(value: Any) -> str:
        number = _number(value)
        written = format(number, form)
        if Decimal(written) != number:
            raise ValueError(f"{_shown(number)} has more than the {decimals} decimals of the column")
        if number and number.adjusted() >= room:
            raise ValueError(f"{_shown(number)} has more than the {room} digits of the column before the point")
        return written

    return bound


def truth(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError(f"{_shown(value)} is not true or false")
    return value


def moment(write: Callable[[datetime], str]) -> Bind:
    """A moment with its offset, written in UTC."""

    def bound(value: Any) -> str:
        try:
            found = datetime.fromisoformat(value)
        except (TypeError, ValueError):
            raise ValueError(f"{_shown(value)} is no moment") from None
        if found.tzinfo is None:
            raise ValueError(f"{_shown(value)} has no offset, so it could be meant anywhere")
        try:
            return write(found.astimezone(UTC))
        except OverflowError:
            raise ValueError(f"{_shown(value)} is outside the years 1 to 9999") from None

    return bound


def day(value: Any) -> str:
    try:
        return date.fromisoformat(value).isoformat()
    except (TypeError, ValueError):
        raise ValueError(f"{_shown(value)} is no day") from None


def sql_moment(at: datetime) -> str:
    """As MySQL reads it, in UTC.

    >>> sql_moment(datetime(2026, 1, 2, 3, tzinfo=UTC))
    '2026-01-02 03:00:00.000000'
    """
    return at.replace(tzinfo=None).isoformat(" ", "microseconds")


def iso_moment(at: datetime) -> str:
    """ISO 8601 of one width, so that the order of the texts is the order of the moments.

    >>> iso_moment(datetime(2026, 1, 2, 3, tzinfo=UTC))
    '2026-01-02T03:00:00.000000+00:00'
    """
    return at.isoformat("T", "microseconds")


PLAIN: dict[Kind, Bind] = {Kind.INTEGER: whole, Kind.BOOLEAN: truth, Kind.DAY: day, Kind.JSON: json_text}


def _number(value: Any) -> Decimal:
    if type(value) is int or isinstance(value, Decimal):
        return Decimal(value)
    raise ValueError(f"{_shown(value)} is no number")


def _shown(value: Any) -> str:
    said = repr(value) if not isinstance(value, Decimal) else str(value)
    return said if len(said) <= _SHOWN else said[:_SHOWN] + "…"

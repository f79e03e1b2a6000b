"""Arithmetic: MySQL's numbers, exactly.

A division shows four decimals more than its first number has, and what is worked out of it further goes on from the
exact value, as MySQL does: 1 / 3 is 0.3333, and 1 / 3 * 3 is 1.0000. A text that is no number raises `ValueError`.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal
from typing import Any

from fenxiang_sync import convert

_CONTEXT = Context(prec=400)
_MORE_DECIMALS = 4
_MOST_DECIMALS = 30


class Quotient(Decimal):
    """A number that comes of a division, rounded as it is shown; `exact` is what is worked with further."""

    exact: Decimal


def number(value: Any) -> Decimal | None:
    """A number of what may be one; "" is 0.

    >>> number("2.50"), number(""), number(None)
    (Decimal('2.50'), Decimal('0'), None)
    """
    if value is None or isinstance(value, Quotient):
        return value
    if isinstance(value, bool):
        return Decimal(value)
    if isinstance(value, str):
        value = value.strip() or "0"
    found: Decimal = convert.decimal()(value)
    return found


def whole(value: Any) -> int | None:
    """A whole number; raises `ValueError` for one that has decimals."""
    return None if value is None else convert.integer(number(value))


def plus(left: Any, right: Any) -> Decimal | None:
    """``+``"""
    return _of_two(_CONTEXT.add, left, right)


def minus(left: Any, right: Any) -> Decimal | None:
    """``-``"""
    return _of_two(_CONTEXT.subtract, left, right)


def times(left: Any, right: Any) -> Decimal | None:
    """``*``

    >>> str(times("0.1", 3)), str(times(divided(1, 3), 3))
    ('0.3', '1.0000')
    """
    return _of_two(_CONTEXT.multiply, left, right)


def divided(left: Any, right: Any, more: int = _MORE_DECIMALS) -> Decimal | None:
    """``/``: with `more` decimals than the first number has; null where the second is 0.

    >>> str(divided(1, 3)), divided("1.5", 0)
    ('0.3333', None)
    """
    first, second = number(left), number(right)
    if first is None or second is None or not _exact(second):
        return None
    return _shown(_CONTEXT.divide(_exact(first), _exact(second)), _decimals(first) + more)


def div(left: Any, right: Any) -> int | None:
    """DIV: the whole part of a division."""
    first, second = number(left), number(right)
    if first is None or second is None or not _exact(second):
        return None
    return int(_CONTEXT.divide_int(_exact(first), _exact(second)))


def mod(left: Any, right: Any) -> Decimal | None:
    """``%``, MOD: what is left of a division, with the sign of the first number."""
    first, second = number(left), number(right)
    if first is None or second is None or not _exact(second):
        return None
    left_over = _CONTEXT.remainder(_exact(first), _exact(second))
    return _as(left_over, max(_decimals(first), _decimals(second)), first, second)


def negative(value: Any) -> Decimal | None:
    """``-`` before a value."""
    return minus(0, value)


def absolute(value: Any) -> Decimal | None:
    """ABS"""
    found = number(value)
    return negative(found) if found is not None and found < 0 else found


def rounded(value: Any, decimals: Any = 0) -> Decimal | None:
    """ROUND: half up.

    >>> rounded("2.345", 2), rounded("2.5"), rounded(2, 2)
    (Decimal('2.35'), Decimal('3'), Decimal('2'))
    """
    return _cut(value, decimals, ROUND_HALF_UP)


def truncated(value: Any, decimals: Any) -> Decimal | None:
    """TRUNCATE: without what is behind so many decimals."""
    return _cut(value, decimals, ROUND_DOWN)


def floor(value: Any) -> Decimal | None:
    """FLOOR"""
    return _cut(value, 0, ROUND_FLOOR)


def ceiling(value: Any) -> Decimal | None:
    """CEIL, CEILING"""
    return _cut(value, 0, ROUND_CEILING)


def _of_two(operation: Callable[[Decimal, Decimal], Decimal], left: Any, right: Any) -> Decimal | None:
    first, second = number(left), number(right)
    if first is None or second is None:
        return None
    return _as(operation(_exact(first), _exact(second)), _decimals(operation(first, second)), first, second)


def _as(exact: Decimal, decimals: int, *of: Decimal) -> Decimal:
    """What is worked out of numbers, shown with so many decimals where one of them comes of a division."""
    return _shown(exact, decimals) if any(isinstance(each, Quotient) for each in of) else exact


def _shown(exact: Decimal, decimals: int) -> Quotient:
    made = Quotient(_step(exact, min(decimals, _MOST_DECIMALS), ROUND_HALF_UP))
    made.exact = exact
    return made


def _exact(value: Decimal) -> Decimal:
    return value.exact if isinstance(value, Quotient) else value


def _decimals(value: Decimal) -> int:
    return max(0, -int(value.as_tuple().exponent))


def _step(value: Decimal, decimals: int, rounding: str) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-decimals), rounding=rounding, context=_CONTEXT)


def _cut(value: Any, decimals: Any, rounding: str) -> Decimal | None:
    found, places = number(value), whole(decimals)
    if found is None or places is None:
        return None
    places = max(-_MOST_DECIMALS, min(places, _MOST_DECIMALS if _decimals(found) else 0))
    cut = _step(_exact(found), places, rounding)
    return cut if places > 0 else Decimal(int(cut))

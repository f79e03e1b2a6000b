"""MySQL's functions, as ``_function`` (自定义函数) uses them, for the functions in an imported DAG file.

As MySQL has it, null in is null out, and division keeps four decimals more. Other than there: numbers are exact, texts
are compared letter by letter (MySQL ignores case and blanks at the end), a text that is no number raises `ValueError`
and is not taken for 0, and so does a list or an object. Times are in Asia/Shanghai. Numbers are worked
with in `arithmetic`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from fenxiang_sync import convert
from fenxiang_sync.qeasy.arithmetic import (
    absolute,
    ceiling,
    div,
    divided,
    floor,
    minus,
    mod,
    negative,
    number,
    plus,
    rounded,
    times,
    truncated,
    whole,
)

__all__ = [
    "TOKENS", "absolute", "among", "among_bare", "as_number", "as_whole", "at_most", "bare", "between", "both",
    "ceiling", "char_length", "coalesce", "concat", "concat_ws", "date_format", "div", "divided", "either", "equal",
    "filled", "floor", "from_unixtime", "is_null", "left", "length", "less", "like", "locate", "lower", "lpad", "minus",
    "mod", "negative", "no", "nullif", "number", "plus", "replace", "right", "rounded", "rpad", "substring",
    "substring_index", "text", "times", "trim", "true", "truncated", "unequal", "unix_timestamp", "upper", "whole",
]  # fmt: skip
_NUMBER = re.compile(r"\s*(-?\d{1,60}(\.\d{1,40})?)?\s*", re.ASCII)
_LONGEST = 100_000
_ZONE = convert.time_zone(convert.SHANGHAI)
_EPOCH = datetime(1970, 1, 1, tzinfo=convert.time_zone("UTC"))
_TOKENS: dict[str, Callable[[datetime], str]] = {
    "Y": lambda at: f"{at.year:04d}",
    "y": lambda at: f"{at.year % 100:02d}",
    "m": lambda at: f"{at.month:02d}",
    "c": lambda at: str(at.month),
    "d": lambda at: f"{at.day:02d}",
    "e": lambda at: str(at.day),
    "H": lambda at: f"{at.hour:02d}",
    "k": lambda at: str(at.hour),
    "i": lambda at: f"{at.minute:02d}",
    "s": lambda at: f"{at.second:02d}",
    "S": lambda at: f"{at.second:02d}",
    "T": lambda at: f"{at:%H:%M:%S}",
    "f": lambda at: f"{at.microsecond:06d}",
    "j": lambda at: f"{at.timetuple().tm_yday:03d}",
    "%": lambda _: "%",
}
TOKENS = frozenset(_TOKENS)
"""The letters of a format that `from_unixtime` and `date_format` know."""


# Values


def text(value: Any) -> str | None:
    """Text of a value.

    >>> text(divided(0, 3)), text(divided(divided(0, 3), 3))
    ('0.0000', '0.00000000')
    """
    return None if value is None else f"{value:f}" if isinstance(value, Decimal) else convert.text(value)


def filled(value: Any) -> str:
    """What '{{field}}' is: text, and "" where the record has no such field.

    >>> filled(5), filled(None)
    ('5', '')
    """
    return text(value) or ""


def as_number(value: Any) -> Decimal | None:
    """What a value of type number is: an empty text is none.

    >>> as_number("2.50"), as_number(" ")
    (Decimal('2.50'), None)
    """
    return None if isinstance(value, str) and not value.strip() else number(value)


def as_whole(value: Any) -> int | None:
    """What a value of type int is: an empty text is none; raises `ValueError` for a number that has decimals."""
    return whole(as_number(value))


def true(value: Any) -> bool:
    """Whether a condition holds: any number but 0 does, null does not."""
    return bool(number(value))


def coalesce(*values: Any) -> Any:
    """IFNULL, COALESCE: the first that is not null."""
    return next((value for value in values if value is not None), None)


def nullif(value: Any, *compared: Any) -> Any:
    """NULLIF: null where the value equals another one, or where the two that are compared are equal."""
    return None if equal(*(compared if len(compared) > 1 else (value, *compared))) else value


# Texts


def concat(*parts: Any) -> str | None:
    """CONCAT: null where one of them is null.

    >>> concat("A", 1), concat("A", None)
    ('A1', None)
    """
    return None if any(part is None for part in parts) else "".join(map(filled, parts))


def concat_ws(separator: Any, *parts: Any) -> str | None:
    """CONCAT_WS: joined by the separator, nulls left out."""
    between = text(separator)
    return None if between is None else between.join(filled(part) for part in parts if part is not None)


def left(value: Any, length: Any) -> str | None:
    """LEFT: so many letters of the beginning."""
    said, count = text(value), whole(length)
    return None if said is None or count is None else said[: max(count, 0)]


def right(value: Any, length: Any) -> str | None:
    """RIGHT: so many letters of the end."""
    said, count = text(value), whole(length)
    return None if said is None or count is None else said[-count:] if count > 0 else ""


def substring(value: Any, start: Any, *length: Any) -> str | None:
    """SUBSTRING, MID: from the letter `start`, counted from 1, or from the end where it is negative.

    >>> substring("abcdef", 2, 3), substring("abcdef", -2), substring("abc", 0)
    ('bcd', 'ef', '')
    """
    said, first, counts = text(value), whole(start), [whole(each) for each in length]
    if said is None or first is None or None in counts:
        return None
    place = first - 1 if first > 0 else len(said) + first
    if first == 0 or place < 0:
        return ""
    return said[place:] if not counts else said[place : place + max(counts[0] or 0, 0)]


def substring_index(value: Any, separator: Any, count: Any) -> str | None:
    """SUBSTRING_INDEX: what is before the separator's n-th place, or behind it where n is negative.

    >>> substring_index("a-b-c", "-", 2), substring_index("a-b-c", "-", -1)
    ('a-b', 'c')
    """
    said, between, number_of = text(value), text(separator), whole(count)
    if said is None or between is None or number_of is None:
        return None
    parts = said.split(between) if between else []
    return between.join(parts[:number_of] if number_of > 0 else parts[number_of:] if number_of else [])


def locate(part: Any, value: Any, start: Any = 1) -> int | None:
    """LOCATE, INSTR, POSITION: at which letter the part begins, 0 where it is not there.

    >>> locate("b", "abc"), locate("x", "abc")
    (2, 0)
    """
    sought, said, first = text(part), text(value), whole(start)
    if sought is None or said is None or first is None:
        return None
    return said.find(sought, first - 1) + 1 if first > 0 else 0


def replace(value: Any, old: Any, new: Any) -> str | None:
    """REPLACE"""
    said, before, after = text(value), text(old), text(new)
    if said is None or before is None or after is None:
        return None
    return _short(said.replace(before, after)) if before else said


def trim(value: Any, letters: Any = " ", side: str = "BOTH") -> str | None:
    """TRIM, LTRIM, RTRIM: without that text at its ends.

    >>> trim(" a "), trim("007", "0", "LEADING")
    ('a', '7')
    """
    said, away = text(value), text(letters)
    if said is None or away is None:
        return None
    while away and side != "TRAILING" and said.startswith(away):
        said = said[len(away) :]
    while away and side != "LEADING" and said.endswith(away):
        said = said[: -len(away)]
    return said


def upper(value: Any) -> str | None:
    """UPPER: letter by letter.

    >>> upper("straße")
    'STRAßE'
    """
    said = text(value)
    return None if said is None else "".join(map(_letter, said, map(str.upper, said)))


def lower(value: Any) -> str | None:
    """LOWER: letter by letter."""
    said = text(value)
    return None if said is None else "".join(map(_letter, said, map(str.lower, said)))


def length(value: Any) -> int | None:
    """LENGTH: bytes; a Chinese character has three."""
    said = text(value)
    return None if said is None else len(said.encode())


def char_length(value: Any) -> int | None:
    """CHAR_LENGTH: letters."""
    said = text(value)
    return None if said is None else len(said)


def lpad(value: Any, size: Any, letters: Any) -> str | None:
    """LPAD: filled up in front, or cut, to so many letters.

    >>> lpad(7, 3, "0"), lpad("abcd", 3, "0")
    ('007', 'abc')
    """
    return _padded(value, size, letters, lambda said, fill: fill + said)


def rpad(value: Any, size: Any, letters: Any) -> str | None:
    """RPAD: filled up behind, or cut, to so many letters."""
    return _padded(value, size, letters, lambda said, fill: said + fill)


# Times


def from_unixtime(seconds: Any, format: Any = "%Y-%m-%d %H:%i:%s") -> str | None:
    """FROM_UNIXTIME: seconds since 1970 as text.

    >>> from_unixtime(1696161600), from_unixtime(1696161600, "%Y%m%d")
    ('2023-10-01 20:00:00', '20231001')
    """
    since, wanted = number(seconds), text(format)
    if since is None or wanted is None:
        return None
    try:
        return _formatted((_EPOCH + timedelta(microseconds=int(since * 1_000_000))).astimezone(_ZONE), wanted)
    except OverflowError:
        raise ValueError(f"{since} seconds are outside the years 1 to 9999") from None


def date_format(value: Any, format: Any) -> str | None:
    """DATE_FORMAT: a day or a time, as text, in another form; null where it is empty.

    >>> date_format("2023-10-01 20:00:00", "%Y%m")
    '202310'
    """
    said, wanted = text(value), text(format)
    return None if not said or wanted is None else _formatted(_time(said), wanted)


def unix_timestamp(value: Any) -> int | None:
    """UNIX_TIMESTAMP: the seconds since 1970 of a day or a time that is text; null where it is empty.

    >>> unix_timestamp("2023-10-01 20:00:00")
    1696161600
    """
    said = text(value)
    return None if not said else int(_time(said).timestamp())


# Conditions: 1, 0 or null


def equal(left: Any, right: Any) -> int | None:
    """``=``: of two texts as texts, else as numbers.

    >>> equal("a", "A"), equal("1.0", 1), equal(None, 1)
    (0, 1, None)
    """
    return _compared(lambda first, second: first == second, left, right)


def unequal(left: Any, right: Any) -> int | None:
    """``<>``, ``!=``"""
    return _compared(lambda first, second: first != second, left, right)


def less(left: Any, right: Any) -> int | None:
    """``<``"""
    return _compared(lambda first, second: bool(first < second), left, right)


def at_most(left: Any, right: Any) -> int | None:
    """``<=``"""
    return _compared(lambda first, second: bool(first <= second), left, right)


def between(value: Any, low: Any, high: Any) -> int | None:
    """BETWEEN: both ends count."""
    return both(at_most(low, value), at_most(value, high))


def among(value: Any, *options: Any) -> int | None:
    """IN"""
    return either(*(equal(value, option) for option in options))


def among_bare(value: Any, *options: Any) -> int | None:
    """IN, where one of them stands without quotes."""
    return either(*(equal(*bare(value, option)) for option in options))


def bare(*values: Any) -> tuple[Any, ...]:
    """Values that are compared, of which one is a field without quotes: in MySQL's statement its text is a number, if
    it can be one, so that all are numbers here if all can be.

    >>> bare("10.10", "2"), bare("A1", "2"), bare("0.00", ""), bare("", "")
    ((Decimal('10.10'), Decimal('2')), ('A1', '2'), (Decimal('0.00'), Decimal('0')), ('', ''))
    """
    texts = [value for value in values if isinstance(value, str)]
    if not all(_NUMBER.fullmatch(each) for each in texts) or not any(each.strip() for each in texts):
        return values
    return tuple(number(value) if isinstance(value, str) else value for value in values)


def like(value: Any, pattern: Any) -> int | None:
    """LIKE: % is any text, _ any letter.

    >>> like("SO-1", "SO%"), like("SO-1", "P%")
    (1, 0)
    """
    said, wanted = text(value), text(pattern)
    if said is None or wanted is None:
        return None
    parts = [""]
    for each in re.findall(r"\\.|.", wanted, re.DOTALL):
        if each == "%":
            parts.append("")
        else:
            parts[-1] += "." if each == "_" else re.escape(each[-1])
    first, *others = parts
    # Where a part is found first is as good as any later place: nothing is tried twice, however many parts there are.
    between = "".join(f"(?>.*?{part})" for part in others[:-1] if part)
    expression = f"{first}{between}.*{others[-1]}" if others else first
    return int(re.fullmatch(expression, said, re.DOTALL) is not None)


def is_null(value: Any) -> int:
    """IS NULL"""
    return int(value is None)


def both(*conditions: Any) -> int | None:
    """AND: 0 where one is 0, else null where one is null.

    >>> both(1, None), both(0, None), both(1, 1)
    (None, 0, 1)
    """
    found = [number(each) for each in conditions]
    return 0 if any(each == 0 for each in found) else None if None in found else 1


def either(*conditions: Any) -> int | None:
    """OR: 1 where one holds, else null where one is null."""
    found = [number(each) for each in conditions]
    return 1 if any(found) else None if None in found else 0


def no(condition: Any) -> int | None:
    """NOT"""
    found = number(condition)
    return None if found is None else int(not found)


def _letter(before: str, after: str) -> str:
    return after if len(after) == 1 else before


def _short(said: str) -> str:
    if len(said) > _LONGEST:
        raise ValueError(f"makes a text of more than {_LONGEST:,} letters")
    return said


def _padded(value: Any, size: Any, letters: Any, join: Callable[[str, str], str]) -> str | None:
    said, wanted, fill = text(value), whole(size), text(letters)
    if said is None or wanted is None or fill is None or wanted < 0:
        return None
    if wanted > _LONGEST:
        raise ValueError(f"makes a text of more than {_LONGEST:,} letters")
    missing = wanted - len(said)
    if missing <= 0:
        return said[:wanted]
    return join(said, (fill * missing)[:missing]) if fill else None


def _time(said: str) -> datetime:
    try:
        return datetime.fromisoformat(said.strip()).replace(tzinfo=_ZONE)
    except ValueError:
        raise ValueError(f"{said[:40]!r} is no day or time, as 2026-01-31 or 2026-01-31 08:00:00") from None


def _formatted(at: datetime, wanted: str) -> str:
    def token(found: re.Match[str]) -> str:
        if found[1] not in _TOKENS:
            raise ValueError(f"format {wanted!r}: {found[0]} is not known here")
        return _TOKENS[found[1]](at)

    return re.sub(r"%(.)", token, wanted)


def _compared(holds: Callable[[Any, Any], bool], left: Any, right: Any) -> int | None:
    if left is None or right is None:
        return None
    if isinstance(left, str) and isinstance(right, str):
        return int(holds(left, right))
    return int(holds(number(left), number(right)))

"""Values: a row's values in the forms of the CRM, and whether the CRM holds them already.

What the CRM sends of a value that it took has another form: numbers come as text, people as lists, what is empty not at
all (vendor documentation, real records).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from fenxiang_sync.columns import Kind

_SHANGHAI = ZoneInfo("Asia/Shanghai")
_PEOPLE = frozenset(("owner", "created_by"))


def given(name: str, value: Any, kind: Kind | None = None) -> Any:
    """A value of a row as the CRM means it: moments and days are epoch milliseconds, a day's those of its midnight in
    Shanghai; an owner is a list. Raises `ValueError` for a text that is no moment or day.

    >>> given("sold_on__c", "2026-09-24", Kind.DAY), given("owner", "1000")
    (1790179200000, ['1000'])
    """
    if isinstance(value, str) and value and kind is Kind.INSTANT:
        return _ms(datetime.fromisoformat(value))
    if isinstance(value, str) and value and kind is Kind.DAY:
        day = date.fromisoformat(value)
        return _ms(datetime(day.year, day.month, day.day, tzinfo=_SHANGHAI))
    if isinstance(value, str) and value and name in _PEOPLE:
        return [value]
    return value


def wire(value: Any) -> Any:
    """The same with exact numbers as text, as Fenxiang's own examples have them.

    >>> wire({"price": Decimal("12.50"), "lines": [Decimal("1E+2")]})
    {'price': '12.50', 'lines': ['100']}
    """
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, list | tuple):
        return [wire(each) for each in value]
    if isinstance(value, Mapping):
        return {name: wire(each) for name, each in value.items()}
    return value


def empty(value: Any) -> bool:
    """Whether a value is none: Fenxiang leaves such a field out."""
    return value is None or value == "" or value == [] or value == {}


def same(held: Any, sent: Any) -> bool:
    """Whether what the CRM holds is what is sent.

    >>> same("100.00", 100), same(["1000"], "1000"), same(None, ""), same("00100", "100"), same(["b", "a"], ["a", "b"])
    (True, True, True, False, True)
    """
    if empty(held) or empty(sent):
        return empty(held) and empty(sent)
    if isinstance(held, list) != isinstance(sent, list):
        held, sent = _alone(held), _alone(sent)
    if isinstance(held, list) and isinstance(sent, list):
        return len(held) == len(sent) and _covered(list(held), sent)
    if isinstance(held, Mapping) and isinstance(sent, Mapping):
        return all(same(held.get(name), value) for name, value in sent.items())
    if isinstance(held, bool) or isinstance(sent, bool):
        return str(held).lower() == str(sent).lower()
    return bool(held == sent) or _equal(held, sent)


def differences(held: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, Any]:
    """What of the values that are sent the CRM holds otherwise."""
    return {name: value for name, value in sent.items() if not same(held.get(name), value)}


def _covered(held: list[Any], sent: list[Any]) -> bool:
    """Whether each part of a list is there, in whatever order."""
    for part in sent:
        place = next((at for at, each in enumerate(held) if same(each, part)), None)
        if place is None:
            return False
        del held[place]
    return True


def _alone(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _equal(held: Any, sent: Any) -> bool:
    """Whether one is a number and the other its text. Two texts are never taken for numbers: codes have zeros."""
    if isinstance(held, str) and isinstance(sent, str):
        return False
    try:
        return Decimal(str(held)) == Decimal(str(sent))
    except InvalidOperation:
        return False


def _ms(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone")
    return round(moment.timestamp() * 1000)

"""Query: what is asked of data/query, checked here, written exactly as the server reads it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.window import to_ms

MAX_LIMIT = 100
MAX_OFFSET = 10_000

Value = str | int | bool | Decimal | datetime | date


class Operator(StrEnum):
    """The operators of a filter (vendor documentation)."""

    EQ = "EQ"
    N = "N"
    """Not equal; matches empty values as well."""
    GT = "GT"
    GTE = "GTE"
    LT = "LT"
    LTE = "LTE"
    LIKE = "LIKE"
    NLIKE = "NLIKE"
    IS = "IS"
    """Is empty; takes no value."""
    ISN = "ISN"
    """Is not empty; takes no value."""
    IN = "IN"
    NIN = "NIN"
    BETWEEN = "BETWEEN"
    NBETWEEN = "NBETWEEN"
    STARTWITH = "STARTWITH"
    ENDWITH = "ENDWITH"
    CONTAINS = "CONTAINS"
    """A list field has these (custom objects)."""
    HASANYOF = "HASANYOF"
    """A list field has any of these (preset objects)."""
    NHASANYOF = "NHASANYOF"


_NONE = {Operator.IS, Operator.ISN}
_TWO = {Operator.BETWEEN, Operator.NBETWEEN}
_SEVERAL = {Operator.IN, Operator.NIN, Operator.CONTAINS, Operator.HASANYOF, Operator.NHASANYOF}


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition; several are ANDed. `values` takes one value or several, and holds what goes over the wire.

    >>> Filter("life_status", Operator.IN, ["normal", "in_change"]).values
    ('normal', 'in_change')
    >>> Filter("report_date__c", Operator.GTE, date(2026, 9, 24)).wire()
    {'field_name': 'report_date__c', 'field_values': ['1790179200000'], 'operator': 'GTE'}
    """

    field: str
    operator: Operator
    values: Value | Iterable[Value] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.operator, Operator):
            raise DeclarationError(
                f"Filter on {self.field!r}: {self.operator!r} is no Operator; take Operator.EQ, or another of: "
                f"{', '.join(Operator)}"
            )
        values = tuple(_on_the_wire(self.field, value) for value in _several(self.values))
        self._check_number(len(values))
        object.__setattr__(self, "values", values)

    def _check_number(self, number: int) -> None:
        if self.operator in _SEVERAL:
            right, needed = number >= 1, "at least one value"
        elif self.operator in _NONE:
            right, needed = number == 0, "no value"
        else:
            wanted = 2 if self.operator in _TWO else 1
            right, needed = number == wanted, "two values" if wanted == 2 else "one value"
        if not right:
            raise DeclarationError(f"Filter on {self.field!r}: {self.operator} takes {needed}, not {number}")

    def wire(self) -> dict[str, Any]:
        return {"field_name": self.field, "field_values": list(_several(self.values)), "operator": str(self.operator)}


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchQuery:
    """One page of a query. `orders` holds (field, ascending); `count` asks for the total as well (slower there)."""

    object_name: str
    projection: Sequence[str]
    filters: Sequence[Filter] = ()
    orders: Sequence[tuple[str, bool]] = ()
    limit: int = MAX_LIMIT
    offset: int = 0
    count: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= MAX_LIMIT:
            raise DeclarationError(f"{self.object_name}: limit is {self.limit}; Fenxiang takes 1 to {MAX_LIMIT}")
        if not 0 <= self.offset <= MAX_OFFSET or self.offset % self.limit:
            raise DeclarationError(
                f"{self.object_name}: offset is {self.offset}; Fenxiang takes multiples of limit ({self.limit}) "
                f"up to {MAX_OFFSET}"
            )

    @property
    def path(self) -> str:
        return data_path(self.object_name, "query")

    def body(self) -> dict[str, Any]:
        """The body without credentials. Its letter case is the vendor's: snake_case and camelCase side by side."""
        return {
            "includeNull": False,
            "data": {
                "dataObjectApiName": self.object_name,
                "find_explicit_total_num": self.count,
                "search_query_info": {
                    "limit": self.limit,
                    "offset": self.offset,
                    "filters": [each.wire() for each in self.filters],
                    "orders": [{"fieldName": name, "isAsc": ascending} for name, ascending in self.orders],
                    "fieldProjection": list(self.projection),
                },
            },
        }


def is_custom(object_name: str) -> bool:
    """Whether the object is a company's own (its API name ends with ``__c``)."""
    return object_name.endswith("__c")


def data_path(object_name: str, action: str) -> str:
    """
    >>> data_path("AccountObj", "query"), data_path("object_warehouse__c", "get")
    ('/cgi/crm/v2/data/query', '/cgi/crm/custom/v2/data/get')
    """
    return f"/cgi/crm/{'custom/' if is_custom(object_name) else ''}v2/data/{action}"


def _several(values: Value | Iterable[Value]) -> Iterable[Value]:
    return (values,) if isinstance(values, Value) else values


def _on_the_wire(name: str, value: Value) -> str:
    """Text, as the documentation shows every value; a day is its midnight in Shanghai, a moment its epoch ms."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise DeclarationError(f"Filter on {name!r}: {value!r} has no time zone; give an aware datetime")
        return str(to_ms(value))
    if isinstance(value, date):
        return str(to_ms(datetime(value.year, value.month, value.day, tzinfo=ZoneInfo("Asia/Shanghai"))))
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, str | int):
        return str(value)
    raise DeclarationError(f"Filter on {name!r}: {value!r} is no text, number, boolean, date or datetime")

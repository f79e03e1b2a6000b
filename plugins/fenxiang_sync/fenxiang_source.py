"""Source: what a pipeline reads from Fenxiang CRM (纷享销客), and how."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

from fenxiang_sync.checks import (
    as_tuple,
    connection_problems,
    details_problems,
    filter_problems,
    get_fields_problems,
    names_its_words,
    object_problems,
    span_problems,
)
from fenxiang_sync.details import Details
from fenxiang_sync.drift import Drift
from fenxiang_sync.mapping import ENGINE_FIELDS, Mapping
from fenxiang_sync.paths import base
from fenxiang_sync.source import Bounds, Client, FenxiangClient, FenxiangObject, Filter, is_custom
from fenxiang_sync.source.query import MAX_LIMIT

GOT_A_SEGMENT = 5_000
"""So many records of a segment are read with a call each: a good quarter of an hour."""


@names_its_words
@dataclass(frozen=True, kw_only=True)
class Source:
    """What is read from Fenxiang (纷享销客), and how far a run reaches.

    `lookback` is how far before its window a run reads again: longer than a write stays invisible after its stamp.
    `settle` is how long the server's clock must have passed the window's end. `filters` are Fenxiang's own and ANDed.
    `check_fields` asks before each run whether the object has the fields that are read; `drift` says what a run does
    where their description has changed. `details` are fetched for each record and attached to it.

    `get_fields` are what a query leaves out and only ``data/get`` gives (long texts, images, what is worked out): a
    call for each record that is new or changed, 100 in 20 s. One that the hub keeps with the same stamp costs none.
    """

    object: str
    connection: str = "fenxiang"
    filters: Sequence[Filter] = ()
    lookback: timedelta = timedelta(minutes=10)
    settle: timedelta = timedelta(seconds=5)
    page_size: int = MAX_LIMIT
    segment_records: int = 40_000
    bounds: Bounds = Bounds.AUTO
    check_fields: bool = True
    drift: Drift = Drift.WARN
    details: Sequence[Details] = ()
    get_fields: Sequence[str] = ()

    counts: ClassVar[bool] = True
    at_once: ClassVar[int] = 8
    grain: ClassVar[timedelta] = timedelta(milliseconds=1)

    def __post_init__(self) -> None:
        object.__setattr__(self, "filters", as_tuple(self.filters))
        object.__setattr__(self, "details", as_tuple(self.details))
        object.__setattr__(self, "get_fields", as_tuple(self.get_fields))

    def problems(self) -> Iterator[str]:
        """What cannot be meant as written, each as a sentence."""
        yield from object_problems(self.object)
        yield from connection_problems(self.connection)
        yield from filter_problems(self.filters)
        yield from span_problems("lookback", self.lookback)
        yield from span_problems("settle", self.settle)
        if type(self.page_size) is not int or not 1 <= self.page_size <= MAX_LIMIT:
            yield f"page_size={self.page_size!r}: Fenxiang gives 1 to {MAX_LIMIT} records a page"
        elif type(self.segment_records) is not int or self.segment_records < self.page_size:
            yield f"segment_records={self.segment_records!r}: a segment holds a page ({self.page_size}) or more"
        if not isinstance(self.bounds, Bounds):
            yield f"bounds={self.bounds!r}: choose one of {', '.join(map(str, Bounds.__members__))} of Bounds"
        if not isinstance(self.check_fields, bool):
            yield f"check_fields={self.check_fields!r}: give True or False"
        if not isinstance(self.drift, Drift):
            yield f"drift={self.drift!r}: choose one of {', '.join(map(str, Drift.__members__))} of Drift"
        elif self.drift is Drift.STOP and self.check_fields is False:
            yield "drift=Drift.STOP needs the description that check_fields asks for before each run; leave that on"
        yield from details_problems(self.details)
        yield from get_fields_problems(self.get_fields, self.details)

    @property
    def most_records(self) -> int:
        """How many records a segment holds: fewer where each costs a call, so that others need not wait for hours."""
        return min(self.segment_records, GOT_A_SEGMENT) if self.get_fields else self.segment_records

    def opened(self, client: Client) -> FenxiangObject:
        """The object, as it is read; see `Readable`."""
        return FenxiangObject(FenxiangClient.of(client), self.object, self.filters, self.page_size, self.bounds)

    def asks(self, mapping: Mapping) -> tuple[str, ...]:
        """The fields to query: the record's own that are read, without the lists of details and what is got."""
        attached = {*(each.name for each in self.details), *self.gets(mapping)}
        return tuple(name for name in mapping.projection if name not in attached)

    def gets(self, mapping: Mapping) -> tuple[str, ...]:
        """The fields that only `get` gives, and their companions, as far as they are read."""
        wanted = set(self.get_fields)
        return tuple(name for name in mapping.projection if name in wanted or base(name) in wanted)

    def misfits(self, mapping: Mapping) -> Iterator[str]:
        """What of a mapping this source cannot serve, each as a sentence."""
        for name in (each.name for each in self.details):
            if name in (*ENGINE_FIELDS, mapping.number):
                yield f"details: into={name!r} is a field of the record itself; give the list another name"
            elif name not in mapping.projection:
                yield f"details: nothing reads the list {name!r}: map it with Lines({name!r}, …) or explode it"
        for name in self.get_fields:
            if name in ENGINE_FIELDS:
                yield f"source: get_fields: {name!r} is what reading goes by, and every query gives it; take it out"
            elif not any(name in (each, base(each)) for each in self.gets(mapping)):
                yield (
                    f"source: get_fields: nothing reads {name!r}, and it would cost a call for each record; map it, as "
                    f"in Field({name!r}), or take it out"
                )

    def said(self) -> dict[str, Any]:
        """What of it decides which rows reach the target, as JSON."""
        says: dict[str, Any] = {
            "object": self.object, "connection": self.connection, "filters": [each.wire() for each in self.filters],
        }  # fmt: skip
        return says | ({"details": [each.said() for each in self.details]} if self.details else {})

    def selects(self) -> list[tuple[str, str]]:
        """What it asks for of all that is there: each condition with the field that it is about."""
        return [
            (each.field, f"{each.field} {each.operator} {', '.join(each.wire()['field_values'])}".rstrip())
            for each in self.filters
        ]

    def __str__(self) -> str:
        kind = "custom" if is_custom(self.object) else "preset"
        return f"{self.object} ({kind} object, connection `{self.connection}`)"

"""Query: the rows of a search, found without looking at more records than the indexes make necessary."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from typing import Any

from fenxiang_simulator.catalog import FieldDef
from fenxiang_simulator.envelope import ApiError
from fenxiang_simulator.knobs import Knobs
from fenxiang_simulator.matching import OPERATORS, Predicate, predicate, reader
from fenxiang_simulator.search import Filter, Search
from fenxiang_simulator.shelf import Record, Shelf

STAMP, ID = "last_modified_time", "_id"
DEFAULT_ORDER = ((STAMP, False),)


@dataclass(slots=True)
class Bounds:
    """What the indexes can answer: a half-open range of stamps, a range of ids, or a set of ids."""

    since: int | None = None
    until: int | None = None
    ids_from: str | None = None
    ids_after: str | None = None
    ids_before: str | None = None
    ids_to: str | None = None
    among: set[str] | None = None

    def add(self, each: Filter, *, between_inclusive: bool) -> bool:
        """Take the filter in; False where the indexes are of no use for it."""
        if each.field == STAMP:
            return self._add_stamp(each, between_inclusive)
        if each.field == ID:
            return self._add_id(each)
        return False

    def _add_stamp(self, each: Filter, between_inclusive: bool) -> bool:
        try:
            values = [int(str(value)) for value in each.values]
        except ValueError:
            return False
        ranges: dict[str, Callable[[], tuple[int | None, int | None]]] = {
            "GTE": lambda: (values[0], None),
            "GT": lambda: (values[0] + 1, None),
            "LT": lambda: (None, values[0]),
            "LTE": lambda: (None, values[0] + 1),
            "EQ": lambda: (values[0], values[0] + 1),
            "BETWEEN": lambda: (values[0], values[1] + (1 if between_inclusive else 0)),
        }
        if each.operator not in ranges or len(values) != (2 if each.operator == "BETWEEN" else 1):
            return False
        since, until = ranges[each.operator]()
        if since is not None:
            self.since = since if self.since is None else max(self.since, since)
        if until is not None:
            self.until = until if self.until is None else min(self.until, until)
        return True

    def _add_id(self, each: Filter) -> bool:
        values = [str(value) for value in each.values]
        if each.operator in ("EQ", "IN") and (each.operator == "IN" or len(values) == 1):
            self.among = set(values) if self.among is None else self.among & set(values)
            return True
        if len(values) != 1:
            return False
        if each.operator == "GT":
            self.ids_after = values[0] if self.ids_after is None else max(self.ids_after, values[0])
        elif each.operator == "GTE":
            self.ids_from = values[0] if self.ids_from is None else max(self.ids_from, values[0])
        elif each.operator == "LT":
            self.ids_before = values[0] if self.ids_before is None else min(self.ids_before, values[0])
        elif each.operator == "LTE":
            self.ids_to = values[0] if self.ids_to is None else min(self.ids_to, values[0])
        else:
            return False
        return True

    def id_span(self, shelf: Shelf) -> tuple[int, int]:
        first = 0
        if self.ids_after is not None:
            first = bisect_right(shelf.ids, self.ids_after)
        if self.ids_from is not None:
            first = max(first, bisect_left(shelf.ids, self.ids_from))
        last = len(shelf.ids)
        if self.ids_before is not None:
            last = bisect_left(shelf.ids, self.ids_before)
        if self.ids_to is not None:
            last = min(last, bisect_right(shelf.ids, self.ids_to))
        return first, max(first, last)


@dataclass(slots=True)
class Plan:
    """`bounds` and `before` decide which records are counted to the limit; `after` takes more away from the page."""

    bounds: Bounds
    before: list[Predicate] = field(default_factory=list)
    after: list[Predicate] = field(default_factory=list)


def plan(search: Search, fields: Mapping[str, FieldDef], knobs: Knobs, permission: Predicate | None) -> Plan:
    """How to find the rows. ApiError for an operator, field or value that the server refuses."""
    made = Plan(Bounds())
    shorter_first = knobs.id_order == "compare_shorter_first"
    inclusive = knobs.between == "inclusive"
    for each in _honoured(search.filters, knobs):
        if each.operator not in OPERATORS:
            if knobs.unknown_operator == "error":
                raise ApiError(32000, "参数错误", f"不支持的操作符: {each.operator}")
            continue
        if each.field not in fields:
            if knobs.unknown_filter_field == "error":
                raise ApiError(32000, "参数错误", f"字段不存在: {each.field}")
            continue
        test = predicate(fields[each.field], each, between_inclusive=inclusive, shorter_first=shorter_first)
        if each.field == ID and shorter_first:
            made.before.append(test)
        elif not made.bounds.add(each, between_inclusive=inclusive):
            late = knobs.filter_after_limit and each.field not in (STAMP, ID)
            (made.after if late else made.before).append(test)
    if permission is not None:
        (made.after if knobs.filter_after_limit else made.before).append(permission)
    return made


def page(
    shelf: Shelf, made: Plan, search: Search, fields: Mapping[str, FieldDef], knobs: Knobs
) -> tuple[list[Record], int | None]:
    """The rows of the page, and how many there are in all (None where the search switched the total off)."""
    total = None if search.total == "none" else _count(shelf, made)
    rows = _passing(_ordered(shelf, made, search, fields, knobs), ())
    taken = list(islice(rows, search.offset, search.offset + search.limit))
    return list(_passing(taken, made.after)), total


def _honoured(filters: tuple[Filter, ...], knobs: Knobs) -> Iterable[Filter]:
    if knobs.same_field_filters == "both":
        return filters
    fields = [each.field for each in filters]
    if knobs.same_field_filters == "error":
        twice = next((field for field in fields if fields.count(field) > 1), None)
        if twice is not None:
            raise ApiError(32000, "参数错误", f"字段不能有多个过滤条件: {twice}")
        return filters
    ordered = filters if knobs.same_field_filters == "last" else tuple(reversed(filters))
    return {each.field: each for each in ordered}.values()


def _passing(records: Iterable[Record], tests: Iterable[Predicate]) -> Iterator[Record]:
    tests = list(tests)
    if not tests:
        return iter(records)
    return (record for record in records if all(test(record) for test in tests))


def _count(shelf: Shelf, made: Plan) -> int:
    bounds, tests = made.bounds, made.before + made.after
    if not tests and bounds.among is None:
        first, last = shelf.between(bounds.since, bounds.until)
        low, high = bounds.id_span(shelf)
        if high - low == len(shelf.ids):
            return last - first
        if last - first == len(shelf.ids):
            return high - low
    return sum(1 for _ in _passing(_candidates(shelf, bounds), tests))


def _candidates(shelf: Shelf, bounds: Bounds) -> Iterator[Record]:
    """Every record within the bounds, in no order, by the index that has fewer."""
    seen = shelf.seen
    if bounds.among is not None:
        return (seen[each] for each in sorted(bounds.among) if each in seen and _within(seen[each], bounds))
    first, last = shelf.between(bounds.since, bounds.until)
    low, high = bounds.id_span(shelf)
    if last - first <= high - low:
        return _by_stamp(shelf, bounds, ascending=True)
    since, until = _limits(bounds)
    return (seen[each] for each in shelf.ids[low:high] if since <= seen[each][STAMP] < until)


def _by_stamp(shelf: Shelf, bounds: Bounds, *, ascending: bool) -> Iterator[Record]:
    """The records within the bounds in the order of their stamps, found one by one."""
    seen, stamps = shelf.seen, shelf.stamps
    first, last = shelf.between(bounds.since, bounds.until)
    low, high = bounds.id_span(shelf)
    span = range(first, last) if ascending else range(last - 1, first - 1, -1)
    if (low, high) == (0, len(shelf.ids)):
        return (seen[stamps[at][1]] for at in span)
    if low == high:
        return iter(())
    least, most = shelf.ids[low], shelf.ids[high - 1]
    return (seen[stamps[at][1]] for at in span if least <= stamps[at][1] <= most)


def _limits(bounds: Bounds) -> tuple[float, float]:
    return (
        float("-inf") if bounds.since is None else bounds.since,
        float("inf") if bounds.until is None else bounds.until,
    )


def _within(record: Record, bounds: Bounds) -> bool:
    since, until = _limits(bounds)
    each = record[ID]
    return (
        since <= record[STAMP] < until
        and (bounds.ids_after is None or each > bounds.ids_after)
        and (bounds.ids_from is None or each >= bounds.ids_from)
        and (bounds.ids_before is None or each < bounds.ids_before)
        and (bounds.ids_to is None or each <= bounds.ids_to)
    )


def _ordered(
    shelf: Shelf, made: Plan, search: Search, fields: Mapping[str, FieldDef], knobs: Knobs
) -> Iterator[Record]:
    """The records within bounds that pass `before`, in the search's order."""
    orders = search.orders or DEFAULT_ORDER
    for name, _ in orders:
        if name not in fields:
            raise ApiError(32000, "参数错误", f"排序字段不存在: {name}")
    plain_ids = knobs.id_order != "sort_shorter_first"
    bounds = made.bounds
    if bounds.among is None and orders == ((ID, True),) and plain_ids:
        return _passing(_by_id(shelf, bounds, search.offset + search.limit), made.before)
    if bounds.among is None and orders[0][0] == STAMP and len(orders) == 1:
        return _passing(_by_stamp(shelf, bounds, ascending=orders[0][1]), made.before)
    rows = sorted(_passing(_candidates(shelf, bounds), made.before), key=lambda record: str(record[ID]))
    for name, ascending in reversed(orders):
        rows.sort(key=_sort_key(fields[name], plain_ids), reverse=not ascending)
    return iter(rows)


def _by_id(shelf: Shelf, bounds: Bounds, wanted: int) -> Iterator[Record]:
    """The records within bounds by `_id`: the window's ids sorted, or all ids walked where that is likely shorter."""
    seen = shelf.seen
    first, last = shelf.between(bounds.since, bounds.until)
    low, high = bounds.id_span(shelf)
    window = last - first
    if window * window <= 4 * wanted * len(shelf.ids):
        if low == high:
            return iter(())
        ids = shelf.window(bounds.since, bounds.until)
        span = range(bisect_left(ids, shelf.ids[low]), bisect_right(ids, shelf.ids[high - 1]))
        return (seen[ids[at]] for at in span)
    since, until = _limits(bounds)
    walked = (seen[shelf.ids[at]] for at in range(low, high))
    return (record for record in walked if since <= record[STAMP] < until)


def _sort_key(each: FieldDef, plain_ids: bool) -> Callable[[Record], Any]:
    """Empty values last, numbers as numbers, lists by their first member."""
    if each.name == ID and not plain_ids:
        return lambda record: (len(record[ID]), record[ID])
    read = reader(each)

    def key(record: Record) -> tuple[bool, Any]:
        value = record.get(each.name)
        if isinstance(value, list):
            value = value[0] if value else None
        if value is None:
            return True, _EMPTY
        try:
            return False, read(value)
        except (ValueError, ArithmeticError):
            return False, _EMPTY

    return key


_EMPTY = Decimal(0)

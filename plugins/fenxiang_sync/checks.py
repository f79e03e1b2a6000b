"""The sentences for words of a declaration that cannot be meant as written: what, the value, the way out."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from croniter import CroniterBadDateError, croniter  # type: ignore[import-untyped]

from fenxiang_sync.condition import Condition
from fenxiang_sync.convert import SHANGHAI
from fenxiang_sync.details import Details
from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.explode import Explode
from fenxiang_sync.mapping import INJECTED, problems
from fenxiang_sync.source import Filter

T = TypeVar("T")

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,99}", re.ASCII)
_OBJECT = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
_CONNECTION = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)
_CRON_ALIASES = ("@hourly", "@daily", "@weekly", "@monthly", "@yearly")
_LEAP_YEAR = datetime(2024, 1, 1)  # noqa: DTZ001  where a cron expression is tried out; no moment is meant
_WINDOW_FIELDS = ("last_modified_time", "_id")
PRESET_OBJECTS = (
    "AccountObj",
    "ContactObj",
    "DeliveryNoteObj",
    "DepartmentObj",
    "InvoiceApplicationObj",
    "LeadsObj",
    "NewOpportunityObj",
    "OpportunityObj",
    "PaymentObj",
    "PersonnelObj",
    "PriceBookObj",
    "ProductObj",
    "SalesOrderObj",
    "SalesOrderProductObj",
    "StockObj",
    "WarehouseObj",
)
"""Preset objects that people often misspell; any other name ending in Obj is taken as it is."""


def names_its_words(cls: type[T]) -> type[T]:
    """Make an unknown argument of a declaration an error that names the nearest right one, or says what its class has
    instead (`elsewhere`)."""
    elsewhere: Mapping[str, str] = getattr(cls, "elsewhere", {})
    plain = cls.__init__
    words = [f.name for f in fields(cls)]  # type: ignore[arg-type]

    @functools.wraps(plain)
    def init(self: Any, *args: Any, **given: Any) -> None:
        if args:
            raise DeclarationError(f"{cls.__name__}({args[0]!r}, …): name each argument: {cls.__name__}({words[0]}=…)")
        for word in given:
            if word in elsewhere:
                raise DeclarationError(f"{cls.__name__} has no {word!r}: {elsewhere[word]}")
            if word not in words:
                raise DeclarationError(f"{cls.__name__} has no {word!r}; {nearest(word, words)}")
        plain(self, **given)

    cls.__init__ = init  # type: ignore[method-assign]
    return cls


def name_problems(name: Any) -> Iterator[str]:
    if not isinstance(name, str):
        yield f"name={name!r}: give text; it is the DAG id and the pipeline's name in the hub"
    elif not _NAME.fullmatch(name):
        slug = re.sub(r"[^a-z0-9_-]+", "_", name.lower(), flags=re.ASCII).strip("_-0123456789")[:100]
        yield (
            f"name={name!r}: use a lower-case letter, then letters, digits, _ or - (at most 100); it is the DAG id. "
            + (f"{slug!r} would do" if slug else "Chinese goes into title")
        )


def object_problems(name: Any) -> Iterator[str]:
    if not isinstance(name, str) or not _OBJECT.fullmatch(name):
        yield f"object={name!r}: give the object's API name, as in 'AccountObj' or 'object_inventory_report__c'"
    elif re.search(r"[^_]_c$", name):
        yield f"object={name!r}: custom objects end in two underscores and c; did you mean {name[:-2] + '__c'!r}?"
    elif name not in PRESET_OBJECTS:
        near = {known.lower(): known for known in PRESET_OBJECTS}
        meant = near.get(name.lower()) or near.get(name.lower() + "obj")
        if meant:
            yield f"object={name!r}: did you mean {meant!r}?"


def field_problems(entries: Any, key: str | None, explode: Explode | None = None) -> Iterator[str]:
    if not entries:
        yield "fields is empty; give at least Field('_id')"
    elif not isinstance(entries, tuple):
        yield f"fields={entries!r}: give a list of Field and Constant"
    else:
        yield from problems(entries, key, explode)


def condition_problems(conditions: Any, explode: Explode | None = None) -> Iterator[str]:
    if not isinstance(conditions, tuple):
        yield f"conditions={conditions!r}: give lists of conditions, as in [[Condition('amount', Logic.GT, 0)]]"
        return
    for each in conditions:
        if not isinstance(each, tuple) or not each:
            yield f"conditions: {each!r} is no list of conditions; one list must hold, with all that is in it"
            continue
        for condition in each:
            if isinstance(condition, Condition):
                yield from condition.problems(explode.field if isinstance(explode, Explode) else None)
            else:
                yield f"conditions: {condition!r} is no Condition; write Condition(field, Logic.EQ, value)"


def connection_problems(conn_id: Any) -> Iterator[str]:
    if not isinstance(conn_id, str) or not _CONNECTION.fullmatch(conn_id):
        yield f"connection={conn_id!r}: give the id of an Airflow connection, as in 'fenxiang'"


def number_problems(number: Any) -> Iterator[str]:
    if number in INJECTED:
        yield f"number={number!r} is put into pages by Fenxiang; it is no field of the record"
    elif number is not None and not (isinstance(number, str) and _OBJECT.fullmatch(number)):
        yield f"number={number!r}: give the API name of the field that people search by, or None"


def filter_problems(filters: Any) -> Iterator[str]:
    if not isinstance(filters, tuple):
        yield f"filters={filters!r}: give a list of Filter(field, operator, values)"
        return
    for each in filters:
        if not isinstance(each, Filter):
            yield f"filters: {each!r} is no Filter; write Filter(field, operator, values)"
        elif each.field in _WINDOW_FIELDS:
            yield f"filters: {each.field} belongs to the window and the paging; use start, or since and until of a run"


def details_problems(details: Any) -> Iterator[str]:
    if not isinstance(details, tuple):
        yield f"details={details!r}: give a list of Details(object, by=…)"
        return
    for each in details:
        if not isinstance(each, Details):
            yield f"details: {each!r} is no Details; write Details('SalesOrderProductObj', by='order_id')"
            continue
        yield from each.problems()
        yield from (f"details: {problem}" for problem in filter_problems(each.filters))
    names = [each.name for each in details if isinstance(each, Details)]
    yield from (
        f"details: {name!r} is there twice; give one of them another name with into="
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    )


def get_fields_problems(names: Any, details: Any) -> Iterator[str]:
    if not isinstance(names, tuple):
        yield f"get_fields={names!r}: give a list of fields, as in get_fields=('description__c',)"
        return
    lists = [each.name for each in details if isinstance(each, Details)] if isinstance(details, tuple) else []
    for name in names:
        if not isinstance(name, str) or not _OBJECT.fullmatch(name):
            yield f"get_fields: {name!r}: give the API name of a field, as in 'description__c'"
        elif name in INJECTED:
            yield f"get_fields: {name!r} is put into pages by Fenxiang; it is no field of the record"
        elif name in lists:
            yield f"get_fields: {name!r} is a list of details too; give the list another name with into="
    yield from (
        f"get_fields: {name!r} is there twice; once is enough"
        for name in dict.fromkeys(each for each in names if isinstance(each, str))
        if names.count(name) > 1
    )


def span_problems(word: str, span: Any) -> Iterator[str]:
    if not isinstance(span, timedelta):
        yield f"{word}={span!r}: give a timedelta, as in timedelta(minutes=10)"
    elif span < timedelta(0):
        yield f"{word}={spoken_span(span)} is negative; give how long, as in timedelta(minutes=10)"


def cron_problems(schedule: Any) -> Iterator[str]:
    if not isinstance(schedule, str):
        yield f"schedule={schedule!r}: give a cron expression like '0 * * * *', or None for manual runs only"
        return
    if schedule.startswith("@"):
        if schedule not in _CRON_ALIASES:
            yield f"schedule={schedule!r}; {nearest(schedule, _CRON_ALIASES)}"
        return
    if len(schedule.split()) != 5 or not croniter.is_valid(schedule):
        yield f"schedule={schedule!r} is no cron expression: minute hour day month weekday, as in '0 */4 * * *'"
        return
    try:
        croniter(schedule, _LEAP_YEAR).get_next()
    except CroniterBadDateError:
        yield f"schedule={schedule!r} never comes: there is no such date"


def start_problems(start: Any) -> Iterator[str]:
    if start is None:
        return
    if isinstance(start, int | float | Decimal | str):
        yield f"start={start!r}: give an aware datetime, as in datetime(2026, 1, 1, tzinfo=UTC)"
    elif not isinstance(start, datetime):
        yield f"start={start!r}: give a datetime with its hour and zone, as in datetime(2026, 1, 1, tzinfo=UTC)"
    elif start.utcoffset() is None:
        yield f"start={start.isoformat()} has no time zone; add tzinfo=UTC or pendulum.timezone({SHANGHAI!r})"


def as_tuple(given: Any) -> Any:
    """A list, set or iterator of words as a tuple; what is none is left for the check to name."""
    return given if isinstance(given, str | bytes) or not hasattr(given, "__iter__") else tuple(given)


def as_tuples(given: Any) -> Any:
    outer = as_tuple(given)
    return tuple(as_tuple(each) for each in outer) if isinstance(outer, tuple) else outer


def nearest(word: str, words: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, words, n=1)
    return f"did you mean {near[0]!r}?" if near else f"it knows {', '.join(words)}"


def spoken_span(span: timedelta) -> str:
    """A span as people say it.

    >>> spoken_span(timedelta(minutes=10)), spoken_span(timedelta(days=31)), spoken_span(timedelta(hours=1, seconds=5))
    ('10 min', '31 days', '1:00:05')
    """
    if span and not span % timedelta(days=1):
        return f"{span.days} days"
    return f"{span // timedelta(minutes=1)} min" if not span % timedelta(minutes=1) else str(span)

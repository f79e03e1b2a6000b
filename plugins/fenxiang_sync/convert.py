"""Converters: one value of a Fenxiang record becomes one value of a row.

A converter is a function of one value that is not null. What it gives is JSON: text, int, bool, Decimal, None, list
or dict. What does not fit raises `ValueError` with the reason alone; the mapping adds the field and the value. Write
them in a declaration as real values: ``convert=integer``, ``convert=decimal(scale=2)``, ``convert=first(text)``, or a
function of your own.

Never a float: 0.1 has no exact float. One that arrives all the same (a JSON decoder, a function) counts as the shortest
text that means it, so 0.1 is Decimal("0.1"); NaN and infinity are rejected.
"""

from __future__ import annotations

import difflib
import re
import zoneinfo
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Context, Decimal
from enum import Enum
from operator import attrgetter
from typing import Any, cast

import pendulum

from fenxiang_sync.columns import Kind, kind_of
from fenxiang_sync.errors import DeclarationError

SHANGHAI = "Asia/Shanghai"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INT64 = range(-(2**63), 2**63)
_LARGEST_EXPONENT = 100
_EXACT = Context(prec=4 * _LARGEST_EXPONENT)
_INTEGER = re.compile(r"[+-]?[0-9]{1,40}(\.0*)?", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?", re.ASCII)
_SHORT_NUMBER = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?", re.ASCII)
_EPOCH_MS = re.compile(r"-?[0-9]{11,15}", re.ASCII)


@dataclass(frozen=True)
class Converter:
    """A converter with settings. `written` is how a declaration writes it, and what makes two of them equal.

    `companion` is the suffix of the field that is read in place of the declared one (``__r`` for a label). `kind` is of
    what it gives, `scale` the number of decimals where that is fixed. `options` are the values that it takes, where it
    takes no others.
    """

    written: str
    function: Callable[[Any], Any] = field(compare=False, repr=False)
    companion: str = ""
    kind: Kind = Kind.JSON
    scale: int | None = None
    options: tuple[Any, ...] = field(default=(), compare=False, repr=False)

    def __call__(self, value: Any) -> Any:
        return self.function(value)

    def __str__(self) -> str:
        return self.written


def as_is(value: Any) -> Any:
    """The value as Fenxiang sends it: text, whole number, bool, list or object; other numbers as Decimal.

    >>> as_is({"tags": ["a", 1, 0.1]})
    {'tags': ['a', 1, Decimal('0.1')]}
    """
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if isinstance(value, float | Decimal):
        return _number(value)
    if isinstance(value, Mapping):
        return {_name(key): as_is(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_is(item) for item in value]
    raise ValueError(f"{kind.__name__} is no JSON value; make it text, a number, a list or a dict")


def text(value: Any) -> str:
    """Text; numbers and booleans are written as JSON writes them.

    >>> text("仓库"), text(10000), text(True)
    ('仓库', '10000', 'true')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | Decimal | float):
        return str(_number(value) if isinstance(value, float) else value)
    raise ValueError(f"{_kind(value)} is no text; take one of it with first(text) or keep it whole with as_is")


def integer(value: Any) -> int:
    """A whole number of at most 64 bits, from a number or the text of one.

    >>> integer(10000), integer("10000"), integer("95.0")
    (10000, 10000, 95)
    >>> integer("1.5")
    Traceback (most recent call last):
    ValueError: not a whole number; use decimal()
    """
    if type(value) is not int:
        value = _whole(value)
    if value not in _INT64:
        raise ValueError("does not fit in 64 bits; use decimal() or text")
    return int(value)


def decimal(scale: int | None = None) -> Converter:
    """An exact number, as money needs it. With `scale`, that many decimals: filled up with zeros, never rounded.

    >>> decimal()("21735.00"), decimal(scale=2)("0.5")
    (Decimal('21735.00'), Decimal('0.50'))
    >>> decimal(scale=2)("0.125")
    Traceback (most recent call last):
    ValueError: has more than 2 decimals; raise the scale or round it in a function of your own
    """
    if scale is None:
        return Converter("decimal()", _number, kind=Kind.DECIMAL)
    if type(scale) is not int or not 0 <= scale <= _LARGEST_EXPONENT:
        raise DeclarationError(f"decimal(scale={scale!r}): give the number of decimals, 0 to {_LARGEST_EXPONENT}")
    step = Decimal(1).scaleb(-scale)

    def scaled(value: Any) -> Decimal:
        exact = _number(value)
        fixed = exact.quantize(step, context=_EXACT)
        if fixed != exact:
            raise ValueError(f"has more than {scale} decimals; raise the scale or round it in a function of your own")
        return fixed

    return Converter(f"decimal(scale={scale})", scaled, kind=Kind.DECIMAL, scale=scale)


def boolean(value: Any) -> bool:
    """True or False; the texts ``true`` and ``false`` count as well, and nothing else does.

    >>> boolean(False), boolean("true")
    (False, True)
    """
    if isinstance(value, bool):
        return value
    if value == "true":
        return True
    if value == "false":
        return False
    raise ValueError("not true or false")


def instant(zone: str = "UTC", format: str | None = None, *, local: bool = False) -> Converter:
    """A moment (date_time), as text in `zone`: ISO 8601 with its offset, or a pendulum `format`.

    Fenxiang sends epoch milliseconds, as a number or digits; ISO text is taken when it names its offset. With `local`,
    text without one is the clock of `zone`, as an ERP writes it; a moment that the clock shows twice is rejected.

    >>> instant()(1696161600000)
    '2023-10-01T12:00:00+00:00'
    >>> local = instant("Asia/Shanghai", "YYYY-MM-DD HH:mm:ss")
    >>> local(1696161600000), local("2023-10-01T12:00:00Z")
    ('2023-10-01 20:00:00', '2023-10-01 20:00:00')
    >>> instant("Asia/Shanghai", local=True)("2023-10-01 20:00:00")
    '2023-10-01T20:00:00+08:00'
    """
    place = time_zone(zone)
    if type(local) is not bool:
        raise DeclarationError(f"instant(local={local!r}): give True or False")
    write = datetime.isoformat if format is None else _formatter(format)
    here = place if local else None

    def written(value: Any) -> str:
        return write(_moment(value, place, here))

    settings = f'"{zone}"' if format is None else f'"{zone}", "{format}"'
    settings += ", local=True" if local else ""
    return Converter(f"instant({settings})", written, kind=Kind.INSTANT if format is None else Kind.TEXT)


def day(format: str = "YYYY-MM-DD") -> Converter:
    """A calendar day (date), as text. Fenxiang sends a day as its midnight in Asia/Shanghai, in epoch milliseconds.

    >>> day()(1790179200000), day("YYYYMMDD")("2026-09-24")
    ('2026-09-24', '20260924')
    """
    place = time_zone(SHANGHAI)
    write = _formatter(format)

    def written(value: Any) -> str:
        if isinstance(value, str) and len(value) == len("2026-09-24"):
            return write(datetime.combine(_calendar_day(value), datetime.min.time(), place))
        return write(_moment(value, place))

    if format == "YYYY-MM-DD":
        return Converter("day()", written, kind=Kind.DAY)
    return Converter(f'day("{format}")', written, kind=Kind.TEXT)


def choice(options: Iterable[Any] | Mapping[Any, Any] | type[Enum]) -> Converter:
    """One of the declared option values; a dict says what each becomes. Any other value is rejected.

    >>> choice(["normal", "invalid"])("normal")
    'normal'
    >>> choice({"KHLB001_SYS": 1})("KHLB001_SYS")
    1
    >>> choice(["normal", "invalid"])("作废")
    Traceback (most recent call last):
    ValueError: not one of the declared options 'normal', 'invalid'
    """
    if isinstance(options, str) or not hasattr(options, "__iter__"):
        raise DeclarationError(f"choice({options!r}): give a list of option values, or a dict of what each becomes")
    becomes = _options(options)
    if not becomes:
        raise DeclarationError("choice() without options rejects every record; list the option values")

    def chosen(value: Any) -> Any:
        try:
            return becomes[value]
        except TypeError:
            raise ValueError(f"{_kind(value)} is no option; take one of it with first(choice(...))") from None
        except KeyError:
            raise ValueError(_not_an_option(value, list(becomes))) from None

    shown = list(becomes) if all(key == value for key, value in becomes.items()) else becomes
    return Converter(f"choice({shown})", chosen, kind=kind_of(becomes.values()), options=tuple(becomes))


def first(convert: Callable[[Any], Any] = as_is) -> Converter:
    """The first of a list (an owner, a department), converted by `convert`; null of an empty list. One value is itself.

    >>> first()(["FSUID_demo"]), first(integer)(["1003", "1004"]), first()([])
    ('FSUID_demo', 1003, None)
    """
    inner = converter(convert)

    def taken(value: Any) -> Any:
        if isinstance(value, list):
            value = value[0] if value else None
        return None if is_null(value) else inner(value)

    if getattr(inner, "companion", ""):
        raise DeclarationError(f"first({written(inner)}): {written(inner)} reads another field; write it alone")
    kind, scale = given_by(inner)
    return Converter(
        "first()" if inner is as_is else f"first({written(inner)})",
        taken,
        kind=kind,
        scale=scale,
        options=getattr(inner, "options", ()),
    )


def _label(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return _label_of_object(value)
    if isinstance(value, list):
        return ", ".join(found for item in value if (found := _label(item))) or None
    raise ValueError(f"{_kind(value)} is no label; a label is text or an object with a name")


def _label_of_object(companion: Mapping[str, Any]) -> str | None:
    if not companion:
        return None
    for name in ("name", "deptName"):
        if isinstance(companion.get(name), str):
            return str(companion[name]) or None
    raise ValueError("an object without name or deptName is no label; read a part of it with a dotted path")


label = Converter("label", _label, companion="__r", kind=Kind.TEXT)
"""What people read for an option, a reference, an employee or a department: its ``__r`` companion.

>>> label("正常"), label({"id": "1000", "name": "Demo User"}), label({"deptId": "1003", "deptName": "Sales"})
('正常', 'Demo User', 'Sales')
"""


def is_null(value: Any) -> bool:
    """Fenxiang leaves null and empty fields out alike, so None, "", [] and {} are all null; 0 and False are values."""
    return not value and not isinstance(value, int | Decimal | float)


def converter(given: Any) -> Callable[[Any], Any]:
    """What `convert=` was given, ready to be called; raises `DeclarationError` for what converts nothing."""
    if given in (decimal, instant, day, first):
        return converter(given())
    if given is choice:
        raise DeclarationError('choice needs its options: choice(["normal", "invalid"])')
    if isinstance(given, Converter) or given in (as_is, text, integer, boolean):
        return cast("Callable[[Any], Any]", given)
    if isinstance(given, str):
        near = difflib.get_close_matches(given.split("(")[0], WORDS, n=1, cutoff=0.4)
        raise DeclarationError(
            f"convert={given!r} is text that names a converter; give the converter itself"
            + (f": import {near[0]} and write convert={near[0]}" if near else f": one of {', '.join(WORDS)}")
        )
    if not callable(given) or isinstance(given, type):
        raise DeclarationError(f"convert={given!r} is no converter; use {', '.join(WORDS)} or a function of one value")
    name = getattr(given, "__name__", type(given).__name__)
    if name == "<lambda>":
        raise DeclarationError("convert=lambda has no name to show on the DAG page and in a dead letter; use def")
    return Converter(name, lambda value: as_is(given(own(value))))


def own(value: Any) -> Any:
    """The value for a function of the declaration, which may change a list or an object that it is given."""
    return deepcopy(value) if isinstance(value, list | dict) else value


WORDS = ("text", "integer", "decimal", "boolean", "instant", "day", "choice", "first", "label", "as_is")


def written(convert: Callable[[Any], Any]) -> str:
    """A converter as a declaration writes it.

    >>> written(integer), written(first(decimal(scale=2)))
    ('integer', 'first(decimal(scale=2))')
    """
    return convert.written if isinstance(convert, Converter) else convert.__name__


def given_by(convert: Callable[[Any], Any]) -> tuple[Kind, int | None]:
    """The kind of what a converter gives, and its number of decimals where that is fixed.

    >>> given_by(integer), given_by(decimal(scale=2)), given_by(as_is)
    ((<Kind.INTEGER: 'integer'>, None), (<Kind.DECIMAL: 'decimal'>, 2), (<Kind.JSON: 'json'>, None))
    """
    if isinstance(convert, Converter):
        return convert.kind, convert.scale
    return _PLAIN.get(convert, Kind.JSON), None


_PLAIN: dict[Any, Kind] = {text: Kind.TEXT, integer: Kind.INTEGER, boolean: Kind.BOOLEAN}


def time_zone(name: str) -> zoneinfo.ZoneInfo:
    """The zone of that IANA name; raises `DeclarationError` with the nearest name there is."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        near = difflib.get_close_matches(str(name), zoneinfo.available_timezones(), n=1)
        raise DeclarationError(
            f"{name!r} is no time zone; " + (f"did you mean {near[0]!r}?" if near else f"use a name like {SHANGHAI!r}")
        ) from None


def _number(value: Any) -> Decimal:
    if isinstance(value, str) and _SHORT_NUMBER.fullmatch(value):
        return Decimal(value)
    exact = _exact(value)
    if not exact.is_finite():
        raise ValueError(f"{exact} is no number that can be stored")
    if abs(exact.adjusted()) > _LARGEST_EXPONENT or len(exact.as_tuple().digits) > _LARGEST_EXPONENT:
        raise ValueError(f"has more than {_LARGEST_EXPONENT} digits")
    return exact


def _exact(value: Any) -> Decimal:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return Decimal(value)
    if isinstance(value, Decimal):
        return value if type(value) is Decimal else Decimal(value)
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    raise ValueError("not a number" if isinstance(value, str) else f"{_kind(value)} is no number")


def _whole(value: Any) -> int:
    if isinstance(value, str):
        if len(value) < 19 and value.isdecimal() and value.isascii():
            return int(value)
        if not _INTEGER.fullmatch(value):
            raise ValueError("not a whole number; use decimal()" if _NUMBER.fullmatch(value) else "not a number")
        return int(value.partition(".")[0])
    exact = _number(value)
    if exact != exact.to_integral_value():
        raise ValueError("not a whole number; use decimal()")
    return int(exact)


def epoch_ms(value: Any) -> int:
    """Epoch milliseconds of what Fenxiang sends for a moment: the number, its digits, or ISO text with an offset.

    >>> epoch_ms(1696161600000) == epoch_ms("1696161600000") == epoch_ms("2023-10-01T12:00:00Z")
    True
    """
    if isinstance(value, str) and not _EPOCH_MS.fullmatch(value):
        return (_aware(value) - _EPOCH) // timedelta(milliseconds=1)
    return integer(value)


def _moment(value: Any, zone: tzinfo, here: tzinfo | None = None) -> datetime:
    try:
        if isinstance(value, str) and not _EPOCH_MS.fullmatch(value):
            return _aware(value, here).astimezone(zone)
        return (_EPOCH + timedelta(milliseconds=value if type(value) is int else _whole(value))).astimezone(zone)
    except OverflowError:
        raise ValueError("is outside the years 1 to 9999; epoch milliseconds are expected") from None


def _aware(iso: str, here: tzinfo | None = None) -> datetime:
    """The moment that ISO text means; `here` is the zone of text without an offset, None where it has to have one."""
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        raise ValueError("not a moment; epoch milliseconds or ISO 8601 with its offset are expected") from None
    if moment.tzinfo is not None:
        return moment
    if here is None:
        raise ValueError("a time without zone could be meant anywhere; add Z or an offset")
    return _shown_once(moment.replace(tzinfo=here))


def _shown_once(moment: datetime) -> datetime:
    if moment.utcoffset() != moment.replace(fold=1).utcoffset():
        raise ValueError("the clock of its zone shows it twice or never, when summer time begins or ends")
    return moment


def _calendar_day(iso: str) -> date:
    try:
        return date.fromisoformat(iso)
    except ValueError:
        raise ValueError("not a day; epoch milliseconds or YYYY-MM-DD are expected") from None


_TOKENS = {"YYYY": "%04d", "MM": "%02d", "DD": "%02d", "HH": "%02d", "mm": "%02d", "ss": "%02d"}
_PARTS = {"YYYY": "year", "MM": "month", "DD": "day", "HH": "hour", "mm": "minute", "ss": "second"}
_PLAIN_FORMAT = re.compile(r"(YYYY|MM(?!M)|DD(?!D)|HH(?!H)|mm(?!m)|ss(?!s)|[^A-Za-z\[\\])")
"""Formats of these tokens alone are written by one ``%``, some ten times faster than pendulum writes them."""


def _formatter(format: str) -> Callable[[datetime], str]:
    _check_format(format)
    pieces = _PLAIN_FORMAT.findall(format)
    parts = [_PARTS[piece] for piece in pieces if piece in _PARTS]
    if "".join(pieces) != format or len(parts) < 2:
        return lambda moment: pendulum.instance(moment).format(format)
    pattern = "".join(_TOKENS.get(piece, piece.replace("%", "%%")) for piece in pieces)
    take = attrgetter(*parts)
    return lambda moment: pattern % take(moment)


def _check_format(format: Any) -> None:
    if not isinstance(format, str) or not format:
        raise DeclarationError(f"format={format!r}: give pendulum tokens, as in 'YYYY-MM-DD HH:mm:ss'")
    for wrong, meant in (("%Y", "YYYY"), ("%m", "MM"), ("%d", "DD"), ("yyyy", "YYYY"), ("HH:MM", "HH:mm")):
        if wrong in format:
            raise DeclarationError(f"format={format!r}: pendulum's token is {meant!r}, not {wrong!r}")


def _options(options: Iterable[Any] | Mapping[Any, Any]) -> dict[Any, Any]:
    if isinstance(options, Mapping):
        pairs = list(options.items())
    else:
        in_order = sorted(options, key=repr) if isinstance(options, set | frozenset) else options
        pairs = [(option, option) for option in (o.value if isinstance(o, Enum) else o for o in in_order)]
    try:
        return {option: as_is(becomes) for option, becomes in pairs}
    except (ValueError, TypeError) as error:
        raise DeclarationError(f"choice(): {error}") from None


def _not_an_option(value: Any, options: list[Any]) -> str:
    near = difflib.get_close_matches(str(value)[:80], [str(option) for option in options], n=1)
    if near:
        return f"not one of the {len(options)} declared options; the nearest is {near[0]!r}"
    named = ", ".join(repr(option) for option in options[:8])
    return f"not one of the declared options {named}" + (" …" if len(options) > 8 else "")


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return {dict: "an object", bool: "true or false", type(None): "null"}.get(type(value), type(value).__name__)


def _name(key: Any) -> str:
    if isinstance(key, str):
        return key
    raise ValueError(f"{key!r} is no name of a value in an object; names are text")

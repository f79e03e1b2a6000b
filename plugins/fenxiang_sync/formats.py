"""Formats: converters that change how a value is written (值格式化, 解析器, 静态映射), and `chain` of several.

Each is a converter like those of `convert`: it takes one value that is not null, and what does not fit raises
`ValueError` with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from enum import Enum
from typing import Any

import msgspec

from fenxiang_sync.columns import Kind, kind_of
from fenxiang_sync.convert import Converter, as_is, converter, decimal, given_by, is_null, text, written
from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.paths import shown

_MOST_DECIMALS = 30
_json = msgspec.json.Decoder(float_hook=Decimal)


class Unmatched(Enum):
    """What becomes of a value that a value map does not have (未匹配)."""

    REJECT = "reject"
    """标记异常: the record becomes a dead letter that names the value."""
    KEEP = "keep"
    """保留原值: the value stays as it is."""
    NULL = "null"
    """The value becomes null."""


def value_map(
    table: Mapping[Any, Any] | Iterable[tuple[Any, Any]],
    *,
    unmatched: Unmatched = Unmatched.REJECT,
    default: Any = None,
) -> Converter:
    """静态映射: what each value becomes. One that is not in the table is rejected, unless `unmatched` or a `default`
    (设置默认值) says otherwise. Keys are compared as text, since Fenxiang sends numbers of options as text.

    >>> level = value_map({"1": "A", "2": "B"}, default="C")
    >>> level("1"), level(2), level("9")
    ('A', 'B', 'C')
    >>> value_map({"1": "A"})("9")
    Traceback (most recent call last):
    ValueError: not in the value map of '1'; add it there, or say what becomes of others (unmatched=, default=)
    """
    pairs = _pairs(table)
    becomes = _becomes(pairs)
    if not isinstance(unmatched, Unmatched):
        raise DeclarationError(f"value_map: unmatched={unmatched!r}; give Unmatched.REJECT, KEEP or NULL")
    if default is not None and unmatched is not Unmatched.REJECT:
        raise DeclarationError(f"value_map: default={default!r} and unmatched={unmatched} are two answers; keep one")
    instead = as_is(default)

    def mapped(value: Any) -> Any:
        key = _key(value)
        if key in becomes:
            return becomes[key]
        if instead is not None or unmatched is Unmatched.NULL:
            return instead
        if unmatched is Unmatched.KEEP:
            return as_is(value)
        some = ", ".join(repr(each) for each in list(becomes)[:6])
        raise ValueError(
            f"not in the value map of {some}; add it there, or say what becomes of others (unmatched=, default=)"
        )

    says = [f"{dict(pairs)!r}"] + ([f"default={default!r}"] if default is not None else [])
    says += [] if unmatched is Unmatched.REJECT else [f"unmatched={unmatched}"]
    kind = Kind.JSON if unmatched is Unmatched.KEEP else kind_of([*becomes.values(), instead])
    options = tuple(becomes) if instead is None and unmatched is Unmatched.REJECT else ()
    return Converter(f"value_map({', '.join(says)})", mapped, kind=kind, options=options)


def split(separator: str = ",") -> Converter:
    """`StringToArray`: text in parts, without the spaces around them; blank text is an empty list.

    >>> split()("a, b,c"), split("|")(" ")
    (['a', 'b', 'c'], [])
    """
    _checked(separator, "split")

    def parts(value: Any) -> list[str]:
        if isinstance(value, list):
            return [text(each) for each in value]
        return [part.strip() for part in text(value).split(separator)] if text(value).strip() else []

    return Converter(f"split({separator!r})", parts)


def joined(separator: str = ", ") -> Converter:
    """`ArrayToString`, `implode`: a list as one text; a single value is itself.

    >>> joined("|")(["optA", "optB"]), joined()("optA")
    ('optA|optB', 'optA')
    """
    _checked(separator, "joined")

    def together(value: Any) -> str | None:
        found = value if isinstance(value, list) else [value]
        return separator.join(text(each) for each in found if not is_null(each)) or None

    return Converter(f"joined({separator!r})", together, kind=Kind.TEXT)


def rounded(decimals: int = 2) -> Converter:
    """`round(n)`: a number rounded half up, as people round money; `rounded(0)` is `intval` with rounding.

    >>> rounded(2)("0.125"), rounded(0)("2.5")
    (Decimal('0.13'), Decimal('3'))
    """
    step = Decimal(1).scaleb(-_decimals(decimals, "rounded"))

    def shorter(value: Any) -> Decimal:
        try:
            return _exact(value).quantize(step, rounding=ROUND_HALF_UP)
        except InvalidOperation:
            raise ValueError("has too many digits to be rounded") from None

    return Converter(f"rounded({decimals})", shorter, kind=Kind.DECIMAL, scale=decimals)


def truncated(value: Any) -> int:
    """`intval`: the whole part of a number.

    >>> truncated("2.9"), truncated("-2.9")
    (2, -2)
    """
    return int(_exact(value))


def money(symbol: str = "￥", decimals: int = 2) -> Converter:
    """`amount`: a number as text for people, with thousands and a currency.

    >>> money()("1000000"), money("$", 0)("-1234.5")
    ('￥1,000,000.00', '-$1,235')
    """
    number = rounded(decimals)

    def shown(value: Any) -> str:
        amount = number(value)
        return f"{'-' if amount < 0 else ''}{symbol}{abs(amount):,.{decimals}f}"

    return Converter(f"money({symbol!r}, {decimals})", shown, kind=Kind.TEXT)


def cut(length: int = 15) -> Converter:
    """`longText(n)`: text of at most so many characters; what is longer ends with ….

    >>> cut(4)("客户名称很长"), cut(4)("短")
    ('客户名称…', '短')
    """
    if type(length) is not int or length < 1:
        raise DeclarationError(f"cut({length!r}): give how many characters are kept, 1 or more")

    def short(value: Any) -> str:
        said = text(value)
        return said if len(said) <= length else f"{said[:length]}…"

    return Converter(f"cut({length})", short, kind=Kind.TEXT)


def wrapped(*names: str) -> Converter:
    """`ConvertObjectParser`, `ConvertTwoStageObjectParser`: the value inside objects of these names.

    >>> wrapped("FNumber")("CK01"), wrapped("FStock", "FNumber")("CK01")
    ({'FNumber': 'CK01'}, {'FStock': {'FNumber': 'CK01'}})
    """
    _named(names, "wrapped", "FNumber")

    def inside(value: Any) -> Any:
        made = as_is(value)
        for name in reversed(names):
            made = {name: made}
        return made

    return Converter(f"wrapped({', '.join(map(repr, names))})", inside)


def unwrapped(*names: str) -> Converter:
    """The value inside objects of these names, the reverse of `wrapped`; text is read as the JSON of an object, as the
    CRM keeps composite values (适用客户: ``{"type":"FIXED","value":"FIXED"}``).

    >>> unwrapped("type")('{"type":"FIXED","value":"FIXED"}'), unwrapped("a", "b")({"a": {"b": "1"}})
    ('FIXED', '1')
    >>> unwrapped("type")("ALL")
    Traceback (most recent call last):
    ValueError: no object with 'type', and no JSON of one
    """
    _named(names, "unwrapped", "FNumber")

    def taken(value: Any) -> Any:
        found = _object(value)
        for name in names:
            if not isinstance(found, Mapping) or name not in found:
                raise ValueError(f"no object with {name!r}, and no JSON of one")
            found = found[name]
        return as_is(found)

    return Converter(f"unwrapped({', '.join(map(repr, names))})", taken)


def limited(length: int) -> Converter:
    """Text of at most so many characters; longer text rejects the record instead of being cut.

    >>> limited(4)("短")
    '短'
    >>> limited(4)("客户名称很长")
    Traceback (most recent call last):
    ValueError: has 6 characters, and the target takes 4; shorten it at its source, or cut(4) it
    """
    if type(length) is not int or length < 1:
        raise DeclarationError(f"limited({length!r}): give how many characters the target takes, 1 or more")

    def checked(value: Any) -> str:
        said = text(value)
        if len(said) > length:
            raise ValueError(
                f"has {len(said)} characters, and the target takes {length}; shorten it at its source, "
                f"or cut({length}) it"
            )
        return said

    return Converter(f"limited({length})", checked, kind=Kind.TEXT)


def prefixed(prefix: str) -> Converter:
    """Text with something before it, so that ids of several tenants or systems do not meet in one target.

    >>> prefixed("north-")("SO00000001")
    'north-SO00000001'
    """
    given: Any = prefix
    if not isinstance(given, str) or not given:
        raise DeclarationError(f"prefixed({prefix!r}): give the text that stands before the value, as in 'north-'")
    return Converter(f"prefixed({prefix!r})", lambda value: prefix + text(value), kind=Kind.TEXT)


def key_values(value: Any) -> list[dict[str, Any]]:
    """`ConvertJson`: an object as a list of its keys and values; a key of digits becomes a number.

    >>> key_values({"1033": "x"})
    [{'Key': 1033, 'Value': 'x'}]
    """
    if not isinstance(value, Mapping):
        raise ValueError("no object; only an object has keys")  # noqa: TRY004 - what converters raise
    pairs = [(str(key), as_is(each)) for key, each in value.items()]
    return [{"Key": int(key) if key.isascii() and key.isdecimal() else key, "Value": each} for key, each in pairs]


def chain(*converts: Callable[[Any], Any]) -> Converter:
    """Several converters, one after the other; null from one of them is null.

    >>> chain(rounded(0), text)("2.5")
    '3'
    """
    if len(converts) < 2:
        raise DeclarationError("chain() joins two converters or more")
    steps = [converter(each) for each in converts]
    for each in steps[1:]:
        if getattr(each, "companion", ""):
            raise DeclarationError(f"chain: {written(each)} reads another field; it can only come first")

    def through(value: Any) -> Any:
        for each in steps:
            if is_null(value):
                return None
            value = each(value)
        return value

    kind, scale = given_by(steps[-1])
    companion = getattr(steps[0], "companion", "")
    said = ", ".join(written(each) for each in steps)
    return Converter(f"chain({said})", through, companion=companion, kind=kind, scale=scale)


def _pairs(table: Any) -> list[tuple[Any, Any]]:
    """The rows of the table; raises `DeclarationError` for what is none."""
    rows: Any = table.items() if isinstance(table, Mapping) else table
    try:
        pairs: list[Any] = [("" if isinstance(row, str) else tuple(row)) for row in rows]
    except TypeError:
        pairs = [()]
    if any(len(pair) != 2 for pair in pairs):
        raise DeclarationError(f"value_map({shown(table)}): give a dict of what each value becomes, or pairs of them")
    return pairs


def _becomes(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    if not pairs:
        raise DeclarationError("value_map({}) maps nothing; list what each value becomes")
    becomes: dict[str, Any] = {}
    for value, instead in pairs:
        try:
            key = _key(value)
        except ValueError as error:
            raise DeclarationError(f"value_map: {shown(value)}: {error}") from None
        if key in becomes:
            raise DeclarationError(f"value_map: {value!r} is there twice; a value becomes one thing")
        try:
            becomes[key] = as_is(instead)
        except ValueError as error:
            raise DeclarationError(f"value_map: {value!r} becomes {instead!r}: {error}") from None
    return becomes


def _key(value: Any) -> str:
    if isinstance(value, list | dict):
        raise ValueError("a list or an object is in no value map; take one of it: chain(first(), value_map(…))")  # noqa: TRY004
    return text(value)


_number = decimal()


def _exact(value: Any) -> Decimal:
    found: Decimal = _number(value)
    return found


def _decimals(given: Any, word: str) -> int:
    if type(given) is not int or not 0 <= given <= _MOST_DECIMALS:
        raise DeclarationError(f"{word}({given!r}): give the number of decimals, 0 to {_MOST_DECIMALS}")
    return given


def _named(names: tuple[Any, ...], word: str, example: str) -> None:
    if not names or not all(isinstance(name, str) and name for name in names):
        raise DeclarationError(f"{word}{names!r}: name the properties, the outermost first, as in {word}({example!r})")


def _object(value: Any) -> Any:
    """What JSON text says; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return _json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return value


def _checked(separator: Any, word: str) -> None:
    if not isinstance(separator, str) or not separator:
        raise DeclarationError(f"{word}({separator!r}): give the text between the parts, as in {word}(',')")

"""Field, Constant: the plain words of a mapping. A value of the record, converted; or one that is always the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Mapping as Record
from dataclasses import KW_ONLY, dataclass
from decimal import Decimal
from typing import Any

from fenxiang_sync.columns import Column, kind_of
from fenxiang_sync.convert import Converter, as_is, converter, given_by, is_null, written
from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.paths import Read, finder, found, path_problems, shown, source_problems, top


@dataclass(frozen=True)
class Field:
    """One value of the row: `source`, a field of the record, becomes the target path `to` (by default the same name).

    Both are dotted where they lead into an object, ``location.city``; `source` into a list too, by the place from 0 on:
    ``lines.0.name``. `convert` is a converter or a function of one value; it never sees null. `default` stands in for
    null; a `required` field rejects a record that has none.
    """

    source: str
    to: str | None = None
    _: KW_ONLY
    convert: Callable[[Any], Any] = as_is
    required: bool = False
    default: Any = None

    @property
    def target(self) -> str:
        return self.source if self.to is None else self.to

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    @property
    def origin(self) -> str:
        return self.source

    @property
    def asks(self) -> tuple[str, ...]:
        """The record's own fields that it reads: the declared one and, for a label, its companion."""
        own = top(self.source)
        companion = _companion(self.convert)
        return (own, own + companion) if companion else (own,)

    @property
    def column(self) -> Column:
        """What every row has at the target path. A default is taken to be of the converter's kind."""
        kind, scale = given_by(converter(self.convert))
        return Column(path=self.target, kind=kind, scale=scale, required=self.required or self.default is not None)

    @property
    def rule(self) -> str:
        """What null becomes, for people: required, a default, or nothing."""
        if self.required:
            return "required"
        return "" if self.default is None else f"default {shown(self.default)}"

    def problems(self) -> Iterator[str]:
        """What cannot be meant as written; empty for a field that can."""
        yield from source_problems(self.source)
        if self.to is None and any(part.isdecimal() for part in str(self.source).split(".")):
            yield f"source {self.source!r} reads a place of a list; name the target path as well, with to="
        yield from path_problems(self.target, "to")
        yield from value_problems(self.default, "default")
        if not isinstance(self.required, bool):
            yield f"required={self.required!r}: give True or False"
        elif self.required and self.default is not None:
            yield f"required, and default={self.default!r} as well; keep one: a default is never missed"
        try:
            companion = _companion(converter(self.convert))
        except DeclarationError as error:
            yield str(error)
        else:
            if companion and "." in self.source:
                yield f"{written(self.convert)} reads a companion of the record itself; name a field without a dot"

    def compile(self) -> Read:
        """A function from a record to this field's value; raises `ValueError` with the reason."""
        convert = converter(self.convert)
        name = self.source + _companion(convert)
        find = finder(name)
        instead = self._instead(name)

        def read_top(record: Record[str, Any]) -> Any:
            value = record.get(name)
            if value or isinstance(value, int | Decimal | float):  # is_null, written out: this line runs most
                value = convert(value)
                if value is not None:
                    return value
            return instead(record)

        def read_deep(record: Record[str, Any]) -> Any:
            value = find(record)
            converted = None if is_null(value) else convert(value)
            return instead(record) if converted is None else converted

        return read_deep if "." in name else read_top

    def found(self, record: Record[str, Any]) -> Any:
        """The raw value, for a message about it."""
        return found(record, self.source)

    def named(self) -> str:
        return f"Field({self.source!r})" if self.to is None else f"Field({self.source!r}, {self.to!r})"

    def said(self) -> list[Any]:
        """All that decides what it makes, as JSON."""
        return [self.source, self.target, written(converter(self.convert)), self.required, repr(self.default)]

    def made_by(self) -> str:
        return written(converter(self.convert))

    def _instead(self, name: str) -> Read:
        """What stands in for null."""

        def instead(record: Record[str, Any]) -> Any:
            if self.required:
                raise ValueError("it is required, and the record has none")
            if self.default is None and name != self.source and not is_null(record.get(self.source)):
                raise ValueError(f"Fenxiang sent no {name} with it; map the value itself, or give a default")
            return as_is(self.default)

        return instead


@dataclass(frozen=True)
class Constant:
    """One value that is the same in every row."""

    to: str
    value: Any

    @property
    def target(self) -> str:
        return self.to

    @property
    def sources(self) -> tuple[str, ...]:
        return ()

    @property
    def asks(self) -> tuple[str, ...]:
        return ()

    @property
    def origin(self) -> str:
        return ""

    @property
    def rule(self) -> str:
        return ""

    @property
    def column(self) -> Column:
        """What every row has at the target path."""
        return Column(path=self.to, kind=kind_of([self.value]), required=self.value is not None)

    def problems(self) -> Iterator[str]:
        yield from path_problems(self.to, "to")
        yield from value_problems(self.value, "value")

    def compile(self) -> Read:
        value = as_is(self.value)
        return lambda _record: value

    def found(self, _record: Record[str, Any]) -> Any:
        return self.value

    def named(self) -> str:
        return f"Constant({self.to!r})"

    def said(self) -> list[Any]:
        return ["constant", self.to, repr(self.value)]

    def made_by(self) -> str:
        return f"constant {self.value!r}"


def value_problems(value: Any, word: str) -> Iterator[str]:
    """What is wrong with a value of the declaration that goes into rows."""
    try:
        as_is(value)
    except ValueError as error:
        yield f"{word}={shown(value)}: {error}"


def _companion(convert: Callable[[Any], Any]) -> str:
    return convert.companion if isinstance(convert, Converter) else ""

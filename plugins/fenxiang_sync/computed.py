"""Computed: a value of the row that a plain Python function makes of several fields of the record.

::

    def line_total(price: Any, quantity: Any) -> Decimal | None:
        return None if price is None or quantity is None else Decimal(price) * Decimal(quantity)

    Computed(line_total, "total", reads=["price", "quantity"], kind=Kind.DECIMAL)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as Record
from dataclasses import KW_ONLY, dataclass
from decimal import Decimal
from typing import Any

from fenxiang_sync.columns import Column, Kind
from fenxiang_sync.convert import as_is, is_null, own
from fenxiang_sync.entry import UnfitError
from fenxiang_sync.paths import Read, finder, found, path_problems, shown, source_problems, top

_INT64 = range(-(2**63), 2**63)
_FITS: dict[Kind, Callable[[Any], bool]] = {
    Kind.TEXT: lambda value: type(value) is str,
    Kind.INTEGER: lambda value: type(value) is int and value in _INT64,
    Kind.DECIMAL: lambda value: type(value) is int or isinstance(value, Decimal),
    Kind.BOOLEAN: lambda value: type(value) is bool,
    Kind.INSTANT: lambda value: type(value) is str,
    Kind.DAY: lambda value: type(value) is str,
    Kind.JSON: lambda _value: True,
}


@dataclass(frozen=True)
class Computed:
    """What `function` makes of the values at the paths `reads`, in that order, at the target path `to`.

    The function gets the values as Fenxiang sends them, and None for each that is null. A `ValueError` of it, or any
    other error, rejects the record, with all the values in the reason. It gives a value of `kind` (JSON: any), or None;
    a `required` one rejects a record that it gives None for.
    """

    function: Callable[..., Any]
    to: str
    _: KW_ONLY
    reads: Sequence[str]
    kind: Kind = Kind.JSON
    required: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.reads, str) and hasattr(self.reads, "__iter__"):
            object.__setattr__(self, "reads", tuple(self.reads))

    @property
    def target(self) -> str:
        return self.to

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(self.reads)

    @property
    def origin(self) -> str:
        return ", ".join(self.reads)

    @property
    def asks(self) -> tuple[str, ...]:
        """The record's own fields that it reads."""
        return tuple(map(top, self.reads))

    @property
    def column(self) -> Column:
        return Column(path=self.to, kind=self.kind, required=self.required)

    @property
    def rule(self) -> str:
        return "required" if self.required else ""

    def problems(self) -> Iterator[str]:
        """What cannot be meant as written, each as a sentence."""
        yield from path_problems(self.to, "to")
        if not isinstance(self.reads, tuple) or not self.reads:
            yield f"reads={self.reads!r}: give a list of source fields, one for each argument of the function"
            return
        for each in self.reads:
            yield from source_problems(each, "reads")
        yield from self._function_problems()
        if not isinstance(self.kind, Kind):
            yield f"kind={self.kind!r}: choose one of {', '.join(map(str, Kind.__members__))} of Kind"
        if not isinstance(self.required, bool):
            yield f"required={self.required!r}: give True or False"

    def _function_problems(self) -> Iterator[str]:
        function: Any = self.function
        if not callable(function) or isinstance(function, type):
            yield f"{self.function!r} is no function; name a function of {len(self.reads)} values"
            return
        if self._name == "<lambda>":
            yield "a lambda has no name to show on the DAG page and in a dead letter; use def"
        try:
            inspect.signature(self.function).bind(*self.reads)
        except TypeError as error:
            yield f"{self._name} cannot be called with the {len(self.reads)} values of reads: {error}"
        except ValueError:
            pass  # a function of C that does not tell its arguments

    def compile(self) -> Read:
        """A function from a record to the value; raises `UnfitError` with what the function was given."""
        function, name, kind, required = self.function, self._name, self.kind, self.required
        fits = _FITS[kind]
        find = [(path, finder(path)) for path in self.reads]

        def read(record: Record[str, Any]) -> Any:
            given = {path: _null(each(record)) for path, each in find}
            try:
                value = as_is(function(*(own(given[path]) for path, _ in find)))
            except ValueError as error:
                raise UnfitError(f"{name}: {error}", given) from None
            except Exception as error:  # noqa: BLE001  it may raise anything
                raise UnfitError(f"{name}: {type(error).__name__}: {error}", given) from None
            if is_null(value):
                if required:
                    raise UnfitError(f"it is required, and {name} gave none", given)
                return None
            if not fits(value):
                raise UnfitError(f"{name} gave {shown(value)}, which is no {kind}", given)
            return value

        return read

    def found(self, record: Record[str, Any]) -> Any:
        """The raw values, for a message about them."""
        return {path: found(record, path) for path in self.reads}

    def named(self) -> str:
        return f"Computed({self._name}, {self.to!r})"

    def said(self) -> list[Any]:
        """All that decides what it makes, as JSON; the function counts by its name."""
        return ["computed", self._name, self.to, list(self.reads), self.kind, self.required]

    def made_by(self) -> str:
        return f"computed by {self._name}"

    @property
    def _name(self) -> str:
        return str(getattr(self.function, "__name__", type(self.function).__name__))


def _null(value: Any) -> Any:
    return None if is_null(value) else value

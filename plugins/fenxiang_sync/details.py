"""Details (从对象): detail records that are fetched for each record, since Fenxiang's query gives the header alone.

::

    Source(object="SalesOrderObj", details=[Details("SalesOrderProductObj", by="order_id")])

They are a list in the record, under the name of their object: for `Lines`, `Explode` and conditions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from fenxiang_sync.source import Filter

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True)
class Details:
    """The records of `object` whose field `by` refers to the record, as the list `into` of it, sorted by ``_id``.

    Asked for is what the mapping reads of a line, and the further `fields`. `filters` are Fenxiang's own. Voided
    details are left out, unless the record is voided itself. `watch`: a detail that changes alone brings its record,
    though that has no new stamp; each run then asks for the details that changed in its window.
    """

    object: str
    _: KW_ONLY
    by: str
    into: str | None = None
    fields: Sequence[str] = ()
    filters: Sequence[Filter] = ()
    watch: bool = True

    def __post_init__(self) -> None:
        for word in ("fields", "filters"):
            given = getattr(self, word)
            if not isinstance(given, str) and hasattr(given, "__iter__"):
                object.__setattr__(self, word, tuple(given))

    @property
    def name(self) -> str:
        """The name of the list in the record."""
        return self.object if self.into is None else self.into

    def problems(self) -> Iterator[str]:
        """What cannot be meant as written, each as a sentence."""
        named: dict[str, Any] = {"object": self.object, "by": self.by, "into": self.name}
        for word, value in named.items():
            if not isinstance(value, str) or not _NAME.fullmatch(value):
                yield f"details: {word}={value!r}: give an API name, as in Details('QuoteLinesObj', by='quote_id')"
        names: Any = self.fields
        if not isinstance(names, tuple) or not all(isinstance(each, str) and _NAME.fullmatch(each) for each in names):
            yield f"details: fields={self.fields!r}: list API names of the detail object"
        if not isinstance(self.watch, bool):
            yield f"details: watch={self.watch!r}: give True or False"

    def said(self) -> list[Any]:
        """All that decides what is read, as JSON."""
        return [self.object, self.by, self.name, list(self.fields), [each.wire() for each in self.filters], self.watch]

    def __str__(self) -> str:
        watched = "; one that changes alone brings its record" if self.watch else ""
        return f"`{self.object}` by `{self.by}` as the list `{self.name}`{watched}"

"""Lines: a list in the row, each of its elements mapped from one element of a list of the record.

::

    Lines(
        "SalesOrderProductObj",
        "FSaleOrderEntry",
        fields=[Field("product_id", "FMaterialId"), Field("quantity", "FQty", convert=decimal())],
        keeps=[[Condition("quantity", Logic.GT, 0)]],
        group=Group(by=["FMaterialId"], take={"FQty": Take.SUM}),
        most=50,
    )

Within `fields` and `keeps` everything is read from the line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as Record
from dataclasses import KW_ONLY, dataclass
from typing import Any

from fenxiang_sync.columns import Column, Kind
from fenxiang_sync.computed import Computed
from fenxiang_sync.condition import Condition, keeper
from fenxiang_sync.convert import is_null
from fenxiang_sync.entry import Form, Rejected, UnfitError, WaitingError, reasons, target_problems, values
from fenxiang_sync.errors import RecordError
from fenxiang_sync.field import Constant, Field
from fenxiang_sync.group import Group
from fenxiang_sync.lookup import Answers, Lookup
from fenxiang_sync.paths import Read, bounded, finder, found, path_problems, shown, source_problems, top

LineEntry = Field | Constant | Computed | Lookup
_WORDS = (Field, Constant, Computed, Lookup)


@dataclass(frozen=True)
class Lines:
    """The list at `to`, with an object for each element of the list at `source`; ``[]`` where there is none.

    `keeps` are conditions on a line, of which one list must hold; a line that fails is left out. `group` merges lines
    after they are mapped. A record of more than `most` lines (bodyMaxLine) gives several rows: the first keeps the
    record's id, the others have ``-2``, ``-3`` and so on behind it. A `required` list rejects a record without a line.
    """

    source: str
    to: str | None = None
    _: KW_ONLY
    fields: Sequence[LineEntry]
    keeps: Sequence[Sequence[Condition]] = ()
    group: Group | None = None
    most: int | None = None
    required: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", _tuple(self.fields))
        keeps = _tuple(self.keeps)
        object.__setattr__(self, "keeps", tuple(map(_tuple, keeps)) if isinstance(keeps, tuple) else keeps)

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
        """The record's own fields that it reads."""
        return (top(self.source),)

    @property
    def line_asks(self) -> tuple[str, ...]:
        """The line's own fields that it reads."""
        conditions = (condition.field for each in self.keeps for condition in each)
        return tuple(dict.fromkeys([*(name for entry in self.fields for name in entry.asks), *conditions]))

    @property
    def column(self) -> Column:
        return Column(path=self.target, kind=Kind.JSON, required=True)

    @property
    def rule(self) -> str:
        return "required" if self.required else "[]"

    @property
    def lookups(self) -> tuple[Lookup, ...]:
        """The look-ups that are done for each line."""
        return tuple(entry for entry in self.fields if isinstance(entry, Lookup))

    def problems(self) -> Iterator[str]:
        """What cannot be meant as written, each as a sentence."""
        yield from source_problems(self.source)
        yield from path_problems(self.target, "to")
        yield from self._fields_problems()
        yield from self._keeps_problems()
        if self.most is not None and (type(self.most) is not int or self.most < 1):
            yield f"most={self.most!r}: give the number of lines that a row may have, 1 or more, or None"
        if not isinstance(self.required, bool):
            yield f"required={self.required!r}: give True or False"

    def _fields_problems(self) -> Iterator[str]:
        if not isinstance(self.fields, tuple) or not self.fields:
            yield f"fields={shown(self.fields)}: list what a line is made of, as in Field('quantity')"
            return
        entries: Sequence[Any] = self.fields
        sound: list[LineEntry] = [entry for entry in entries if isinstance(entry, _WORDS)]
        for entry in entries:
            if isinstance(entry, _WORDS):
                yield from (f"{entry.named()}: {problem}" for problem in entry.problems())
            else:
                yield f"fields: {shown(entry)} is no Field, Constant, Computed or Lookup; lines do not nest further"
        targets = [entry.target for entry in sound]
        yield from target_problems(targets)
        if isinstance(self.group, Group):
            yield from self.group.problems([entry.column for entry in sound])
        elif self.group is not None:
            yield f"group={shown(self.group)}: give Group(by=[…], take={{…}}), or None"

    def _keeps_problems(self) -> Iterator[str]:
        if not isinstance(self.keeps, tuple):
            yield f"keeps={self.keeps!r}: give lists of conditions, as in [[Condition('quantity', Logic.GT, 0)]]"
            return
        for each in self.keeps:
            if not isinstance(each, tuple) or not each or not all(isinstance(one, Condition) for one in each):
                yield f"keeps: {shown(each)} is no list of Condition; one list must hold, with all that is in it"
                continue
            for condition in each:
                yield from condition.problems()

    def lines(self, record: Record[str, Any]) -> list[Record[str, Any]]:
        """The lines of the record; raises `ValueError` for what is no list of objects."""
        value = finder(self.source)(record)
        if is_null(value):
            return []
        if not isinstance(value, list):
            raise ValueError(f"it is no list but {type(value).__name__}")  # noqa: TRY004 - a reason to reject
        for place, line in enumerate(value, start=1):
            if not isinstance(line, Record):
                raise ValueError(f"line {place} is no object but {type(line).__name__}")  # noqa: TRY004
        return value

    def parts(self, record: Record[str, Any]) -> list[Record[str, Any]]:
        """The lines, for what is looked up of them; none where they are no list: that is a reason to reject it."""
        try:
            return self.lines(record)
        except ValueError:
            return []

    def compile(self, answers: Answers | None = None) -> Read:
        """A function from a record to its list; raises `UnfitError` with every reason."""
        reads = [
            (entry, entry.compile(answers) if isinstance(entry, Lookup) else entry.compile()) for entry in self.fields
        ]
        keeps = keeper(self.keeps)
        paths = [entry.target for entry in self.fields]
        form = Form(paths)

        def read(record: Record[str, Any]) -> list[Any]:
            rejected: list[tuple[int, Rejected]] = []
            kept = [(at, line) for at, line in enumerate(self.lines(record), start=1) if _kept(keeps, line, at)]
            made: list[list[Any]] = []
            for at, line in kept:
                own: list[Rejected] = []
                made.append(values(reads, line, own))
                rejected += [(at, each) for each in own]
            if rejected:
                raise _unfit(rejected)
            if self.required and not made:
                raise UnfitError("it is required, and the record has no line" + (" that is kept" if self.keeps else ""))
            return [form.fill(line) for line in (self.group.merge(paths, made) if self.group else made)]

        return read

    def found(self, record: Record[str, Any]) -> Any:
        """The raw value, for a message about it."""
        return found(record, self.source)

    def named(self) -> str:
        return f"Lines({self.source!r})" if self.to is None else f"Lines({self.source!r}, {self.to!r})"

    def said(self) -> list[Any]:
        """All that decides what it makes, as JSON."""
        keeps = [[repr(condition) for condition in each] for each in self.keeps]
        group = self.group.said() if self.group else None
        entries = [entry.said() for entry in self.fields]
        return ["lines", self.source, self.target, entries, keeps, group, self.most, self.required]

    def made_by(self) -> str:
        made = ", ".join(f"{entry.target}" for entry in self.fields)
        told = [f"a list of lines with {made}"]
        if self.keeps:
            told.append("kept: " + " or ".join(" and ".join(map(str, each)) for each in self.keeps))
        if self.group:
            told.append(str(self.group))
        if self.most:
            told.append(f"at most {self.most} in a row")
        return "; ".join(told)


def _kept(keeps: Callable[[Record[str, Any]], bool], line: Record[str, Any], at: int) -> bool:
    try:
        return keeps(line)
    except RecordError as error:
        raise UnfitError(f"line {at}: {error}", error.value) from None


def _unfit(rejected: Sequence[tuple[int, Rejected]]) -> UnfitError:
    """All reasons; of many lines those of the first ten."""
    told = "; ".join(f"line {at}: {reasons([each])}" for at, each in rejected[:10])
    more = f"; and {len(rejected) - 10} more" if len(rejected) > 10 else ""
    kind = WaitingError if all(each.waits for _, each in rejected) else UnfitError
    return kind(told + more, bounded(rejected[0][1].value))


def _tuple(given: Any) -> Any:
    return given if isinstance(given, str) or not hasattr(given, "__iter__") else tuple(given)

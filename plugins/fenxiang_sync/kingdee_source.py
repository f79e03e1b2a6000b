"""KingdeeSource: what a pipeline reads from a form of Kingdee Cloud Galaxy (金蝶云星空), and how."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

from fenxiang_sync.checks import connection_problems, names_its_words, span_problems
from fenxiang_sync.convert import SHANGHAI, time_zone
from fenxiang_sync.details import Details
from fenxiang_sync.drift import Drift
from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.kingdee import KingdeeClient, KingdeeForm
from fenxiang_sync.kingdee.query import MOST_ROWS, LocalTime, is_form, is_key, where_problems
from fenxiang_sync.lines import Lines
from fenxiang_sync.mapping import ENGINE_FIELDS, Mapping
from fenxiang_sync.paths import top
from fenxiang_sync.source import Client, Filter
from fenxiang_sync.targets.pace import Rate

_OWN = ("_id", "last_modified_time")
_ELSEWHERE = {
    "object": "a form of Kingdee is form='BD_MATERIAL'",
    "filters": "Filter is Fenxiang's; give where=, a FilterString of Kingdee",
    "get_fields": "a bill query gives all of a document",
    "details": "a bill query gives a row for each entry; read those with the entry's own key, id='FEntity_FEntryID'",
    "check_fields": "before each run Kingdee is always asked whether it knows the fields",
    "drift": "Kingdee does not describe its forms, so that nothing can be compared",
    "bounds": "Kingdee takes both ends of a window",
}
"""Words of Source that do not apply, and what does."""


@names_its_words
@dataclass(frozen=True, kw_only=True)
class KingdeeSource:
    """What is read from a form of Kingdee Cloud Galaxy (金蝶云星空) by ExecuteBillQuery, and how far a run reaches.

    `form` is the form's id, `id` the key of its documents' primary key, a number or a text, which is read as ``_id``;
    `modified` that of the change stamp: local time of the server, in `timezone`, which has one offset all year.
    `where` is a FilterString of Kingdee, ANDed with what a run asks.

    The fields of the mapping are Kingdee's field keys: ``Field("FBaseUnitId.FNumber", "unit")``. Statuses are fields as
    any other: ``Condition("FDocumentStatus", Logic.EQ, "C")``. A key of an entry (分录) gives a row for each entry;
    then `id` must be the entry's own, ``FEntity_FEntryID``.

    `lookback` is how far before its window a run reads again: longer than a transaction of the ERP stays invisible
    after its stamp. `settle` is how long the server's clock must have passed the window's end: 1 s or more, since
    stamps are whole seconds. `page_size` is the most rows that Kingdee gives a query, `rate` what it allows, where that
    is known. The connection is that of `KingdeeBatchSave`; all that call it share a pool of one slot.

    >>> print(KingdeeSource(form="BD_MATERIAL", id="FMATERIALID"))
    BD_MATERIAL (form of Kingdee, connection `kingdee`)
    """

    form: str
    id: str = "FID"
    modified: str = "FModifyDate"
    connection: str = "kingdee"
    timezone: str = SHANGHAI
    where: str = ""
    lookback: timedelta = timedelta(minutes=10)
    settle: timedelta = timedelta(seconds=5)
    page_size: int = 2_000
    segment_records: int = 40_000
    rate: Rate | None = None

    elsewhere: ClassVar[dict[str, str]] = _ELSEWHERE
    filters: ClassVar[tuple[Filter, ...]] = ()
    details: ClassVar[tuple[Details, ...]] = ()
    get_fields: ClassVar[tuple[str, ...]] = ()
    check_fields: ClassVar[bool] = False
    drift: ClassVar[Drift] = Drift.IGNORE

    counts: ClassVar[bool] = False
    at_once: ClassVar[int] = 1
    grain: ClassVar[timedelta] = timedelta(seconds=1)

    @property
    def object(self) -> str:
        """The form."""
        return self.form

    @property
    def most_records(self) -> int:
        """How many documents a segment holds."""
        return self.segment_records

    def problems(self) -> Iterator[str]:
        """What cannot be meant as written, each as a sentence."""
        if not is_form(self.form):
            yield f"form={self.form!r}: give the id of a form of Kingdee, as in 'BD_MATERIAL'"
        for word in ("id", "modified"):
            if not is_key(getattr(self, word)) or "." in getattr(self, word):
                yield f"{word}={getattr(self, word)!r}: give a field key of the form itself, as in 'FModifyDate'"
        yield from connection_problems(self.connection)
        yield from self._time_problems()
        yield from where_problems(self.where)
        if type(self.page_size) is not int or not 1 <= self.page_size <= MOST_ROWS:
            yield f"page_size={self.page_size!r}: Kingdee gives 1 to {MOST_ROWS:,} rows a query"
        elif type(self.segment_records) is not int or self.segment_records < self.page_size:
            yield f"segment_records={self.segment_records!r}: a segment holds a page ({self.page_size}) or more"
        if self.rate is not None and not isinstance(self.rate, Rate):
            yield f"rate={self.rate!r}: give Rate(calls=…, per_seconds=…), or None where no limit is known"

    def _time_problems(self) -> Iterator[str]:
        try:
            time_zone(self.timezone)
            LocalTime.of(self.timezone)
        except DeclarationError as error:
            yield f"timezone: {error}"
        yield from span_problems("lookback", self.lookback)
        wrong = list(span_problems("settle", self.settle))
        yield from wrong
        if not wrong and self.settle < self.grain:
            yield (
                f"settle={self.settle}: stamps are whole seconds, so an edit in the second that was just read would be "
                "lost; give timedelta(seconds=1) or more"
            )

    def opened(self, client: Client) -> KingdeeForm:
        """The form, as it is read; see `Readable`."""
        return KingdeeForm(
            client=KingdeeClient.of(client),
            name=self.form,
            id=self.id,
            modified=self.modified,
            time=LocalTime.of(self.timezone),
            where=self.where,
            page_size=self.page_size,
        )

    def asks(self, mapping: Mapping) -> tuple[str, ...]:
        """The field keys to ask for, whole: Kingdee answers each by itself."""
        return tuple(dict.fromkeys((*_OWN, *mapping.paths)))

    def gets(self, _mapping: Mapping) -> tuple[str, ...]:
        """Nothing: a bill query gives all of a document."""
        return ()

    def misfits(self, mapping: Mapping) -> Iterator[str]:
        """What of a mapping this source cannot serve, each as a sentence."""
        if mapping.number == "name":
            yield "number='name' is no field of Kingdee; give number='FNumber' (base data), 'FBillNo' (bills) or None"
        if mapping.explode is not None:
            yield f"explode: {_ELSEWHERE['details']}"
        for entry in mapping.entries:
            if isinstance(entry, Lines):
                yield f"{entry.named()}: {_ELSEWHERE['details']}"
            elif also := [name for name in entry.asks if name not in map(top, entry.sources)]:
                yield f"{entry.named()}: Kingdee sends no {also[0]!r} with it; map the key of the name itself"
        yield from self._key_problems([path for path in self.asks(mapping) if path not in _OWN])

    def _key_problems(self, asked: Sequence[str]) -> Iterator[str]:
        for path in asked:
            if path in ENGINE_FIELDS:
                yield f"{path!r} is a field of Fenxiang; a status of Kingdee is a field key, as in 'FDocumentStatus'"
            elif not is_key(path):
                yield f"{path!r} is no field key of Kingdee: letters, digits and _, dotted into what it refers to"
        keys = sorted({self.id, self.modified, *asked})
        for path in keys:
            if below := next((each for each in keys if each.startswith(f"{path}.")), None):
                yield f"{path!r} is read as a value and, for {below!r}, as an object; read only what is in it"

    def said(self) -> dict[str, Any]:
        """What of it decides which rows reach the target, as JSON."""
        return {
            "kingdee": self.form, "connection": self.connection, "id": self.id, "modified": self.modified,
            "timezone": self.timezone, "where": self.where,
        }  # fmt: skip

    def selects(self) -> list[tuple[str, str]]:
        """What it asks for of all that is there; a FilterString is about no single field."""
        return [("", self.where)] if self.where.strip() else []

    def __str__(self) -> str:
        return f"{self.form} (form of Kingdee, connection `{self.connection}`)"

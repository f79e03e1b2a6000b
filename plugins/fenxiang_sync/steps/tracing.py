"""trace: one record's whole life (全生命周期追溯): each read, each attempt, what the target said, each value.

The hub knows what happened and which files may hold the record; the files in the stage know what was read. What the
ledger decided of a read that changed nothing is derived: it left no row anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fenxiang_sync.errors import RecordError
from fenxiang_sync.field import Constant, Field
from fenxiang_sync.hub import Event, Hub, Life, Reading, What
from fenxiang_sync.hub.content import loads
from fenxiang_sync.mapping import Entry, Mapping
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.rows import Row
from fenxiang_sync.stage import Stage, segment_name
from fenxiang_sync.steps.transform import knowing, rows_of
from fenxiang_sync.steps.written import written_name
from fenxiang_sync.window import Window, to_ms

_DECIDED = {
    What.DELIVERED: "delivered",
    What.UNCHANGED: "unchanged",
    What.STALE: "stale",
    What.REFUSED: "refused",
    What.REJECTED: "rejected",
    What.IN_DOUBT: "in doubt",
    What.AGAIN: "not taken yet",
}
"""The events that end a read, and what it came to."""

_UNKNOWN = "filtered by the declaration of then, or not settled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One time that the record was read: the version that came, and what became of it."""

    at_ms: int
    run: str
    segment: int
    window: Window | None
    modified_ms: int
    version: str | None
    became: str
    record: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One value of a row: what the record has, what the mapping of today makes of it, what the target holds.

    `source` is empty for a constant. `wrong` says why it does not fit.
    """

    row: str
    to: str
    source: str
    converter: str
    raw: Any
    value: Any
    held: Any
    wrong: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """The life of one record. `values` are of `record`, how it was read last; `reads` are those whose records are
    kept, `unkept` of the files that may have held it are not. `written` is what was written back into it last."""

    life: Life
    reads: list[Read]
    unkept: int
    record: dict[str, Any] | None
    becomes: str
    written: dict[str, Any] | None = None
    values: list[Value] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values; moments are epoch milliseconds."""
        life = self.life
        kept = life.kept
        return {
            "pipeline": life.pipeline,
            "source_id": life.source_id,
            "number": next((row.number for row in life.rows if row.number), None),
            "presence": None if kept is None else kept.presence.name.lower(),
            "read_last_ms": None if kept is None else kept.modified_ms,
            "reads": [{**_plain(each), "window": _span(each.window)} for each in self.reads],
            "unkept_files": self.unkept,
            "events": [event._asdict() for event in life.events],
            "letters": [_plain(letter) for letter in life.letters],
            "rows": [
                {
                    **_plain(row),
                    "status": row.status.name.lower(),
                    "told": life.told[row.id].words if row.id in life.told else {},
                }
                for row in life.rows
            ],
            "record": self.record,
            "becomes": self.becomes,
            "written_back": self.written,
            "values": [_plain(value) for value in self.values],
        }


def trace(pipeline: Pipeline, source_id: str, *, hub: Hub, stage: Stage) -> Trace | None:
    """The life of the record with this Fenxiang ``_id``; None where nothing is known of it.

    Opens the files of records that may hold it: one for each range of each run that is still kept.
    """
    life = hub.trace(pipeline.name, source_id)
    if life is None:
        return None
    reads, unkept = _reads(pipeline, life, stage, hub)
    record = reads[-1].record if reads else None
    if life.kept is not None and life.kept.payload is not None:
        kept = loads(life.kept.payload.decode())
        if record is None or kept["last_modified_time"] >= record["last_modified_time"]:
            record = kept
    becomes, values = ("", []) if record is None else _values(pipeline, life, record, hub)
    back = _written_back(pipeline, source_id, hub)
    return Trace(life=life, reads=reads, unkept=unkept, record=record, becomes=becomes, written=back, values=values)


def _written_back(pipeline: Pipeline, source_id: str, hub: Hub) -> dict[str, Any] | None:
    """The fields that the CRM was given by the last write-back of this record."""
    rows = hub.records(written_name(pipeline), ids=[source_id])
    content = next((row.content for row in rows if row.content is not None), None)
    return None if content is None else {name: value for name, value in content.items() if name != "_id"}


def _reads(pipeline: Pipeline, life: Life, stage: Stage, hub: Hub) -> tuple[list[Read], int]:
    found: list[tuple[Reading, dict[str, Any]]] = []
    unkept = 0
    for reading in life.readings:
        folder = stage.run(pipeline.name, reading.run) / segment_name(reading.segment)
        if reading.file not in folder.names(reading.file):
            unkept += 1
            continue
        wanted = life.source_id.encode()
        lines = (line for line in folder.lines_of(reading.file, bytes) if wanted in line)
        records = (record for line in lines if (record := loads(line.decode()))["_id"] == life.source_id)
        found += [(reading, record) for record in records]
    mapping = knowing(pipeline, [record for _, record in found], hub)
    return [_read(pipeline, life, mapping, *each) for each in found], unkept


def _read(pipeline: Pipeline, life: Life, mapping: Mapping, reading: Reading, record: dict[str, Any]) -> Read:
    return Read(
        at_ms=to_ms(reading.at),
        run=reading.run,
        segment=reading.segment,
        window=reading.window,
        modified_ms=record["last_modified_time"],
        version=None if record.get("version") is None else str(record["version"]),
        became=_became(pipeline, life, mapping, reading, record),
        record=record,
    )


def _became(pipeline: Pipeline, life: Life, mapping: Mapping, reading: Reading, record: dict[str, Any]) -> str:
    """What the run made of it: what it told, else what follows from what was delivered before."""
    stamp, at_ms = record["last_modified_time"], to_ms(reading.at)
    told = [each for each in life.events if each.run == reading.run and each.modified_ms == stamp]
    ends = [_DECIDED[What(each.what)] for each in told if each.what in _DECIDED and each.at_ms >= at_ms]
    if ends:
        return ends[-1]
    held = _delivered_before(life, at_ms)
    if held is not None and stamp <= held:
        return "stale" if stamp < held else "unchanged"
    return "filtered" if _is_filtered(pipeline, record, mapping) else _UNKNOWN


def _is_filtered(pipeline: Pipeline, record: dict[str, Any], mapping: Mapping) -> bool:
    """By the declaration of today; that of then is not known."""
    try:
        return not rows_of(pipeline, record, mapping)
    except RecordError:
        return False


def _delivered_before(life: Life, at_ms: int) -> int | None:
    """The newest stamp that the target had at that moment."""
    stamps = [
        event.modified_ms
        for event in life.events
        if event.what in (What.DELIVERED, What.UNCHANGED, What.ACCEPTED)
        and event.at_ms <= at_ms
        and event.modified_ms is not None
    ]
    stamps += [
        row.modified_ms
        for row in life.rows
        if row.modified_ms is not None and row.settled_at is not None and to_ms(row.settled_at) <= at_ms
    ]
    return max(stamps, default=None)


def _values(pipeline: Pipeline, life: Life, record: dict[str, Any], hub: Hub) -> tuple[str, list[Value]]:
    """What the record becomes by the mapping of today, and each value of it beside what the target holds."""
    held = {row.id: row.content for row in life.rows if row.content is not None}
    mapping = knowing(pipeline, [record], hub)
    try:
        made = rows_of(pipeline, record, mapping)
    except RecordError as error:
        return f"rejected: {error}", [_alone(*each, record) for each in mapping.alone(record)]
    if not made:
        return "filtered", [_alone(*each, record) for each in mapping.alone(record)]
    values = [_value(entry, record, row, held.get(row.id)) for row in made for entry in pipeline.fields]
    return "1 row" if len(made) == 1 else f"{len(made)} rows", values


def _value(entry: Entry, record: dict[str, Any], row: Row, held: dict[str, Any] | None) -> Value:
    return Value(
        row=row.id,
        to=entry.target,
        source=entry.origin,
        converter=_converter(entry),
        raw=_raw(entry, record),
        value=at_path(row.content, entry.target),
        held=at_path(held, entry.target),
    )


def _alone(entry: Entry, value: Any, wrong: str, record: dict[str, Any]) -> Value:
    """One value of a record that gives no row."""
    return Value(
        row="",
        to=entry.target,
        source=entry.origin,
        converter=_converter(entry),
        raw=_raw(entry, record),
        value=value,
        held=None,
        wrong=wrong,
    )


def _converter(entry: Entry) -> str:
    return "constant" if isinstance(entry, Constant) else entry.made_by()


def _raw(entry: Entry, record: dict[str, Any]) -> Any:
    """What the record has there; for a label that was sent beside the value, both."""
    if isinstance(entry, Constant):
        return None
    if not isinstance(entry, Field):
        return entry.found(record)
    found = [record[name] for name in entry.asks if record.get(name) is not None]
    return found if len(found) > 1 else found[0] if found else None


def at_path(content: Any, path: str) -> Any:
    """What a dotted path leads to in a row's content; None where it leads nowhere.

    >>> at_path({"location": {"city": "北京"}}, "location.city")
    '北京'
    """
    for part in path.split("."):
        if not isinstance(content, dict):
            return None
        content = content.get(part)
    return content


def in_order(found: Trace) -> Iterator[tuple[int, Read | Event]]:
    """Reads and events by the time at which they happened; at one time the read is first."""
    both: Sequence[tuple[int, int, Read | Event]] = [
        *((read.at_ms, 0, read) for read in found.reads),
        *((event.at_ms, 1, event) for event in found.life.events),
    ]
    return ((at_ms, each) for at_ms, _, each in sorted(both, key=lambda each: each[:2]))


def _span(window: Window | None) -> dict[str, Any] | None:
    return None if window is None else window.to_json()


def _plain(one: Any) -> dict[str, Any]:
    return dict(msgspec.to_builtins(one, enc_hook=_as_text))


def _as_text(value: Any) -> Any:
    return str(value)

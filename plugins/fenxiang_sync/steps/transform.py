"""transform: the records of a segment become rows, or rejects that say why not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from fenxiang_sync.errors import ParentMissingError, RecordError, SetupError, UnverifiedError
from fenxiang_sync.lookup import Finder
from fenxiang_sync.mapping import Mapping
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.rows import DeletePolicy, Row, is_voided
from fenxiang_sync.stage import Folder
from fenxiang_sync.steps.extract import projection_of
from fenxiang_sync.steps.getting import check_got
from fenxiang_sync.steps.plan import Segment
from fenxiang_sync.steps.run import Run

RECORDS_A_FILE = 5_000


def transform(run: Run, segment: Segment, *, hub: Finder | None = None) -> dict[str, int]:
    """Write ``rows-…`` and ``rejects-…`` files from the segment's records; returns {read, rows, filtered, rejected}, in
    records but for `rows`: one that gives no row is filtered. A pipeline that looks something up needs the hub."""
    folder = run.segment(segment.index)
    read = folder.need("extracted", "clear the extract task of this segment")["read"]
    _check_fields(run, folder)
    folder.remove("rows-", "rejects-", "transformed", "loaded", "late", "asked", "orphans")
    numbers = {"read": 0, "rows": 0, "filtered": 0, "rejected": 0}
    records = folder.lines("records-")
    number = 0
    while group := list(islice(records, RECORDS_A_FILE)):
        number += 1
        made = mapped(run, group, knowing(run.pipeline, group, hub))
        _write(folder, "rows", number, made.rows)
        _write(folder, "rejects", number, made.rejects)
        numbers["read"] += len(group)
        numbers["rows"] += len(made.rows)
        numbers["filtered"] += made.filtered
        numbers["rejected"] += len(made.rejects)
    if numbers["read"] != read:
        raise UnverifiedError(
            f"{folder} holds {numbers['read']} records, but extract read {read}; clear the extract task of this segment"
        )
    folder.save("transformed", numbers)
    return numbers


def _check_fields(run: Run, folder: Folder) -> None:
    """A field that was not asked for is null in every record: raises `UnverifiedError` where one would be mapped."""
    asked = projection_of(folder)
    lacking = [] if asked is None else [name for name in run.pipeline.reads if name not in asked]
    if lacking:
        raise UnverifiedError(
            f"The declaration was changed since the records of {folder} were read: {', '.join(lacking)} was not asked "
            "for; clear the extract task of this segment"
        )


@dataclass(slots=True)
class Mapped:
    """What became of some records: rows, rejects ({reason, field, value, waits, record}), and how many are filtered."""

    rows: list[Row] = field(default_factory=list)
    rejects: list[dict[str, Any]] = field(default_factory=list)
    filtered: int = 0


def mapped(run: Run, records: Sequence[dict[str, Any]], mapping: Mapping | None = None) -> Mapped:
    """Map records as the pipeline is declared now; with the mapping that knows them, where it looks something up."""
    pipeline = run.pipeline
    made = Mapped()
    for record in records:
        try:
            rows = rows_of(pipeline, record, mapping)
            made.rows += rows
            made.filtered += not rows
        except RecordError as error:
            waits = isinstance(error, ParentMissingError)
            reject = {"reason": str(error), "field": error.field, "value": error.value, "waits": waits}
            made.rejects.append({**reject, "record": record})
    return made


def rows_of(pipeline: Pipeline, record: dict[str, Any], mapping: Mapping | None = None) -> list[Row]:
    """What a record becomes; empty where it is filtered. Raises `RecordError` where it does not fit, or could not be
    got."""
    check_got(record, pipeline.got)
    gone = pipeline.removes is DeletePolicy.DELETE and is_voided(record.get("life_status"), record.get("is_deleted"))
    return [] if gone else pipeline.rows(record, mapping)


def knowing(pipeline: Pipeline, records: Sequence[dict[str, Any]], hub: Finder | None) -> Mapping:
    """The pipeline's mapping with all that these records look up, which is asked for at once."""
    mapping = pipeline.mapping
    if not mapping.lookups:
        return mapping
    if hub is None:
        raise SetupError(f"Pipeline {pipeline.name!r} looks up rows of others (Lookup); this step has no hub")
    return mapping.knowing(hub, records)


def _write(folder: Folder, kind: str, number: int, items: list[Any]) -> None:
    if items:
        folder.write_lines(f"{kind}-{number:05d}", items)


def rows(folder: Folder) -> Iterator[Row]:
    """The segment's rows, in the order of its records."""
    return (Row(**row) for row in folder.lines("rows-"))


def rejects(folder: Folder) -> Iterator[dict[str, Any]]:
    """The segment's rejects: {reason, field, value, waits, record}."""
    return folder.lines("rejects-")

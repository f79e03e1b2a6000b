"""preview: what a run would read, and what would become of its first records. Nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from fenxiang_sync.errors import QuestionError
from fenxiang_sync.hub import Decision, Hub
from fenxiang_sync.mapping import Mapping as Known
from fenxiang_sync.pipeline import Source
from fenxiang_sync.rows import Row
from fenxiang_sync.schema import Finding, findings
from fenxiang_sync.source import Checkable, Client, Slice
from fenxiang_sync.source.query import MAX_LIMIT
from fenxiang_sync.steps.attaching import Attaching
from fenxiang_sync.steps.cost import Cost, estimate
from fenxiang_sync.steps.fields import described, of_details
from fenxiang_sync.steps.load import superseded
from fenxiang_sync.steps.plan import Asked, Spans, spans
from fenxiang_sync.steps.run import Run
from fenxiang_sync.steps.transform import knowing, mapped
from fenxiang_sync.window import Window

MOST_ROWS = 2 * MAX_LIMIT
"""Two pages: a preview is no run."""
MOST_COUNTED = 10
"""A run that would read more windows (gaps) than so many is counted as if it read what lies between them as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One record and what it becomes: rows with what the ledger says of each, or a reject ({reason, field, value}); or
    nothing, when it is filtered."""

    record: Mapping[str, Any]
    rows: Sequence[Row]
    decisions: Sequence[Decision]
    reject: Mapping[str, Any] | None

    @property
    def filtered(self) -> bool:
        return self.reject is None and not self.rows

    @property
    def outcome(self) -> str:
        """In a word or two, for people."""
        if self.reject is not None:
            return "rejected"
        told = Counter(each.value for each in self.decisions)
        if len(self.rows) == 1:
            return next(iter(told))
        return ", ".join(f"{number} {word}" for word, number in told.items()) if told else "filtered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """`cost` is None where the server did not tell how many records there are; `calls` is what the preview itself has
    cost. `findings` are what of the declaration does not fit the object's description."""

    spans: Spans
    samples: Sequence[Sample]
    cost: Cost | None
    findings: Sequence[Finding]
    calls: int

    @property
    def numbers(self) -> dict[str, int]:
        """The samples in records and rows: {records, rows, new …, filtered, rejected}."""
        told = Counter(each.value for sample in self.samples for each in sample.decisions)
        return {
            "records": len(self.samples),
            "rows": sum(len(each.rows) for each in self.samples),
            **told,
            "filtered": sum(each.filtered for each in self.samples),
            "rejected": sum(each.reject is not None for each in self.samples),
        }


def preview(run: Run, asked: Asked, *, rows: int, client: Client, hub: Hub, sleep: Callable[[float], None]) -> Preview:
    """Read the first `rows` records of what the run would read, newest window first, and map them as it would."""
    if not 1 <= rows <= MOST_ROWS:
        raise QuestionError(f"{rows} rows: a preview shows 1 to {MOST_ROWS}; for more, trigger the DAG with dry_run")
    pipeline = run.pipeline
    before = client.calls.total()
    origin = pipeline.source.opened(client)
    if isinstance(origin, Checkable):
        origin.check(pipeline.asked)
    found = described(pipeline, client)
    unfit = [] if found is None else [*findings(pipeline, found), *of_details(pipeline, client, fitting=True)]
    made = spans(run, asked, client=client, certified=hub.certified(pipeline.name), sleep=sleep)
    records = list(islice(_records(run, made.reading, client, hub, rows), rows))
    mapping = knowing(pipeline, records, hub)
    samples = [_sample(run, hub, record, mapping) for record in records]
    cost = _cost(run, made.reading, client)
    return Preview(spans=made, samples=samples, cost=cost, findings=unfit, calls=client.calls.total() - before)


def _records(run: Run, reading: Sequence[Window], client: Client, hub: Hub, rows: int) -> Iterator[dict[str, Any]]:
    origin = run.pipeline.source.opened(client)
    attaching = Attaching(run.pipeline, client, hub, run.pipeline.source.filters)
    for window in reversed(reading):
        found = origin.pages(Slice(window), run.pipeline.asked, page_size=rows)
        for page in found:
            yield from attaching.attach(page.records)


def _sample(run: Run, hub: Hub, record: dict[str, Any], mapping: Known) -> Sample:
    pipeline = run.pipeline
    made = mapped(run, [record], mapping)
    reject = {name: made.rejects[0][name] for name in ("reason", "field", "value")} if made.rejects else None
    decided = hub.preview(pipeline.name, made.rows, id_check=pipeline.id_check, upserts=pipeline.target.upserts)
    newer = superseded(run, hub, made.rows) if made.rows else {}
    decisions = [
        Decision.STALE if row.source_id in newer else each for row, each in zip(made.rows, decided, strict=True)
    ]
    return Sample(record=record, rows=made.rows, decisions=decisions, reject=reject)


def _cost(run: Run, reading: Sequence[Window], client: Client) -> Cost | None:
    source = run.pipeline.source
    if not isinstance(source, Source):
        return None  # it does not count
    if len(reading) > MOST_COUNTED:
        reading = [Window(reading[0].since_ms, reading[-1].until_ms)]
    counts = [source.opened(client).count(each) for each in reading]
    known = [each for each in counts if each is not None]
    return estimate(known, source) if len(known) == len(counts) else None

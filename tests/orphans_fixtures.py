"""Orders with lines, versions of which are loaded in any order into a target that is a set of rows in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import requests

from fenxiang_sync import Condition, DeletePolicy, Explode, Field, Logic, Pipeline, Source, integer
from fenxiang_sync.errors import TransientError
from fenxiang_sync.hub import Hub
from fenxiang_sync.rows import Row
from fenxiang_sync.stage import Stage
from fenxiang_sync.steps import Run, Segment, load, transform
from fenxiang_sync.targets.protocol import Answer, Delivery, Endpoint, Reach, Removal, Sender
from fenxiang_sync.window import Window
from tests.hub_fixtures import NOW

SEGMENT = Segment(index=1, window=Window(0, 1), count=None)
Record = dict[str, Any]
Hook = Callable[[], None]


@dataclass
class Shelf:
    """What a target holds, and what comes between: `before` and `after` are called around each batch."""

    rows: dict[str, Row] = field(default_factory=dict)
    flagged: set[str] = field(default_factory=set)
    removed: list[Removal] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    """Of the next removals; DELIVERED where there is none."""
    before: Hook = lambda: None
    after: Hook = lambda: None
    counts: bool = True

    @property
    def live(self) -> set[str]:
        return self.rows.keys() - self.flagged

    def send(self, rows: Sequence[Row]) -> Sequence[Answer]:
        self.before()
        for row in rows:
            self.rows[row.id] = row
            self.flagged.discard(row.id)
        self.after()
        return [Answer(delivery=Delivery.DELIVERED)] * len(rows)

    def remove(self, removals: Sequence[Removal], *, policy: DeletePolicy) -> Sequence[Answer]:
        self.before()
        answers = [self.answers.pop(0) if self.answers else Answer(delivery=Delivery.DELIVERED) for _ in removals]
        for each, answer in zip(removals, answers, strict=True):
            self.removed.append(each)
            if answer.delivery is not Delivery.DELIVERED:
                continue
            if policy is DeletePolicy.FLAG and each.id in self.rows:
                self.flagged.add(each.id)
            elif policy is DeletePolicy.DELETE:
                self.rows.pop(each.id, None)
        self.after()
        return answers

    def count(self) -> int | None:
        return len(self.live) if self.counts else None

    sample: ClassVar[int | None] = 0

    def holds(self, rows: Sequence[Row], *, since: float) -> Sequence[bool | None]:
        return [row.id in self.live and self.rows[row.id].hash == row.hash for row in rows]


SHELVES: dict[str, Shelf] = {}


@dataclass(frozen=True, kw_only=True)
class InShelf:
    """The declaration of a shelf."""

    name: str
    batch_rows: int = 2
    upserts: bool = True
    removals: AbstractSet[DeletePolicy] = frozenset((DeletePolicy.FLAG, DeletePolicy.DELETE))
    connections: ClassVar[Sequence[str]] = ()

    def describe(self) -> str:
        return f"shelf {self.name}"

    def open(self, reach: Reach) -> AbstractContextManager[Sender]:
        return nullcontext(SHELVES[self.name])


def order(version: int, *lines: str, _id: str = "o1", status: str = "normal", num: Any = 1) -> Record:
    """A version of an order, its lines by their ids."""
    return {
        "_id": _id,
        "name": _id.upper(),
        "last_modified_time": 1_000 * version,
        "version": version,
        "life_status": "normal",
        "status": status,
        "details_list": [{"_id": line, "goods": f"{line} of {version}", "num": num} for line in lines],
    }


@dataclass
class Orders:
    """One pipeline; `load` is the transform and load of a run that read these records."""

    hub: Hub
    stage: Stage
    shelf: Shelf
    pipeline: Pipeline
    now: datetime = NOW
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    patient: bool = True
    """Whether waiting passes the time; who is called in the middle of another load gives up at once."""

    def run(self, records: Sequence[Record], pipeline: Pipeline | None = None) -> Run:
        made = pipeline or self.pipeline
        run_id = f"run-{next(self.numbers)}"
        run = Run(pipeline=made, id=run_id, folder=self.stage.run(made.name, run_id))
        folder = run.segment(1)
        folder.write_lines("records-00-00001", records)
        folder.save("extracted", {"read": len(records), "outside": 0, "calls": 0})
        transform(run, SEGMENT)
        return run

    def load(self, *records: Record, pipeline: Pipeline | None = None, dry_run: bool = False) -> dict[str, int]:
        run = self.run(records, pipeline)
        numbers = self.deliver(run, dry_run=dry_run)
        assert sum(numbers.values()) == len(records)
        told = run.segment(1).load("orphans") or {}
        return {name: number for name, number in {**numbers, **told}.items() if number}

    def deliver(self, run: Run, *, dry_run: bool = False, watch: Any = None) -> dict[str, int]:
        return load(
            run, SEGMENT, hub=self.hub, reach=self.reach(), clock=lambda: self.now, dry_run=dry_run, watch=watch
        )

    def reach(self) -> Reach:
        return Reach(endpoint=_no_endpoint, session=requests.Session, sleep=self._sleep, now=self.now.timestamp)

    def _sleep(self, seconds: float) -> None:
        if not self.patient:
            raise TransientError("busy")
        self.now += timedelta(seconds=seconds)

    def held(self) -> set[str]:
        """The ids of the rows that the ledger says the target holds."""
        records = self.hub.records(self.pipeline.name)
        return {each.id for each in records if each.modified_ms is not None and each.removed_at is None}


def _no_endpoint(conn_id: str) -> Endpoint:
    raise AssertionError(conn_id)


def pipeline(shelf: str, **words: Any) -> Pipeline:
    return Pipeline(
        **{
            "name": "lines",
            "source": Source(object="SalesOrderObj"),
            "fields": [
                Field("name", "no"),
                Field("details_list.goods", "goods"),
                Field("details_list.num", "num", convert=integer),
            ],
            "key": "no",
            "explode": Explode("details_list"),
            "conditions": [[Condition("status", Logic.NEQ, "closed")]],
            "target": InShelf(name=shelf),
            **words,
        }
    )


_names = count(1)


@contextmanager
def orders(url: str, folder: Path, **words: Any) -> Iterator[Orders]:
    name = f"shelf-{next(_names)}"
    SHELVES[name] = Shelf()
    with Hub.connect(url) as hub:
        yield Orders(hub, Stage(folder / "stage"), SHELVES[name], pipeline(name, **words))
    del SHELVES[name]

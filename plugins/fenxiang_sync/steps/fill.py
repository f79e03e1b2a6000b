"""fill: a field that was added to a declaration is brought to rows that were delivered without it.

Only `_id`, the version and the field are read, by id; the value joins the content that the hub holds, and what has
changed is delivered as every row is. A record that has been modified since is left to the ordinary run, which reads all
of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from fenxiang_sync.columns import Kind
from fenxiang_sync.convert import integer, is_null
from fenxiang_sync.digest import content_hash
from fenxiang_sync.errors import QuestionError, RecordError
from fenxiang_sync.field import Field
from fenxiang_sync.hub import Hub
from fenxiang_sync.lineage import columns, origins
from fenxiang_sync.mapping import Mapping
from fenxiang_sync.paths import top
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.rows import IdCheck, Outcome, Row
from fenxiang_sync.source import Client, FenxiangClient
from fenxiang_sync.source.reader import ID, STAMP
from fenxiang_sync.steps import drift
from fenxiang_sync.steps.courier import ROWS_A_CLAIM, Courier
from fenxiang_sync.steps.finish import finish
from fenxiang_sync.steps.getting import Getter, check_got
from fenxiang_sync.steps.letters import burial
from fenxiang_sync.steps.run import Run
from fenxiang_sync.steps.tally import Tally
from fenxiang_sync.steps.turns import groups
from fenxiang_sync.targets.protocol import Reach
from fenxiang_sync.window import Window

KIND = "fill"
"""What the hub calls such runs."""
REASONS = 3
"""How many reasons of rejects are told."""


@dataclass(slots=True)
class Filled:
    """What became of the rows that lack the fields, in rows; they add up to `lacking`.

    `newer` records are the ordinary run's; `gone` are not in the CRM any more, or out of sight; `rejected` fit no row,
    with the first `reasons`; `incomplete` lack another field of the declaration too, one of `also`; `other_key` have
    their id from another key than the declaration's; `left` are those that another run is sending now, or has sent in a
    newer version. A dry run counts as delivered what would be sent.
    """

    lacking: int = 0
    delivered: int = 0
    unchanged: int = 0
    newer: int = 0
    gone: int = 0
    rejected: int = 0
    incomplete: int = 0
    other_key: int = 0
    in_doubt: int = 0
    dead_letters: int = 0
    left: int = 0
    calls: int = 0
    reasons: list[str] = field(default_factory=list)
    also: list[str] = field(default_factory=list)

    @property
    def wanting(self) -> int:
        """How many rows still lack the fields and will not get them by themselves."""
        return self.rejected + self.incomplete + self.other_key + self.in_doubt + self.dead_letters + self.left


def fill(
    run: Run,
    names: Sequence[str],
    *,
    client: Client,
    hub: Hub,
    reach: Reach,
    clock: Callable[[], datetime],
    window: Window | None = None,
    again: bool = False,
    dry_run: bool = False,
    done: Callable[[int], None] | None = None,
) -> Filled:
    """Bring the fields of these target paths (or source fields) to the rows whose stamp is in the window (None: all).
    `done` is told now and then how many there were so far.

    Rows that have the fields are left alone, so that what was cut off goes on where it was; `again` reads them too,
    for a field whose converter has changed. Raises `QuestionError` where a full run is the way, `DeclarationError`
    where the object does not have a field that is read.
    """
    filling = _Filling(run.pipeline, _fields(run.pipeline, names))
    made = Filled()
    before, tally = client.calls.total(), Tally(several=False)
    examined = False

    with run.pipeline.target.open(run.reach(reach, KIND)) as sender:
        courier = Courier(
            run,
            "",
            hub=hub,
            reach=reach,
            clock=clock,
            sender=sender,
            bury=burial(run, hub, clock),
            told=tally.add,
            id_check=IdCheck.UPSERT_ON_CHANGE,
        )
        for held in groups(filling.wanted(hub, window, again=again, made=made), ROWS_A_CLAIM):
            if not examined:
                drift.examine(run.pipeline, client=client, hub=hub)
                examined = True
            rows = list(filling.rows(client, hub, held, made))
            if dry_run:
                _count(made, run.pipeline, hub, rows)
            else:
                made.left += len(courier.offer(rows))
            if done is not None:
                done(made.lacking)
    counted = tally.counted()
    made.delivered += counted[Outcome.DELIVERED]
    made.unchanged += counted[Outcome.UNCHANGED]
    made.in_doubt += counted[Outcome.IN_DOUBT]
    made.dead_letters += counted[Outcome.DEAD_LETTER]
    made.left += counted[Outcome.STALE]
    made.calls = client.calls.total() - before
    if not dry_run:
        finish(run, reach, windows=[], numbers={"delivered": made.delivered})
    return made


def _count(made: Filled, pipeline: Pipeline, hub: Hub, rows: Sequence[Row]) -> None:
    """What would become of rows."""
    decided = hub.preview(
        pipeline.name, rows, id_check=IdCheck.UPSERT_ON_CHANGE, upserts=pipeline.target.upserts
    )  # fmt: skip
    told = Counter(decision.outcome or (Outcome.DELIVERED if decision.claimed else None) for decision in decided)
    made.delivered += told[Outcome.DELIVERED]
    made.unchanged += told[Outcome.UNCHANGED]
    made.in_doubt += told[Outcome.IN_DOUBT]
    made.left += told[Outcome.STALE] + told[None]


class _Filling:
    """The fields that are brought, and the shape of a whole row."""

    def __init__(self, pipeline: Pipeline, fields: Sequence[Field]) -> None:
        self._pipeline = pipeline
        self._paths = {each.path: each.kind for each in pipeline.mapping.columns}
        self._filled = [each.target for each in fields]
        self._mapping = Mapping([*fields, Field(ID, _OWN_KEY)], key=_OWN_KEY, number=None)

    def wanted(self, hub: Hub, window: Window | None, *, again: bool, made: Filled) -> Iterator[Row]:
        """The held rows that lack a field that is brought, and no other."""
        for row in hub.held(self._pipeline.name, window):
            lacking = [path for path, kind in self._paths.items() if not _has(row.content, path, kind)]
            if not again and not set(lacking) & set(self._filled):
                continue
            made.lacking += 1
            other = [path for path in lacking if path not in self._filled]
            key = self._pipeline.mapping.key
            if key not in lacking and str(_at(row.content, key)) != row.id:
                made.other_key += 1
            elif other:
                made.incomplete += 1
                made.also = sorted({*made.also, *other})
            else:
                yield row

    def rows(self, client: Client, hub: Hub, held: Sequence[Row], made: Filled) -> Iterator[Row]:
        """The rows with their fields, as the records are now; those that cannot be had are counted."""
        source = self._pipeline.source
        asked = source.opened(client).fetch([row.source_id for row in held], source.asks(self._mapping), filtered=False)
        records = {record[ID]: record for page in asked for record in page.records}
        current: list[tuple[Row, dict[str, Any]]] = []
        for row in held:
            record = records.get(row.source_id)
            if record is None:
                made.gone += 1
            elif (record[STAMP], _number(record.get("version"))) != (row.modified_ms, row.version):
                made.newer += 1
            else:
                current.append((row, record))
        stay = {record[ID] for record in self._got(client, hub, [record for _, record in current], made)}
        for row, record in current:
            if record[ID] in stay:
                yield from self._row(row, record, made)

    def _got(self, client: Client, hub: Hub, records: list[dict[str, Any]], made: Filled) -> list[dict[str, Any]]:
        """The records with what only `get` gives, where that is brought; the others are counted."""
        if set(self._pipeline.got).isdisjoint(self._mapping.projection):
            return records
        getter = Getter(self._pipeline, FenxiangClient.of(client), hub)
        stay = getter.attach(records)
        made.newer += getter.numbers.get("edited", 0)
        made.gone += getter.numbers.get("gone", 0)
        return stay

    def _row(self, row: Row, record: dict[str, Any], made: Filled) -> Iterator[Row]:
        try:
            check_got(record, self._pipeline.got)
            values = self._mapping.content(record)
        except RecordError as error:
            made.rejected += 1
            if len(made.reasons) < REASONS:
                made.reasons.append(f"{row.source_id}: {error}")
            return
        content: dict[str, Any] = {}
        for path in self._paths:
            _put(content, path, _at(values if path in self._filled else row.content, path))
        yield replace(row, content=content, hash=content_hash(content))


_OWN_KEY = "fenxiang_sync_id"
"""Where the record's id goes in the mapping of the fields alone."""


def _fields(pipeline: Pipeline, names: Sequence[str]) -> list[Field]:
    """The declared fields that are meant; raises `QuestionError` for what a full run is the way for."""
    full = f"read everything again: airflow dags trigger {pipeline.name} --conf '{{\"full\": true}}'"
    if pipeline.several:
        raise QuestionError(f"pipeline {pipeline.name!r} makes several rows of a record; {full}")
    if pipeline.id_check is IdCheck.SKIP_EXISTING:
        raise QuestionError(
            f"pipeline {pipeline.name!r} never sends a row again that is there (IdCheck.SKIP_EXISTING), so no field "
            "can be brought to it"
        )
    found = []
    mapped = list(origins(pipeline.fields))
    compared = {each.field.partition(".")[0] for group in pipeline.conditions for each in group}
    attached = {each.name for each in pipeline.source.details}
    for name in names:
        targets = {*columns(mapped, name), name}
        meant = [each for each in pipeline.fields if each.target in targets]
        if not meant:
            known = ", ".join(each.column.path for each in mapped)
            raise QuestionError(f"pipeline {pipeline.name!r} maps no {name!r}; its target paths are: {known}")
        for each in meant:
            if not isinstance(each, Field):
                raise QuestionError(f"{each.target!r} is not read from one field; {full}")
            if each.target == pipeline.mapping.key:
                raise QuestionError(f"{each.target!r} is the row's id: with another one it is another row; {full}")
            if top(each.source) in attached:
                raise QuestionError(f"{each.target!r} is read from details, which are not fetched here; {full}")
            if compared & set(each.asks):
                raise QuestionError(f"a condition is on {each.source!r}, so that rows may go or come; {full}")
            found.append(each)
    return list(dict.fromkeys(found))


def _number(version: Any) -> int:
    """A record's version as its rows have it; -1 for one that no row can have."""
    try:
        return 0 if is_null(version) else integer(version)
    except ValueError:
        return -1


def _has(content: Any, path: str, kind: Kind) -> bool:
    """Whether there is a value of a column; an object where an earlier declaration had deeper paths is none."""
    for part in path.split("."):
        if not isinstance(content, dict) or part not in content:
            return False
        content = content[part]
    return kind is Kind.JSON or not isinstance(content, dict)


def _at(content: Any, path: str) -> Any:
    for part in path.split("."):
        content = content[part]
    return content


def _put(content: dict[str, Any], path: str, value: Any) -> None:
    *above, name = path.split(".")
    for part in above:
        content = content.setdefault(part, {})
    content[name] = value

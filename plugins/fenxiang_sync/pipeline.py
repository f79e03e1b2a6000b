"""Pipeline (方案): the declaration of one synced object: source, window rules, fields, target; checked as a whole."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Record
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import msgspec

from fenxiang_sync.checks import (
    as_tuple,
    as_tuples,
    condition_problems,
    cron_problems,
    field_problems,
    name_problems,
    names_its_words,
    number_problems,
    span_problems,
    spoken_span,
    start_problems,
)
from fenxiang_sync.condition import Condition, Keeps, KeepsLines, keeper, line_keeper
from fenxiang_sync.convert import SHANGHAI, time_zone
from fenxiang_sync.details import Details
from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.explode import Explode
from fenxiang_sync.fenxiang_source import Source
from fenxiang_sync.kingdee_source import KingdeeSource
from fenxiang_sync.letters import DeadLetters
from fenxiang_sync.lineage import Lineage, Origin
from fenxiang_sync.lines import Lines
from fenxiang_sync.lookback import Lookback, lookback_problems
from fenxiang_sync.mapping import ENGINE_FIELDS, Entry, Mapping
from fenxiang_sync.reconcile import Reconcile
from fenxiang_sync.rows import DeletePolicy, IdCheck, Row
from fenxiang_sync.targets.crm import IntoCrm
from fenxiang_sync.targets.protocol import Fitting, Target, removals_of, tells_of
from fenxiang_sync.write_back import WriteBack

__all__ = ["Pipeline", "Source"]

_WIDEST_CELL = 160
_DAILY = Reconcile()
_KEPT = DeadLetters()


@names_its_words
@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """One synced object. Checked when built; `DeclarationError` names everything that cannot be meant as written.

    `conditions` say which records are kept: one of the lists must hold, with all of its conditions; the others are
    counted as filtered. `explode` makes one row of each line of a list (拍扁). `key` is the target path of the row's id
    (by default where ``_id`` goes), `number` the source field that people search by. `start` is from when on the target
    is to be complete; `reach_back` how far a scheduled run heals gaps. `lookbacks` are further schedules that read the
    last hours or days again.
    `delete_policy` is for rows whose record is voided or gone, or does not give them any more (by default they are
    flagged where the target can, else ignored); `reconcile` says when the former are looked for, None never.
    `write_back` says what goes back into the records that were read.
    `keep_records` is whether the records that were read are kept, so that a changed mapping can be applied to them.
    """

    name: str
    source: Source | KingdeeSource
    fields: Sequence[Entry]
    target: Target
    conditions: Sequence[Sequence[Condition]] = ()
    explode: Explode | None = None
    title: str = ""
    description: str = ""
    key: str | None = None
    number: str | None = "name"
    schedule: str | None = "0 * * * *"
    timezone: str = SHANGHAI
    start: datetime | None = None
    id_check: IdCheck = IdCheck.UPSERT_ON_CHANGE
    reach_back: timedelta = timedelta(days=31)
    lookbacks: Sequence[Lookback] = ()
    delete_policy: DeletePolicy | None = None
    reconcile: Reconcile | None = _DAILY
    dead_letters: DeadLetters = _KEPT
    write_back: WriteBack | None = None
    keep_records: bool = True
    tags: Sequence[str] = ()
    owner: str = "airflow"

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", as_tuple(self.fields))
        object.__setattr__(self, "tags", as_tuple(self.tags))
        object.__setattr__(self, "lookbacks", as_tuple(self.lookbacks))
        object.__setattr__(self, "conditions", as_tuples(self.conditions))
        found = list(self._problems())
        if len(found) == 1:
            raise DeclarationError(f"pipeline {self.name!r}: {found[0]}")
        if found:
            raise DeclarationError(f"pipeline {self.name!r}:\n" + "\n".join(f"- {problem}" for problem in found))
        if isinstance(self.target, Fitting):
            object.__setattr__(self, "target", self._fitted(self.target))

    def _fitted(self, target: Fitting) -> Target:
        try:
            return target.fit(self.mapping.columns, key=self.mapping.key)
        except DeclarationError as error:
            raise DeclarationError(f"pipeline {self.name!r}: {error}") from None

    @functools.cached_property
    def mapping(self) -> Mapping:
        """The compiled fields."""
        also = [condition.field for each in self.conditions for condition in each]
        return Mapping(self.fields, key=self.key, number=self.number, also=also, explode=self.explode)

    @functools.cached_property
    def asked(self) -> tuple[str, ...]:
        """What to ask the source's queries for: all that is read but the lists of details, and what is got."""
        return self.source.asks(self.mapping)

    @functools.cached_property
    def got(self) -> tuple[str, ...]:
        """The fields that only `get` gives, and their companions, as far as they are read."""
        return self.source.gets(self.mapping)

    @functools.cached_property
    def reads(self) -> tuple[str, ...]:
        """All that is read of a record, those of its details dotted, and those that were got marked as such: a record
        that was read without one of these, under an earlier declaration, cannot be mapped by this one."""
        lists = [each.name for each in self.source.details]
        of_details = (f"{each.name}.{name}" for each in self.source.details for name in self.asked_of(each))
        return (*self.asked, *self.got, *lists, *of_details, *map(by_get, self.got))

    def asked_of(self, details: Details) -> tuple[str, ...]:
        """The fields of a detail object to ask for: all that is read of a line, and what its declaration adds."""
        conditions = (condition.field for each in self.conditions for condition in each)
        dotted = [*(source for entry in self.fields for source in entry.sources), *conditions]
        parts = [each.split(".")[1:] for each in dotted if each.startswith(f"{details.name}.")]
        of_lines = (e.line_asks for e in self.fields if isinstance(e, Lines) and e.source == details.name)
        key = [self.explode.key] if self.explode and self.explode.field == details.name and self.explode.key else []
        read = [next((part for part in path if not part.isdecimal()), "") for path in parts]
        named = [*key, *read, *(name for names in of_lines for name in names), *details.fields]
        return tuple(dict.fromkeys(name for name in ("_id", details.by, *ENGINE_FIELDS, *named) if name))

    @functools.cached_property
    def keeps(self) -> Keeps:
        """Whether a record is kept, by the conditions."""
        return keeper(self.conditions)

    @functools.cached_property
    def keeps_lines(self) -> KeepsLines:
        """Which of a record's lines are kept, by the conditions."""
        return line_keeper(self.conditions)

    def rows(self, record: Record[str, Any], mapping: Mapping | None = None) -> list[Row]:
        """The rows that a record gives; none where it is filtered. Raises `RecordError` where it fits no row.

        `mapping` is the pipeline's own for a batch of records, `Mapping.knowing`, where it looks something up.
        """
        mapping = mapping or self.mapping
        if self.explode is None:
            return mapping.rows(record) if self.keeps(record) else []
        return mapping.rows(record, self.keeps_lines(record, self.explode.lines(record)))

    @functools.cached_property
    def several(self) -> str:
        """The word that makes several rows of a record, "" where each gives one."""
        if self.explode is not None:
            return "explode"
        entries = self.fields if isinstance(self.fields, tuple) else ()
        return "Lines(most=…)" if any(isinstance(each, Lines) and each.most is not None for each in entries) else ""

    @functools.cached_property
    def removes(self) -> DeletePolicy:
        """What is done to rows whose record is voided or gone; asked for each record."""
        if self.delete_policy is not None:
            return self.delete_policy
        return DeletePolicy.FLAG if DeletePolicy.FLAG in removals_of(self.target) else DeletePolicy.IGNORE

    @functools.cached_property
    def config_hash(self) -> str:
        """16 hex digits over what decides which rows reach the target; equal in every process and on every machine.

        A function of your own counts by its name: rename it when what it makes changes.
        """
        says = {
            **self.source.said(),
            "conditions": [[repr(condition) for condition in each] for each in self.conditions],
            "fields": [entry.said() for entry in self.fields],
            "key": self.mapping.key,
            "number": self.number,
            "target": self.target.describe(),
            "id_check": self.id_check,
            "removes": self.removes,
            "explode": repr(self.explode),
        }
        if self.got:
            says["get_fields"] = ", ".join(sorted(self.got))
        return sha256(msgspec.json.encode(says, order="sorted")).hexdigest()[:16]

    def describe_markdown(self) -> str:
        """What the DAG page shows: what is read when, what becomes of each field, where it goes, how to start it."""
        return "\n\n".join(part for part in self._paragraphs() if part)

    def _paragraphs(self) -> Iterator[str]:
        source = self.source
        yield f"### {_cell(self.title)}" if self.title else ""
        yield self.description.strip()
        yield "\n".join(
            [
                f"- **Source** {source}{_selected([said for _, said in source.selects()])}",
                *(f"- **Details** (从对象) {each}" for each in source.details),
                *([f"- **Gets** {', '.join(map(_code, source.get_fields))}, one call a record"] if self.got else []),
                *([f"- **Keeps** {_kept(self.conditions)}"] if self.conditions else []),
                *([f"- **Explodes** (拍扁) {self.explode}"] if self.explode else []),
                f"- **Target** {self.target.describe()}; id `{self.mapping.key}`, id check `{self.id_check}`",
                f"- **Runs** {_rhythm(self.schedule, self.timezone)}; each reads the changes of its data interval and "
                f"{spoken_span(source.lookback)} before it, gaps up to {spoken_span(self.reach_back)} old as well",
                *(
                    f"- **Reads again** the last {spoken_span(each.over)} on `{each.schedule}`: "
                    f"DAG `{self.name}.{each.id}`"
                    for each in self.lookbacks
                ),
                f"- **Rows of voided or deleted records, or given no more,** {_REMOVES[self.removes]}; "
                f"looked for {_looks(self.reconcile)}",
                f"- **Dead letters** are tried again {_again(self.dead_letters)}: DAG `{self.name}.replay`",
                *(
                    [f"- **Writes back** (回写) {_cell(str(self.write_back))}: DAG `{self.name}.write_back`"]
                    if self.write_back
                    else []
                ),
            ]
        )
        found = Lineage.of(self)
        rows = [(each, found.about(each)) for each in found.origins]
        some = any(about for _, about in rows)
        heads = ["target", "source", "converter", "if null", *(["only records with"] if some else [])]
        yield "\n".join(
            [
                f"| {' | '.join(heads)} |",
                "|---" * len(heads) + "|",
                *(_line(each, [" and ".join(about)] if some else []) for each, about in rows),
            ]
        )
        yield (
            "**Trigger ▸** reads a range of your own (`since`, `until`), everything (`full`) or writes nothing "
            "(`dry_run`); without any of them, what is not certified yet. A long history is one such run. "
            f"Old intervals again: `airflow backfill create --dag-id {self.name} "
            "--from-date 2026-01-01 --to-date 2026-01-04`\n\n"
            f"`fenxiang gaps {self.name}` tells which time is certified, `fenxiang late {self.name}` what lookback "
            "would have caught every record that came late"
        )

    def _problems(self) -> Iterator[str]:
        yield from self._name_problems()
        if isinstance(self.source, Source | KingdeeSource):
            yield from (f"source: {problem}" for problem in self.source.problems())
        else:
            yield f"source={self.source!r}: give Source(object=…), or KingdeeSource(form=…)"
        yield from field_problems(self.fields, self.key, self.explode)
        yield from condition_problems(self.conditions, self.explode)
        yield from self._misfit_problems()
        if isinstance(self.target, type) or not isinstance(self.target, Target):
            yield f"target={self.target!r} is no target; give one with its settings, as in HubTarget()"
        yield from self._cycle_problems()
        yield from number_problems(self.number)
        if not isinstance(self.id_check, IdCheck):
            yield f"id_check={self.id_check!r}: give IdCheck.UPSERT_ON_CHANGE, or Qeasy's true as IdCheck.SKIP_EXISTING"
        yield from self._delete_problems()
        yield from self._write_back_problems()
        yield from self._time_problems()
        yield from self._word_problems()

    def _name_problems(self) -> Iterator[str]:
        return name_problems(self.name)

    def _misfit_problems(self) -> Iterator[str]:
        """What of the mapping does not go with the source; what is wrong with either is said elsewhere."""
        if not self._is_mapped:
            return
        yield from self.source.misfits(self.mapping)
        for each in self.source.details:
            whole = [e for e in self.fields if not isinstance(e, Lines) and each.name in e.sources]
            if whole and set(self.asked_of(each)) <= {"_id", each.by, *ENGINE_FIELDS}:
                yield (
                    f"details: {whole[0].named()} reads the list {each.name!r} as a whole, and no field of its lines "
                    f"is asked for; name them in Details({each.object!r}, …, fields=[…])"
                )

    def _cycle_problems(self) -> Iterator[str]:
        """New records of the object that is read would be read, and give the next. Updates end by themselves: what is
        there already is not written, so that it gets no new stamp."""
        source: Any = self.source
        target = self.target
        if not isinstance(target, IntoCrm) or not isinstance(source, Source) or not target.creates:
            return
        if (target.connection, target.object) == (source.connection, source.object):
            yield (
                f"target={target.describe()} creates records of the very object that is read, and each of them would "
                "be read, too; say creates=False to update the records that are read"
            )

    def _delete_problems(self) -> Iterator[str]:
        policy, can = self.removes, removals_of(self.target)
        if not isinstance(policy, DeletePolicy):
            yield f"delete_policy={policy!r}: give DeletePolicy.IGNORE, DeletePolicy.FLAG or DeletePolicy.DELETE"
        elif policy not in (DeletePolicy.IGNORE, *can):
            words = ", ".join(f"DeletePolicy.{each.name}" for each in (DeletePolicy.IGNORE, *sorted(can)))
            yield f"delete_policy=DeletePolicy.{policy.name}: the target cannot do that; it takes {words}"
        if isinstance(self.reconcile, Reconcile):
            yield from (f"reconcile: {problem}" for problem in self.reconcile.problems())
        elif self.reconcile is not None:
            yield f"reconcile={self.reconcile!r}: give Reconcile(…), or None for none"
        if isinstance(self.dead_letters, DeadLetters):
            yield from (f"dead_letters: {problem}" for problem in self.dead_letters.problems())
        else:
            yield f"dead_letters={self.dead_letters!r}: give DeadLetters(…), as in DeadLetters(most_share=0.05)"

    def _write_back_problems(self) -> Iterator[str]:
        back: Any = self.write_back
        if back is None:
            return
        if not isinstance(back, WriteBack):
            yield f"write_back={back!r}: give WriteBack(fields={{'erp_number__c': Told('Number')}}), or None"
            return
        found = list(back.problems())
        if isinstance(self.source, KingdeeSource):
            found.append(f"what is read is no record of Fenxiang but {self.source}; nothing can be written back there")
        if self.several:
            found.append(
                f"{self.several} makes many rows of a record, which then has no answer of its own; leave one of "
                "them out"
            )
        elif not found and self._is_mapped:
            filters = (each.field for each in self.source.filters)
            found += back.clashes({*self.mapping.projection, *filters}, tells_of(self.target))
        yield from (f"write_back: {problem}" for problem in found)

    @property
    def _is_mapped(self) -> bool:
        """Whether source, fields and conditions can be meant, so that there is a mapping."""
        source: Any = self.source
        return isinstance(source, Source | KingdeeSource) and not any(
            (
                *source.problems(),
                *field_problems(self.fields, self.key, self.explode),
                *condition_problems(self.conditions, self.explode),
                *number_problems(self.number),
            )
        )

    def _time_problems(self) -> Iterator[str]:
        if self.schedule is not None:
            yield from cron_problems(self.schedule)
        try:
            time_zone(self.timezone)
        except DeclarationError as error:
            yield f"timezone: {error}"
        yield from start_problems(self.start)
        yield from span_problems("reach_back", self.reach_back)
        yield from lookback_problems(self.lookbacks)

    def _word_problems(self) -> Iterator[str]:
        if not isinstance(self.keep_records, bool):
            yield f"keep_records={self.keep_records!r}: give True or False"
        for word in ("title", "description", "owner"):
            if not isinstance(getattr(self, word), str):
                yield f"{word}={getattr(self, word)!r}: give text"
        if not isinstance(self.tags, tuple) or not all(isinstance(tag, str) for tag in self.tags):
            yield f"tags={self.tags!r}: give a list of texts"


def by_get(name: str) -> str:
    """What a field is called among all that was read, where it was got: what a query gave may be empty or cut off.

    >>> by_get("description__c")
    'description__c (get)'
    """
    return f"{name} (get)"


def _code(name: str) -> str:
    return f"`{name}`"


def _line(origin: Origin, more: Sequence[str]) -> str:
    sources = ", ".join(f"`{source}`" for source in origin.sources)
    return "| " + " | ".join(map(_cell, (f"`{origin.column.path}`", sources, origin.how, origin.if_null, *more))) + " |"


def _cell(said: str) -> str:
    short = said if len(said) <= _WIDEST_CELL else said[:_WIDEST_CELL] + "…"
    return short.replace("|", "\\|").replace("\n", " ")


def _selected(conditions: Sequence[str]) -> str:
    return " where " + " and ".join(f"`{_cell(each)}`" for each in conditions) if conditions else ""


def _kept(conditions: Sequence[Sequence[Condition]]) -> str:
    return " or ".join(" and ".join(f"`{_cell(str(condition))}`" for condition in each) for each in conditions)


_REMOVES = {
    DeletePolicy.IGNORE: "are left at the target",
    DeletePolicy.FLAG: "are flagged at the target",
    DeletePolicy.DELETE: "are deleted at the target",
}


def _looks(reconcile: Reconcile | None) -> str:
    """When they are looked for."""
    if reconcile is None:
        return "by nobody"
    return f"`{reconcile.schedule}`" if reconcile.schedule else "by hand"


def _again(letters: DeadLetters) -> str:
    """When they are tried again."""
    return f"`{letters.rhythm}`" if letters.rhythm else "by hand"


def _rhythm(schedule: str | None, timezone: str) -> str:
    return f"`{schedule}` ({timezone})" if schedule else "by hand"

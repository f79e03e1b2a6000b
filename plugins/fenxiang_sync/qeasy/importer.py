"""Importer: the DAG file of a scheme, formatted as Python is, to be read and mended by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import fenxiang_sync
from fenxiang_sync.dagfile import (
    WIDTH,
    Code,
    Part,
    block,
    call,
    commented,
    docstring,
    flat,
    folded,
    imports,
    laid,
    listed,
    names_in,
    one_line,
    quoted,
    variable,
)
from fenxiang_sync.qeasy.bill_filters import narrow
from fenxiang_sync.qeasy.entries import Entries, Entry
from fenxiang_sync.qeasy.metadata import Scheme, Side, is_true
from fenxiang_sync.qeasy.queries import all_texts, references_in
from fenxiang_sync.qeasy.reader import reading
from fenxiang_sync.qeasy.reading import Form, Reading, is_field_key, moment_code, span
from fenxiang_sync.qeasy.report import Report, shown
from fenxiang_sync.qeasy.write_backs import WriteBacks
from fenxiang_sync.qeasy.writer import Writing, writing

_WORDS = frozenset(fenxiang_sync.__all__) | {"Computed", "Details", "Group", "Kind", "Lines", "Lookup", "Take"}
_ELSEWHERE = {
    "Any": "typing",
    "Decimal": "decimal",
    "UTC": "datetime",
    "datetime": "datetime",
    "timedelta": "datetime",
    "mysql": "fenxiang_sync.qeasy",
    "Array": "fenxiang_sync.targets.envelope",
    "Operation": "fenxiang_sync.targets.kingdee",
    "Whole": "fenxiang_sync.targets.results",
}
_FULL_LADDER = 5


@dataclass(slots=True)
class Importer:
    """The DAG file of one scheme. `name` is the pipeline's, `connection` the Airflow connection of the CRM, `pipelines`
    names by the ids of the schemes that look-ups are in, `receiver` the target side of the scheme that is called back,
    where that is at hand. What became of each part is in `report`."""

    scheme: Scheme
    name: str
    connection: str = "fenxiang"
    pipelines: Mapping[str, str] = field(default_factory=dict)
    report: Report = field(default_factory=Report)
    receiver: Side | None = None

    def text(self) -> str:
        """The file. Raises `DeclarationError` where the scheme reads nothing of Fenxiang or Kingdee."""
        made = reading(self.scheme, self.report)
        target = writing(self.scheme, made, self.report, self.connection)
        made.dotted = _dotted(made, target)
        if made.form is not None:
            narrow(made, made.form, self.report)
        entries = Entries(
            reading=made,
            report=self.report,
            merge=target.merge if made.flattened else None,
            pipelines=self.pipelines,
            taken={*_WORDS, *_ELSEWHERE, variable(self.name), "sync_dag", "dag"},
        )
        rows = list(entries.of(target.nodes))
        key = self._key(rows, target, made)
        pipeline = self._pipeline(made, target, entries, rows, key)
        return self._file(pipeline, entries, rows)

    # The declaration

    def _key(self, rows: list[Entry], target: Writing, made: Reading) -> Part:
        """How the key is declared, "" where it follows from _id; a row without one gets it."""
        plain = {entry.path: entry.reads for entry in rows if not flat(entry.code).startswith(("Lines(", "Constant("))}
        names = ("_id", made.form.id) if made.form else ("_id",)
        from_id = [path for path, reads in plain.items() if reads in names]
        wanted = next((path for path in (target.told_by, target.key, *from_id[:1], "_id", "id") if path in plain), None)
        if target.told_by not in plain and target.told_by in [entry.path for entry in rows]:
            self.report.none(
                f"target.request.{target.told_by}",
                "is alike in every row, which would all be one document: rows stay in the hub until each has its own",
            )
            target.target, target.tells = "HubTarget()", {}
        if wanted is None:
            there = {path.partition(".")[0] for path in (entry.path for entry in rows)}
            free = next(
                name
                for name in ("_id", "crm_id", "fenxiang_id", *map("id_{}".format, range(len(rows) + 1)))
                if name not in there
            )
            to = [] if free == "_id" else [quoted(free)]
            rows.insert(0, Entry(free, call("Field", quoted("_id"), *to, convert="text"), "", "_id"))
            if not rows[1:]:
                if made.number and made.number not in names:
                    rows.append(Entry(made.number, call("Field", quoted(made.number), convert="text"), "", made.number))
                stamp = call("Field", quoted("last_modified_time"), convert='instant("Asia/Shanghai")')
                rows.append(Entry("last_modified_time", stamp, "", "last_modified_time"))
            self.report.changed("target.id", f"no value of a row is its id, so _id is added as {free}")
            return ""
        if target.key not in ("", wanted) and wanted == target.told_by:
            self.report.changed("target.id", f"{shown(wanted)} is taken, by which Kingdee tells documents apart")
        elif target.key and target.key != wanted:
            self.report.changed("target.id", f"{shown(target.key)} is no value of a row; {shown(wanted)} is taken")
        elif target.key:
            self.report.taken("target.id", f"key: {shown(wanted)}")
        return "" if [path for path, reads in plain.items() if reads == "_id"] == [wanted] else quoted(wanted)

    def _pipeline(
        self, made: Reading, target: Writing, entries: Entries, rows: Sequence[Entry], key: Part
    ) -> list[tuple[str, Part]]:
        scheme = self.scheme
        words: list[tuple[str, Part]] = [("name", quoted(self.name))]
        if title := one_line(scheme.name):
            words.append(("title", quoted(title)))
            self.report.taken("strategy.name", "the title")
        words.append(("source", self._source(made, entries, rows)))
        if conditions := self._conditions(made, entries, rows):
            words.append(("conditions", conditions))
        if entries.exploded and _reads(rows, entries.exploded):
            words.append(("explode", call("Explode", quoted(entries.exploded))))
            self.report.changed(
                "source.beatFlat", "a line's row is told apart by the line's own _id, not by where it stands (…-1, …-2)"
            )
        elif entries.exploded:
            self.report.none(
                "source.beatFlat", f"no value of a row is of a line of {entries.exploded}: a row per record"
            )
        words += [("fields", listed(entry.code for entry in rows)), *self._target(target, rows)]
        words += self._settings(made, key)
        words += self._write_back(made, target, rows, several="explode" in dict(words))
        self._id_check()
        return words

    def _target(self, target: Writing, rows: Sequence[Entry]) -> Iterator[tuple[str, Part]]:
        """The target, and what it does not do by itself; a question where only people know how a record is found."""
        into = target.into
        if into is None:
            yield "target", target.target
        elif match := into.matched(rows):
            yield "target", into.target(rows, quoted(match))
            if into.creates:
                yield "delete_policy", "DeletePolicy.IGNORE"
                self.report.taken(
                    "target", "records of the CRM are never voided, as in Qeasy; without delete_policy=… they are"
                )
        else:
            answer = into.target(rows, "…")
            self.report.none(
                "target.match",
                f"{into.question} Rows stay in the hub until the file says {flat(answer)}, and key= alike",
            )
            yield "", f"{into.question} Say it below, and as key=, with no field _id; until then rows stay in the hub:"
            yield "", answer
            yield "target", target.target

    def _write_back(
        self, made: Reading, target: Writing, rows: Sequence[Entry], *, several: bool
    ) -> Iterator[tuple[str, Part]]:
        side = self.scheme.target
        if self.receiver is not None and (side is None or "callBackStrategy" not in side.keys):
            self.report.none(
                "target.callBackStrategy", "is not in the metadata, so nobody calls the scheme of --call-back"
            )
        if side is None:
            return
        tells = {"_id": "dataId"} if target.into is not None and target.into.matched(rows) else target.tells
        several = several or any(flat(each.code).startswith("Lines(") and ", most=" in flat(each.code) for each in rows)
        backs = WriteBacks(
            side=side, made=made, report=self.report, tells=tells, name=self.name, receiver=self.receiver
        )
        if made_back := backs.read(rows, several=several):
            yield "write_back", made_back

    def _settings(self, made: Reading, key: Part) -> Iterator[tuple[str, Part]]:
        if key:
            yield "key", key
        if made.number != "name":
            yield "number", quoted(made.number) if made.number else "None"
        if made.schedule:
            yield "schedule", quoted(made.schedule)
        if made.start is not None:
            yield "start", moment_code(made.start)
        if made.lookbacks:
            yield "lookbacks", listed(made.lookbacks)
        if letters := self._letters():
            yield "dead_letters", letters

    def _source(self, made: Reading, entries: Entries, rows: Sequence[Entry]) -> Part:
        if made.form is not None:
            return self._form(made, made.form)
        words: dict[str, Part] = {"object": quoted(made.object)}
        if self.connection != "fenxiang":
            words["connection"] = quoted(self.connection)
        if made.filters:
            words["filters"] = listed(made.filters)
        words |= _reach(made)
        lists = set(entries.lists)
        if entries.exploded and _reads(rows, entries.exploded):
            lists.add(entries.exploded)
        if made.details is not None and made.details[0] in lists:
            name, by = made.details
            words["details"] = listed([call("Details", quoted(name), by=quoted(by), into=quoted(name))])
            lists.discard(name)
        elif made.details is not None:
            self.report.none("source.otherRequest.detailObjectApiName", "no value of a row is of its lines: not read")
        for name in sorted(lists):
            if name.endswith(("Obj", "__c")):
                self.report.none(
                    f"source.response.{name}",
                    f"data/query gives records without their lines; if {name} is an object, read it: "
                    f'Source(details=[Details("{name}", by=…, into="{name}")])',
                )
        return call("Source", **words)

    def _form(self, made: Reading, form: Form) -> Part:
        words: dict[str, Part] = {"form": quoted(made.object)}
        for word, found, default in (
            ("id", form.id, "FID"), ("modified", form.modified, "FModifyDate"), ("where", form.where, ""),
        ):  # fmt: skip
            if found != default:
                words[word] = quoted(found)
        if form.page_size is not None:
            words["page_size"] = str(form.page_size)
        return call("KingdeeSource", **words, **_reach(made))

    def _conditions(self, made: Reading, entries: Entries, rows: Sequence[Entry]) -> Part | None:
        """The conditions on records, and on lines that are rows; those on lines of a list are the list's own."""
        groups: list[list[Code]] = []
        exploded = entries.exploded if _reads(rows, entries.exploded) else ""
        for group in made.conditions:
            kept: list[Code] = []
            for each in group:
                if made.form is not None:
                    kept.append(each.code(made.aliases.get(each.field, each.field)))
                    continue
                top, dot, _ = each.field.partition(".")
                if not dot or top == exploded:
                    kept.append(each.code(each.field))
                elif top not in entries.lists:
                    self.report.none(
                        "source.condition",
                        f"{shown(each.field)}: {shown(top)} is no list of a row, so it drops nothing",
                    )
            if kept not in groups:
                groups.append(kept)
        if groups and not all(groups):
            self.report.changed(
                "source.condition", "one of the lists has nothing left to ask of a record, so all records are kept"
            )
            return None
        return listed(map(listed, groups)) if groups else None

    def _letters(self) -> Part | None:
        times = self.scheme.retries
        if not times:
            return None
        ladder = "QEASY_LADDER" if times >= _FULL_LADDER else f"QEASY_LADDER[:{times}]"
        self.report.taken(
            "strategy.retry_times",
            f"{min(times, _FULL_LADDER)} tries of a refused row, at Qeasy's times; calls are repeated in place besides",
        )
        return call("DeadLetters", ladder=ladder)

    def _id_check(self) -> None:
        target = self.scheme.target
        sides = [("source", self.scheme.source), *([("target", target)] if target is not None else [])]
        for name, side in sides:
            if "idCheck" not in side.keys:
                continue
            if is_true(side.keys["idCheck"]):
                self.report.changed(
                    f"{name}.idCheck",
                    "true drops every later change of a record (REPEAT). Here changed rows are sent and equal ones are "
                    "not; Qeasy's way is id_check=IdCheck.SKIP_EXISTING",
                )
            else:
                self.report.changed(
                    f"{name}.idCheck",
                    "false writes every row that is read again. Here equal rows are not sent; Qeasy's way is "
                    "id_check=IdCheck.OVERWRITE",
                )

    # The file

    def _file(self, words: list[tuple[str, Part]], entries: Entries, rows: Sequence[Entry]) -> str:
        functions = [line for each in entries.functions for line in (*each.lines, "", "")]
        name = variable(self.name)
        body = [f"{name} = Pipeline("]
        for word, part in words:
            if not word:
                body += _asked(part)
            elif word == "fields":
                body += ["    fields=[", *self._fields(rows), "    ],"]
            else:
                body += laid(part, indent=4, prefix=f"{word}=", suffix=",")
        body += [")", "", f"dag = sync_dag({name})"]
        code = [*functions, *body]
        return block([*self._docstring(), "", *self._imports(code), *([""] if functions else []), *code])

    def _fields(self, rows: Sequence[Entry]) -> list[str]:
        made: list[str] = []
        for entry in rows:
            lines = list(laid(entry.code, indent=8, suffix=","))
            label = one_line(entry.label)
            made += [*lines[:-1], commented(lines[-1], label if label != entry.path else "")]
        return made

    def _docstring(self) -> list[str]:
        scheme = self.scheme
        of = f" {shown(scheme.id)}" if scheme.id else ""
        said = f"{one_line(scheme.name) or self.name}. Made by `fenxiang import-qeasy` of Qeasy scheme{of}."
        lines = list(folded(said, room=116))
        left = self.report.left
        if left:
            lines += ["", *folded(f"Without counterpart here, as the report of the import says: {', '.join(left)}.")]
        lines = docstring(lines)
        return [f'"""{lines[0]}', *lines[1:], '"""'] if len(lines) > 1 else [f'"""{lines[0]}"""']

    def _imports(self, code: Sequence[str]) -> list[str]:
        used: set[str] = set()
        for line in code:
            used |= names_in(line, {*_WORDS, *_ELSEWHERE})
        by_module: dict[str, set[str]] = {}
        for word in used & set(_ELSEWHERE):
            by_module.setdefault(_ELSEWHERE[word], set()).add(word)
        standard = [module for module in sorted(by_module) if not module.startswith("fenxiang_sync")]
        own = sorted({"fenxiang_sync", "fenxiang_sync.airflow", *by_module} - set(standard))
        lines = ["from __future__ import annotations", ""]
        for module in standard:
            lines += imports(module, by_module[module])
        lines += [""] if standard else []
        for module in own:
            words = {"fenxiang_sync": used & _WORDS, "fenxiang_sync.airflow": {"sync_dag"}}.get(
                module, by_module.get(module, set())
            )
            lines += imports(module, words, wraps=module == "fenxiang_sync")
        return [*lines, ""]


def _asked(part: Part) -> Iterator[str]:
    """Comments beside the target: a question, or the code that answers it."""
    if isinstance(part, str):
        yield from (f"    # {line}" for line in folded(part, room=WIDTH - 6))
    else:
        yield from (f"    # {line[6:]}" for line in laid(part, indent=10, prefix="target=", suffix=","))


def _reach(made: Reading) -> dict[str, Part]:
    """How far a run reaches beyond its window, where the scheme says so."""
    words = {"lookback": made.lookback, "settle": made.settle}
    return {word: span(found) for word, found in words.items() if found is not None}


def _dotted(made: Reading, target: Writing) -> dict[str, str]:
    """The field keys that values of a row read, by the fields of a form that they lead through."""
    if made.form is None:
        return {}
    names = {each.name for said in all_texts(target.nodes) for each in references_in(said)}
    olds = {made.formats[name].old for name in names if name in made.formats}
    keys = sorted({made.aliases.get(name, name) for name in names | olds}, reverse=True)
    return {
        key[:at]: key
        for key in keys
        if is_field_key(key) and not made.above(key)
        for at, letter in enumerate(key)
        if letter == "."
    }


def _reads(rows: Sequence[Entry], exploded: str) -> bool:
    """Whether a value of the rows is of a line of that list."""
    return any(f'"{exploded}.' in flat(entry.code) for entry in rows)

"""Plays an example: CRMs with the records of its fixture, targets, and its pipelines, as the tasks of their DAGs do.

A fixture (``examples/fixtures/<name>.json``) says which DAG files belong to it, what is ``given`` in the CRMs and in
Kingdee, and in each of its ``steps`` what ``people`` do, which ``runs`` there are with their numbers, which dead
``letters`` are open then, and all ``rows`` of the targets.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
import runpy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fenxiang_simulator import Simulator, catalog, kingdee
from fenxiang_simulator.qeasy import APP_KEY, APP_SECRET
from fenxiang_sync import FenxiangTarget, HubTarget, KingdeeBatchSave, Pipeline, QeasyStore, SqlTable, WriteApi
from fenxiang_sync.hub import Hub, Selection, StoredLetter
from fenxiang_sync.kingdee import KingdeeClient
from fenxiang_sync.source.writer import FenxiangWriter
from fenxiang_sync.stage import Stage
from fenxiang_sync.steps.mend import Wanted, mend
from fenxiang_sync.steps.write_back import write_back
from fenxiang_sync.targets.protocol import Database, Endpoint, Reach
from fenxiang_sync.window import to_ms
from tests.hub_fixtures import hub_file
from tests.reconcile_fixtures import reconciled
from tests.sql_fixtures import Place
from tests.steps_fixtures import Bench, manual, quiet

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
FIXTURES = EXAMPLES / "fixtures"
NOON = datetime.fromisoformat("2026-10-05T12:00:00+08:00")
"""When an example begins."""
GIVEN = datetime.fromisoformat("2026-10-04T09:00:00+08:00")
"""When the records that are given were changed last."""
CRM, ERP = "fenxiang", "kingdee"
NUMBERS = (
    "read", "delivered", "unchanged", "stale", "filtered", "in_doubt", "dead_letters", "removed", "not_removed",
    "open_letters",
)  # fmt: skip
_COMPARED = (
    "compared", "missing", "stale", "voided", "left", "hidden", "vanished", "delivered", "removed", "not_removed",
    "lacking",
)  # fmt: skip


def names() -> list[str]:
    return sorted(path.stem for path in FIXTURES.glob("*.json"))


def fixture(name: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))
    return made


@functools.cache
def pipelines_of(path: Path) -> Sequence[Pipeline]:
    """The pipelines that a DAG file declares, in its order."""
    found: list[Pipeline] = []
    for value in runpy.run_path(str(path)).values():
        found += [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, Pipeline)]
    return found


def files_of(told: Mapping[str, Any]) -> list[Path]:
    """The DAG files that a fixture names, as paths from the root of the project."""
    return [ROOT / name for name in told["files"]]


@dataclass
class ExampleBench(Bench):
    """A bench whose targets are those of another simulator."""

    targets: Simulator | None = None

    def _endpoint(self, conn_id: str) -> Endpoint:
        assert self.targets is not None
        url = self.targets.url
        if conn_id == "kingdee":
            extra = {"acct_id": kingdee.ACCT_ID, "app_id": kingdee.APP_ID}
            return Endpoint(
                conn_id=conn_id, url=f"{url}/k3cloud", login=kingdee.USER, password=kingdee.APP_SECRET, extra=extra
            )
        login, password = (APP_KEY, APP_SECRET) if conn_id == "qeasy" else ("", "")
        return Endpoint(conn_id=conn_id, url=url, login=login, password=password)


class ErpBench(ExampleBench):
    """A bench whose source is the Kingdee beside the CRM."""

    def client(self) -> Any:
        return KingdeeClient(self.reach(), ERP)

    def reach(self) -> Reach:
        def crm(_conn_id: str) -> FenxiangWriter:
            return FenxiangWriter(ExampleBench.client(self))

        return replace(super().reach(), crm=crm, now=self.simulator.clock.elapsed)


class World:
    """All that an example plays in."""

    def __init__(
        self, told: Mapping[str, Any], crms: Mapping[str, Simulator], hub: Hub, folder: Path, place: Place | None
    ) -> None:
        self.told = told
        self.crms = crms
        self.place = place
        self.targets = next(iter(crms.values()))
        self.pipelines = {each.name: each for path in files_of(told) for each in pipelines_of(path)}
        stage, numbers = Stage(folder / "stage"), itertools.count(1)
        self.benches = {
            conn_id: ExampleBench(crm, hub, stage, numbers, targets=self.targets, database=self._database)
            for conn_id, crm in crms.items()
        }
        self.benches[ERP] = ErpBench(self.targets, hub, stage, numbers, targets=self.targets, database=self._database)
        self.hub = hub

    def prepare(self) -> None:
        """What administrators of the targets have set: checks of a table, fields that a scheme requires."""
        for table, check in self.told.get("checks", {}).items():
            assert self.place is not None
            (target,) = (each for each in self._tables() if each.table == table)
            database = {"mysql": "mariadb"}.get(self.place.kind, self.place.kind)
            head, _, tail = target.ddl(database).rpartition("PRIMARY KEY")
            self.place.run(f"{head}CONSTRAINT checked CHECK ({check}), PRIMARY KEY{tail}")
        for name, value in self.told.get("knobs", {}).items():
            setattr(self.targets.targets.knobs, name, value)

    def _tables(self) -> list[SqlTable]:
        return [each.target for each in self.pipelines.values() if isinstance(each.target, SqlTable)]

    def _database(self, conn_id: str) -> Database:
        assert self.place is not None, f"{conn_id}: this example is to be given a database"
        return Database(conn_id=conn_id, url=self.place.url)

    def bench(self, pipeline: Pipeline) -> ExampleBench:
        return self.benches[pipeline.source.connection]

    def give(self) -> None:
        """The records that the fixture gives; those that others refer to come first."""
        for form, documents in self.told["given"].get(ERP, {}).items():
            for document in documents:
                self._document({"form": form, **document}, _ms(GIVEN.isoformat()))
        for conn_id, objects in self._records_given():
            tenant = self.crms[conn_id].tenant
            for name, records in objects.items():
                for record in records:
                    stamp = _ms(record.get("last_modified_time")) or _ms(GIVEN.isoformat())
                    tenant.create(name, _stored(record), modified_ms=stamp, created_ms=stamp)
        self.later()

    def _records_given(self) -> list[tuple[str, Mapping[str, Any]]]:
        return [(conn_id, objects) for conn_id, objects in self.told["given"].items() if conn_id != ERP]

    def _document(self, edit: Mapping[str, Any], stamp: int | None = None) -> None:
        """What people do to a document of Kingdee: what is in it, its status and whether it is forbidden."""
        bill = self.targets.targets.kingdee.edit(edit["form"], edit["number"], edit.get("set", {}), modified_ms=stamp)
        bill.status = edit.get("status", bill.status)
        bill.forbidden = edit.get("forbidden", bill.forbidden)

    def later(self, minutes: float = 1) -> None:
        for crm in self.crms.values():
            crm.clock.advance(minutes * 60)

    def people(self, edits: Iterable[Mapping[str, Any]]) -> None:
        """What people do; a minute passes after each."""
        for edit in edits:
            self._edit(edit)
            self.later()

    def _edit(self, edit: Mapping[str, Any]) -> None:
        if edit["do"] == "edit":
            return self._document(edit)
        if edit["do"] == "erase":
            return self.targets.targets.kingdee.erase(edit["form"], edit["number"])
        crm = self.crms[edit.get("crm", CRM)]
        if edit["do"] == "refuse":  # the server gives this record to nobody, though it lists it
            return crm.faults.refuse(edit["id"])
        if edit["do"] == "allow":
            return crm.faults.clear()
        tenant = crm.tenant
        does, name, record_id = edit["do"], edit.get("object", ""), edit.get("id", "")
        if does == "create":
            tenant.create(name, _stored(edit["record"]))
        elif does == "update":
            tenant.update(name, record_id, _stored(edit["set"]))
        elif does in ("approve", "invalid", "recover", "delete"):
            getattr(tenant, does)(name, record_id)
        else:
            raise ValueError(f"nobody can {does!r} here")
        return None

    def run(self, run: Mapping[str, Any]) -> dict[str, int]:
        """One run; its numbers that are not 0."""
        pipeline, how = self.pipelines[run["pipeline"]], run.get("how", "sync")
        bench = self.bench(pipeline)
        if how == "reconcile":
            made = reconciled(bench, pipeline).to_json()
            return {name: made[name] for name in _COMPARED if made.get(name)}
        if how == "write_back":
            numbers = write_back(bench.run(pipeline), hub=self.hub, reach=bench.reach(), clock=bench.now)
            return {name: number for name, number in numbers.items() if number}
        if how == "replay":
            numbers = mend(bench.run(pipeline), Wanted(), hub=self.hub, reach=bench.reach(), clock=bench.now)
            return {name: number for name, number in numbers.items() if number}
        before = _gets(bench)
        report = bench.sync(pipeline, manual(full=how == "full"))
        numbers = {name: getattr(report, name) for name in NUMBERS if getattr(report, name)}
        return numbers | ({"calls of get": _gets(bench) - before} if _gets(bench) > before else {})

    def again(self, step: Mapping[str, Any]) -> dict[str, dict[str, int]]:
        """Everything is read and written back once more; what was sent or removed for it, by pipeline and run: nothing,
        if all is well."""
        sent: dict[str, dict[str, int]] = {}
        back = (run for run in step["runs"] if run.get("how") == "write_back")
        full = ({"pipeline": name, "how": "full"} for name in dict.fromkeys(run["pipeline"] for run in step["runs"]))
        for run in (*full, *back):
            numbers = self.run(run)
            if found := {key: numbers[key] for key in ("delivered", "in_doubt", "removed") if key in numbers}:
                sent[f"{run['pipeline']} {run['how']}"] = found
        return sent

    def letters(self) -> list[dict[str, Any]]:
        """The open dead letters of all pipelines, by their record."""
        found = [
            {"pipeline": name, "record": letter.record_id, "stage": letter.stage, "reason": _reason(pipeline, letter)}
            for name, pipeline in self.pipelines.items()
            for letter in self.hub.letters.find(name, Selection())
        ]
        return sorted(found, key=lambda each: (each["pipeline"], each["record"]))

    def rows(self) -> dict[str, list[Any]]:
        """All rows of all targets, by what they are called there."""
        shown: dict[str, list[Any]] = {}
        for pipeline in self.pipelines.values():
            where, read = self._shown(pipeline)
            shown[where] = plain(read)
            if pipeline.write_back is not None:
                shown[pipeline.source.object] = plain(self._written_back(pipeline, list(pipeline.write_back.fields)))
        return shown

    def _shown(self, pipeline: Pipeline) -> tuple[str, list[Any]]:
        target, targets = pipeline.target, self.targets.targets
        if isinstance(target, KingdeeBatchSave):
            bills = targets.kingdee.bills(target.form)
            return target.form, [{**bill.content, **({"forbidden": True} if bill.forbidden else {})} for bill in bills]
        if isinstance(target, QeasyStore):
            return target.scheme, _by_id(targets.qeasy.contents(target.scheme))
        if isinstance(target, FenxiangTarget):
            return target.object, self._records(target.object, [each.path for each in pipeline.mapping.columns])
        if isinstance(target, WriteApi):
            return "POST /write", _by_id(targets.write.rows)
        if isinstance(target, SqlTable):
            assert self.place is not None
            table = target.table
            columns = [name for (name,) in self._columns(table) if name not in _BOOK]
            found = self.place.ask(f"SELECT {', '.join(columns)}, fx_removed_at FROM {table} ORDER BY 1")
            return table, [_sql_row(columns, values) for values in found]
        assert isinstance(target, HubTarget), target
        held = [each for each in self.hub.records(pipeline.name) if each.content is not None]
        return "hub", [{**(each.content or {}), **({"removed": True} if each.removed_at else {})} for each in held]

    def _records(self, object_name: str, fields: Sequence[str]) -> list[Any]:
        """The records of an object of the CRM, with what a pipeline writes of them."""
        held = self.targets.tenant.records(object_name).values()
        shown = [{name: each.get(name) for name in (*fields, "life_status")} for each in held]
        return sorted(shown, key=lambda each: str(each[fields[0]]))

    def _written_back(self, pipeline: Pipeline, fields: Sequence[str]) -> list[Any]:
        """The records of a pipeline's object, with what it writes back into them."""
        held = self.crms[pipeline.source.connection].tenant.records(pipeline.source.object)
        return [{name: held[each].get(name) for name in ("_id", "name", *fields)} for each in sorted(held)]

    def _columns(self, table: str) -> list[tuple[Any, ...]]:
        assert self.place is not None
        with self.place.engine.connect() as connection:
            cursor = connection.exec_driver_sql(f"SELECT * FROM {table} WHERE 1 = 0")
            return [(name,) for name in cursor.keys()]  # noqa: SIM118


_TRACE = re.compile(r"traceId [\w.-]+")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00")
_BOOK = ("fx_modified_ms", "fx_version", "fx_hash", "fx_removed_at")


@contextmanager
def world(name: str, folder: Path, place: Place | None = None) -> Iterator[World]:
    """The world of a fixture, its records given."""
    told = fixture(name)
    with ExitStack() as stack:
        nothing = dict.fromkeys(catalog.demo(), 0)
        crms = {
            conn_id: stack.enter_context(Simulator(knobs=quiet(), records=nothing, real=NOON.timestamp))
            for conn_id in told["given"]
            if conn_id != ERP
        }
        hub = stack.enter_context(Hub.connect(f"sqlite:///{hub_file(folder)}"))
        made = World(told, crms, hub, folder, place)
        made.prepare()
        made.give()
        yield made


def _gets(bench: Bench) -> int:
    return sum(calls for path, calls in bench.simulator.requests.items() if path.endswith("/data/get"))


def _reason(pipeline: Pipeline, letter: StoredLetter) -> str:
    """Why; each database says that in words of its own, and each call has another traceId."""
    by_database = isinstance(pipeline.target, SqlTable) and letter.stage == "load"
    return "the table refuses it" if by_database else _TRACE.sub("traceId …", letter.reason)


def needs_database(name: str) -> bool:
    return bool(fixture(name).get("database"))


def plain(value: Any) -> Any:
    """A value as the JSON of a fixture says it; exact numbers and moments are text."""
    return json.loads(json.dumps(value, default=str, ensure_ascii=False))


def _sql_row(columns: list[str], values: tuple[Any, ...]) -> dict[str, Any]:
    row = dict(zip(columns, values, strict=False))
    shown = {name: _sql_value(value) for name, value in row.items()}
    return {**shown, **({"removed": True} if values[-1] is not None else {})}


def _sql_value(value: Any) -> Any:
    """A value as any of the databases has it: a boolean as a number, a moment in Shanghai's time."""
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
        return moment.astimezone(NOON.tzinfo).isoformat(sep=" ")
    return int(value) if isinstance(value, bool) else value


def _by_id(rows: Iterable[Any]) -> list[Any]:
    return sorted(rows, key=lambda row: str(row.get("_id", row.get("id", ""))))


def _stored(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record as the CRM stores it: a fixture writes a day or a moment as people read it."""
    return {name: _time(value) for name, value in record.items() if name != "last_modified_time"}


def _time(value: Any) -> Any:
    if isinstance(value, str) and len(value) == len("2026-10-05") and value[4:8:3] == "--":
        return _ms(f"{value}T00:00:00+08:00")
    return value


def _ms(text: str | None) -> int | None:
    return None if text is None else to_ms(datetime.fromisoformat(text))

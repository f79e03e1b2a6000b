"""Tenant: what one company's CRM holds, who may see it, and what may be done to it."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from zlib import crc32

from fenxiang_simulator import computed, directory, drawn
from fenxiang_simulator.catalog import (
    COMPUTED_TYPES,
    DEPARTMENT_TYPES,
    DRIFT_FIELD,
    EMPLOYEE_TYPES,
    REFERENCE_TYPES,
    FieldDef,
    ObjectDef,
    drift_field,
)
from fenxiang_simulator.clock import Clock
from fenxiang_simulator.drawn import Company
from fenxiang_simulator.envelope import ApiError
from fenxiang_simulator.knobs import Knobs
from fenxiang_simulator.matching import Predicate
from fenxiang_simulator.seed import DEFAULT_COUNTS, NEW_OBJECT_COUNT, Draw, records, set_owner
from fenxiang_simulator.shelf import Record, Shelf

CHANGE_AFTER_PAGES = 3
"""With the knob `permission_change`, rights change once so many pages were answered."""
_SYSTEM = frozenset(
    {
        *("_id", "version", "is_deleted", "create_time", "last_modified_time", "created_by", "last_modified_by"),
        *("owner", "object_describe_api_name", "extend_obj_data_id", "dataObjectApiName", "relevant_team"),
        *("life_status", "life_status_before_invalid", "lock_status"),
    }
)
"""Fields that no create or update sets as an ordinary value."""
Listener = Callable[[str, str, str, int], None]


class Tenant:
    """The true state. Writes and reads of it take the lock; ApiError says what the CRM would refuse.

    Users are employee ids (``"1000"``) or FSUIDs. Stored records hold employee ids, and an empty field is absent.
    """

    def __init__(self, definitions: Mapping[str, ObjectDef], clock: Clock, knobs: Knobs, *, seed: int = 7) -> None:
        self.clock = clock
        self.knobs = knobs
        self.lock = threading.RLock()
        self.listeners: list[Listener] = []
        """Called after each write with object, id, event type and stamp."""
        self._seed = seed
        self._definitions = dict(definitions)
        self._clear()

    def _clear(self) -> None:
        self._draw = Draw(f"{self._seed}:writes")
        self._shelves = {name: Shelf() for name in self._definitions}
        self._details: dict[str, dict[str, set[str]]] = {name: defaultdict(set) for name in self._definitions}
        self._numbers = dict.fromkeys(self._definitions, 0)
        self._pending: deque[tuple[float, str, str, Record | None]] = deque()
        self._hidden: set[tuple[str, str, str | None]] = set()
        self._shared: set[tuple[str, str]] = set()
        self._permission_change = "none"
        self._pages = 0

    def fill(self, counts: Mapping[str, int]) -> None:
        """Start again with the seeded records: `counts` of them by object, the usual number of every other."""
        unknown = sorted(set(counts) - set(self._definitions))
        if unknown:
            raise ValueError(f"no object {unknown[0]!r} here; the objects are: {', '.join(sorted(self._definitions))}")
        negative = [name for name, count in counts.items() if count < 0]
        if negative:
            raise ValueError(f"there cannot be {counts[negative[0]]} records of {negative[0]}")
        with self.lock:
            self._clear()
            for name in self._definitions:
                self._numbers[name] = counts.get(name, DEFAULT_COUNTS.get(name, NEW_OBJECT_COUNT))
            key = (self._seed, tuple(self._numbers.items()))
            company = drawn.find(key, self._definitions)
            if company is None:
                self._draw_records()
                drawn.keep(key, Company(definitions=self._definitions, shelves=self._shelves, details=self._details))
            else:
                self._shelves.update(company.shelves)
                for name, details in company.details.items():
                    self._details[name].update(details)

    def _draw_records(self) -> None:
        """As many of each object as `_numbers` says."""
        ids: dict[str, list[str]] = {name: [] for name in self._definitions}
        for name, definition in self._definitions.items():
            made = list(records(self._seed, definition, self._numbers[name], ids))
            if definition.references:
                for record in made:
                    record.update(self._links(definition, record))
            self._shelves[name].fill(made)
            ids[name] = [record["_id"] for record in made]
            if definition.masters:
                for record in made:
                    self._link(definition, record)
        self._sum_up()

    def _sum_up(self) -> None:
        """Roll-ups of the seeded records, whose details came after them."""
        for name, definition in self._definitions.items():
            if definition.formulas:
                for record in self._shelves[name].truth.values():
                    record.update(computed.formulas(definition, record, self.details))

    # What there is

    @property
    def objects(self) -> tuple[str, ...]:
        return tuple(self._definitions)

    def definition(self, name: str) -> ObjectDef:
        """ApiError where there is no such object."""
        try:
            return self._definitions[name]
        except KeyError:
            raise ApiError(32000, "参数错误", f"对象不存在: {name}") from None

    def fields(self, name: str) -> Mapping[str, FieldDef]:
        """The fields that describe shows and filters may name."""
        own = self.definition(name).fields
        return {**own, DRIFT_FIELD: drift_field()} if self.knobs.schema_drift else own

    def shelf(self, name: str) -> Shelf:
        """The shelf of an object, with every write visible that is old enough. Hold the lock while using it."""
        self.definition(name)
        now = self.clock.elapsed()
        while self._pending and self._pending[0][0] <= now:
            _, there, record_id, record = self._pending.popleft()
            self._shelves[there].show(record_id, record)
        return self._shelves[name]

    def record(self, name: str, record_id: str) -> Record | None:
        """The stored record as it is now, None where there is none."""
        shelf = self._shelves.get(name)
        return None if shelf is None else shelf.truth.get(record_id)

    def records(self, name: str) -> dict[str, Record]:
        """Every stored record by id, voided ones too, whoever may see them."""
        self.definition(name)
        with self.lock:
            return dict(self._shelves[name].truth)

    def visible(self, name: str, user: str = directory.ADMIN, *, voided: bool | None = None) -> dict[str, Record]:
        """The stored records by id that a query of this user with no conditions should find once the lag is over.

        `voided` True or False includes or leaves out voided records; None asks the knob.
        """
        self.definition(name)
        with self.lock:
            tests = [test for test in (self.permission(name, user), self.unvoided(voided)) if test is not None]
            truth = self._shelves[name].truth
            return {key: record for key, record in truth.items() if all(test(record) for test in tests)}

    def details(self, name: str, master_id: str) -> list[Record]:
        """The detail records of a master that are not voided."""
        truth = self._shelves[name].truth
        rows = (truth[each] for each in sorted(self._details[name].get(master_id, ())))
        return [row for row in rows if row["life_status"] != "invalid"]

    # Who may see it

    def permission(self, name: str, user: str) -> Predicate | None:
        """The test of a record that this user's rights amount to; None where all are visible."""
        with self.lock:
            return self._permission(name, user)

    def _permission(self, name: str, user: str) -> Predicate | None:
        definition = self.definition(name)
        employee = directory.employee_id(user) or user
        tests: list[Predicate] = []
        if definition.secret and (name, employee) not in self._shared:
            return _nothing
        if not (definition.shared or definition.secret or employee == directory.ADMIN):
            led = {each.id for each in directory.DEPARTMENTS.values() if each.leader == employee}
            tests.append(
                lambda record: (
                    employee in record.get("owner", ()) or not led.isdisjoint(record.get("data_own_department", ()))
                )
            )
        if any(each[0] == name and each[2] in (None, employee) for each in self._hidden):
            hidden = {each[1] for each in self._hidden if each[0] == name and each[2] in (None, employee)}
            tests.append(lambda record: record["_id"] not in hidden)
        if self._changed_hides():
            tests.append(lambda record: crc32(record["_id"].encode()) % 10 != 0)
        if not tests:
            return None
        return lambda record: all(test(record) for test in tests)

    def _changed_hides(self) -> bool:
        mode = self.knobs.permission_change
        if mode != self._permission_change:
            self._permission_change, self._pages = mode, 0
        return (mode == "appear" and self._pages < CHANGE_AFTER_PAGES) or (
            mode == "vanish" and self._pages >= CHANGE_AFTER_PAGES
        )

    def answered(self) -> None:
        """A page of a query went out."""
        with self.lock:
            self._changed_hides()
            self._pages += 1

    def hide(self, name: str, record_id: str, user: str | None = None) -> None:
        """Take a record from the sight of one user or (None) of all, without a new stamp."""
        with self.lock:
            self._hidden.add((name, record_id, user and directory.employee_id(user)))

    def show(self, name: str, record_id: str, user: str | None = None) -> None:
        """Undo `hide`."""
        with self.lock:
            self._hidden.discard((name, record_id, user and directory.employee_id(user)))

    def share(self, name: str, user: str) -> None:
        """Let one user see an object that even the admin does not (PersonnelObj)."""
        with self.lock:
            self._shared.add((name, directory.employee_id(user) or user))

    def may(self, name: str, record_ids: Iterable[str], user: str) -> None:
        """ApiError where the user has no right to one of the records; ids that are not there are not asked about."""
        test = self.permission(name, user)
        found = (self.record(name, each) for each in record_ids)
        if test is not None and not all(test(record) for record in found if record is not None):
            raise ApiError(50009, "无此操作的数据权限")

    def unvoided(self, voided: bool | None = None, *, asked: bool = False) -> Predicate | None:
        """The test that leaves out voided records where they are; `asked`: a filter of the query names life_status."""
        if voided is None:
            mode = self.knobs.voided
            voided = mode == "visible" or (mode == "visible_if_filtered" and asked)
        return None if voided else lambda record: record["life_status"] != "invalid"

    # What may be done to it

    def create(
        self,
        name: str,
        data: Mapping[str, Any],
        *,
        user: str = directory.ADMIN,
        modified_ms: int | None = None,
        created_ms: int | None = None,
    ) -> str:
        """A new record; its id. `data` may give an `_id`; the times are the server's unless given."""
        with self.lock:
            definition = self.definition(name)
            now = self.clock.now_ms()
            modified = now if modified_ms is None else modified_ms
            created = min(now, modified) if created_ms is None else created_ms
            values = self._values(definition, data)
            record_id = str(data.get("_id") or self._draw.record_id(created, old=False))
            if record_id in self._shelves[name].truth:
                raise ApiError(50009, f"数据已存在: {record_id}")
            author = self._employee(user)
            self._numbers[name] += 1
            record: Record = {"_id": record_id}
            for each in definition.of_type({"auto_number"}):
                form = definition.number_format if each.name == "name" else ""
                record[each.name] = (form or "N{:08d}").format(self._numbers[name])
            record |= values
            self._demand(definition, record)
            self._claim(definition, record)
            record |= {
                "object_describe_api_name": name,
                "record_type": record.get("record_type", "default__c"),
                "version": "1",
                "is_deleted": False,
                "life_status": data.get("life_status", "normal"),
                "lock_status": "0",
                "create_time": created,
                "last_modified_time": modified,
                "created_by": [author],
                "last_modified_by": [author],
                "extend_obj_data_id": record_id,
            }
            set_owner(record, self._owner(data, author))
            self._put(definition, record, "create")
            return record_id

    def update(
        self,
        name: str,
        record_id: str,
        changes: Mapping[str, Any],
        *,
        user: str = directory.ADMIN,
        modified_ms: int | None = None,
    ) -> None:
        """Change fields (None empties one). The owner does not change here: use `change_owner`."""
        with self.lock:
            definition = self.definition(name)
            before = self._must(name, record_id)
            if before["lock_status"] == "1":
                raise ApiError(50009, "不能进行[编辑]操作，以下这些数据已被锁定。")
            if before["life_status"] == "invalid":
                raise ApiError(50009, "不能进行[编辑]操作，以下这些数据已作废。")
            values = self._values(definition, changes)
            self._claim(definition, values, record_id)
            record = {**before, **values}
            for field in changes:
                if changes[field] in (None, "", []) and field not in _SYSTEM:
                    record.pop(field, None)
            self._demand(definition, record)
            self._stamp(record, user, modified_ms)
            self._put(definition, record, "update")

    def invalid(self, name: str, record_ids: str | Sequence[str], *, user: str = directory.ADMIN) -> None:
        """Void records (作废)."""
        with self.lock:
            found = [self._must(name, each) for each in _many(record_ids)]
            if any(record["life_status"] != "normal" for record in found):
                raise ApiError(50009, "只有生命状态为正常的数据才能被作废")
            for before in found:
                record = {**before, "life_status": "invalid", "life_status_before_invalid": before["life_status"]}
                self._change(name, record, user, bump=self.knobs.void_bumps_lmt, event="invalid")

    def approve(self, name: str, record_ids: str | Sequence[str], *, user: str = directory.ADMIN) -> None:
        """Let records pass their approval (审核通过), whatever the flow is: they are normal then."""
        with self.lock:
            found = [self._must(name, each) for each in _many(record_ids)]
            if any(record["life_status"] not in ("under_review", "in_change", "ineffective") for record in found):
                raise ApiError(50009, "只有审核中的数据才能被审核")
            for before in found:
                self._change(name, {**before, "life_status": "normal"}, user, bump=True, event="update")

    def recover(self, name: str, record_ids: str | Sequence[str], *, user: str = directory.ADMIN) -> None:
        """Bring voided records back (恢复)."""
        with self.lock:
            found = [self._must(name, each) for each in _many(record_ids)]
            if any(record["life_status"] != "invalid" for record in found):
                raise ApiError(50009, "只有已作废的数据才能被恢复")
            for before in found:
                self._claim(self.definition(name), before, before["_id"])
                record = {**before, "life_status": before.get("life_status_before_invalid", "normal")}
                record.pop("life_status_before_invalid", None)
                self._change(name, record, user, bump=self.knobs.recover_bumps_lmt, event="recover")

    def delete(self, name: str, record_ids: str | Sequence[str]) -> None:
        """Delete voided records for good. No trace stays."""
        with self.lock:
            definition = self.definition(name)
            found = [self._must(name, each) for each in _many(record_ids)]
            if any(record["life_status"] != "invalid" for record in found):
                raise ApiError(50009, "只有已作废的数据才能被删除")
            for record in found:
                del self._shelves[name].truth[record["_id"]]
                self._link(definition, record, gone=True)
                self._later(name, record["_id"], None)
                self._tell(name, record["_id"], "delete", self.clock.now_ms())

    def change_owner(self, name: str, record_id: str, owner: str, *, user: str = directory.ADMIN) -> None:
        with self.lock:
            record = dict(self._must(name, record_id))
            set_owner(record, self._employee(owner))
            self._change(name, record, user, bump=self.knobs.change_owner_bumps_lmt, event="update")

    def lock_records(self, name: str, record_ids: str | Sequence[str], *, locked: bool = True) -> None:
        """Lock or unlock records; a locked one cannot be edited."""
        with self.lock:
            for each in _many(record_ids):
                record = {**self._must(name, each), "lock_status": "1" if locked else "0"}
                self._change(name, record, directory.ADMIN, bump=True, event="update")

    # How it is done

    def _must(self, name: str, record_id: str) -> Record:
        self.definition(name)
        record = self.record(name, record_id)
        if record is None:
            raise ApiError(32000, "参数错误", f"数据不存在或已被删除: {record_id}")
        return record

    def _employee(self, user: str) -> str:
        found = directory.employee_id(user)
        if found is None:
            raise ApiError(30027, "员工不存在", f"员工不存在: {user}")
        return found

    def _owner(self, data: Mapping[str, Any], author: str) -> str:
        owner = data.get("owner")
        if isinstance(owner, list) and owner:
            return self._employee(str(owner[0]))
        return author if not isinstance(owner, str) else self._employee(owner)

    def _values(self, definition: ObjectDef, data: Mapping[str, Any]) -> Record:
        """The values that a write may set, as they are stored."""
        fields = self.fields(definition.name)
        unknown = sorted(set(data) - set(fields) - _SYSTEM)
        if unknown and self.knobs.unknown_write_field == "error":
            raise ApiError(32000, "参数错误", f"字段不存在: {unknown[0]}")
        settable = {name for name, each in fields.items() if each.type not in COMPUTED_TYPES} - _SYSTEM
        return {
            key: self._stored(fields[key], value)
            for key, value in data.items()
            if key in settable and value not in (None, "", [])
        }

    def _stored(self, each: FieldDef, value: Any) -> Any:
        if each.type in EMPLOYEE_TYPES:
            return [self._employee(str(item)) for item in (value if isinstance(value, list) else [value])]
        if each.type in DEPARTMENT_TYPES:
            return [str(item) for item in (value if isinstance(value, list) else [value])]
        if each.type in REFERENCE_TYPES and self.record(each.target or "", str(value)) is None:
            raise ApiError(201112011, "关联关系不存在", f"{each.name}: {value}")
        if each.options and self.knobs.unknown_option == "error":
            for option in value if isinstance(value, list) else [value]:
                if str(option) not in each.options:
                    raise ApiError(50009, f"{each.label}的选项不存在: {option}")
        if each.type in ("number", "currency", "percentile"):
            return str(value)
        if each.type in ("date", "date_time", "time") and not isinstance(value, int):
            raise ApiError(500, "调用接口返回500错误", f"字段类型错误: {each.name}")
        return value

    def _demand(self, definition: ObjectDef, record: Record) -> None:
        for each in definition.fields.values():
            if each.required and each.name not in record:
                raise ApiError(50009, f"请填写{each.label}")

    def _claim(self, definition: ObjectDef, values: Record, record_id: str = "") -> None:
        """ApiError where another record has a value that is to be the only one of its field."""
        others = self._shelves[definition.name].truth.values()
        for each in (each for each in definition.fields.values() if each.unique and each.name in values):
            for other in others:
                counts = self.knobs.unique_among == "all" or other["life_status"] != "invalid"
                if counts and other["_id"] != record_id and other.get(each.name) == values[each.name]:
                    raise ApiError(self.knobs.not_unique_code, f"{each.label}不能重复: {values[each.name]}")

    def _change(self, name: str, record: Record, user: str, *, bump: bool, event: str) -> None:
        if bump:
            self._stamp(record, user, None)
        self._put(self.definition(name), record, event)

    def _stamp(self, record: Record, user: str, modified_ms: int | None) -> None:
        record["last_modified_time"] = self.clock.now_ms() if modified_ms is None else modified_ms
        record["version"] = str(int(record["version"]) + 1)
        record["last_modified_by"] = [self._employee(user)]

    def _put(self, definition: ObjectDef, record: Record, event: str) -> None:
        """Store the record, with what follows from it."""
        name = definition.name
        before = self._shelves[name].truth.get(record["_id"])
        if self.knobs.schema_drift:
            record.setdefault(DRIFT_FIELD, f"第{record['version']}版")
        for each in (*definition.formulas, *definition.quotes):
            record.pop(each.name, None)
            record.pop(f"{each.name}__v", None)
        for each in definition.references:
            record.pop(f"{each.name}__r", None)
        record.update(self._links(definition, record))
        record.update(computed.formulas(definition, record, self.details))
        if before is not None:
            self._link(definition, before, gone=True)
        self._shelves[name].truth[record["_id"]] = record
        self._link(definition, record)
        self._later(name, record["_id"], record)
        self._tell(name, record["_id"], event, record["last_modified_time"])
        if self.knobs.formula_recalc_bumps_lmt:
            self._recalculate_masters(definition, record)

    def _recalculate_masters(self, definition: ObjectDef, record: Record) -> None:
        for each in definition.masters:
            master = self._definitions.get(each.target or "")
            before = self.record(each.target or "", record.get(each.name, ""))
            if master is not None and before is not None and master.formulas:
                self._change(master.name, dict(before), directory.ADMIN, bump=True, event="update")

    def _links(self, definition: ObjectDef, record: Record) -> Record:
        return {
            **computed.labels(definition, record, self.record),
            **computed.quotes(definition, record, self.record, self._definitions),
        }

    def _link(self, definition: ObjectDef, record: Record, *, gone: bool = False) -> None:
        for each in definition.masters:
            if each.name in record:
                held = self._details[definition.name][record[each.name]]
                (held.discard if gone else held.add)(record["_id"])

    def _later(self, name: str, record_id: str, record: Record | None) -> None:
        """Let queries see it after the lag; `shelf` takes writes in their order, so never before an earlier one."""
        due = self.clock.elapsed() + self.knobs.visibility_lag_ms / 1000
        self._pending.append((due, name, record_id, record))

    def _tell(self, name: str, record_id: str, event: str, stamp: int) -> None:
        for listener in self.listeners:
            listener(name, record_id, event, stamp)


def _nothing(_record: Record) -> bool:
    return False


def _many(record_ids: str | Iterable[str]) -> list[str]:
    return [record_ids] if isinstance(record_ids, str) else list(record_ids)

"""Wire: a stored record as an answer shows it, with companions, injected fields and ids in the caller's style."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fenxiang_simulator import computed, directory
from fenxiang_simulator.catalog import (
    COMPUTED_TYPES,
    DEPARTMENT_TYPES,
    EMPLOYEE_TYPES,
    LONG_TYPES,
    REFERENCE_TYPES,
    FieldDef,
    ObjectDef,
)
from fenxiang_simulator.shelf import Record
from fenxiang_simulator.tenant import Tenant

INDEXING_US = 39_000
"""The second stamp of `searchAfterId` is when the row was indexed; in real dumps 33 to 45 ms after its stamp."""
SUFFIXES = ("__r", "__l", "__v", "__relation_ids")
Getter = Callable[[Record], Any]


class Wire:
    """Shows the records of one object to one caller. `open_ids`: people as FSUID, else as employee ids.

    `simple` is findSimple: nothing is calculated and nothing accompanies. `listing` is an answer to a query, which
    leaves out what only `get` gives.
    """

    def __init__(
        self, tenant: Tenant, name: str, *, open_ids: bool, simple: bool = False, listing: bool = False
    ) -> None:
        self._tenant = tenant
        self._definition: ObjectDef = tenant.definition(name)
        self._fields = tenant.fields(name)
        self._open_ids = open_ids
        self._simple = simple
        self._live = tenant.knobs.unstamped_change
        self._left_out = _only_got(self._fields.values(), tenant.knobs.only_get) if listing else frozenset()
        left_out = self._left_out | {
            each.name for each in self._fields.values() if simple and each.type in COMPUTED_TYPES
        }
        shown = [each for each in self._fields.values() if each.name not in left_out]
        self._getters = [(each, self._get(each.name)) for each in shown]

    def full(self, record: Record, *, include_null: bool = False) -> dict[str, Any]:
        """Every field with its companions."""
        row: dict[str, Any] = {}
        for each, get in self._getters:
            name, value = each.name, get(record)
            if value is None:
                if include_null:
                    row[name] = None
                continue
            row[name] = value
            if not self._simple:
                row.update(self._companions(each, record))
        return row

    def projected(
        self, records: Iterable[Record], projection: Sequence[str], *, include_null: bool = False
    ) -> list[dict[str, Any]]:
        """The fields of `projection`; companions as the knob says."""
        projection = [name for name in projection if name not in self._left_out]
        names = [name for name in projection if name in self._fields]
        if self._simple:
            names = [name for name in names if self._fields[name].type not in COMPUTED_TYPES]
        getters = [(name, self._get(name)) for name in names]
        companions = self._wanted_companions(projection)
        rows = []
        for record in records:
            row = {name: value for name, get in getters if (value := get(record)) is not None or include_null}
            for each, wanted in companions:
                found = self._companions(each, record)
                row.update(found if wanted is None else {key: found[key] for key in wanted if key in found})
            rows.append(row)
        return rows

    def inject(self, rows: list[dict[str, Any]], records: Sequence[Record], orders: Sequence[str], total: int) -> None:
        """`total_num` and `searchAfterId`, which un-projected rows carry."""
        for row, record in zip(rows, records, strict=True):
            row["total_num"] = total
            stamp = record["last_modified_time"]
            if orders:
                row["searchAfterId"] = [*(str(record.get(name, "")) for name in orders), record["_id"]]
            else:
                row["searchAfterId"] = [str(stamp), str(stamp * 1000 + INDEXING_US), record["_id"]]

    def _wanted_companions(self, projection: Sequence[str]) -> list[tuple[FieldDef, list[str] | None]]:
        mode = self._tenant.knobs.companions_with_projection
        if self._simple or mode == "never":
            return []
        if mode == "included":
            return [(self._fields[name], None) for name in projection if name in self._fields]
        named: dict[str, list[str]] = {}
        for name in projection:
            base = next((name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix)), name)
            if base != name and base in self._fields and name not in self._fields:
                named.setdefault(base, []).append(name)
        return [(self._fields[base], names) for base, names in named.items()]

    def _get(self, name: str) -> Getter:
        """How the value of a field is read; None is null."""
        kind = self._fields[name].type
        if name == "is_deleted" and self._tenant.knobs.voided_is_deleted:
            return lambda record: record["life_status"] == "invalid"
        if name == "relevant_team":
            return self._team
        if kind in EMPLOYEE_TYPES and self._open_ids:
            return lambda record: self._people(record.get(name))
        if kind == "quote" and self._live == "quote":
            return lambda record: self._quotes(record).get(name)
        if kind == "count" and self._live == "formula":
            return lambda record: computed.formulas(self._definition, record, self._tenant.details).get(name)
        return lambda record: record.get(name)

    def _people(self, ids: list[str] | None) -> list[str] | None:
        return ids and [directory.open_id(each) for each in ids]

    def _team(self, record: Record) -> list[dict[str, Any]] | None:
        team = record.get("relevant_team")
        if team is None or not self._open_ids:
            return team
        return [{**member, "teamMemberEmployee": self._people(member["teamMemberEmployee"])} for member in team]

    def _quotes(self, record: Record) -> Record:
        definitions = {name: self._tenant.definition(name) for name in self._tenant.objects}
        return computed.quotes(self._definition, record, self._tenant.record, definitions)

    def _companions(self, each: FieldDef, record: Record) -> dict[str, Any]:
        """The read-only companions of one field of a record."""
        name, value = each.name, record.get(each.name)
        if name == "relevant_team" and value:
            return {"relevant_team__r": ",".join(_names(value))}
        if value is None:
            return {}
        if each.options and isinstance(value, str):
            return {f"{name}__r": each.options.get(value, value)}
        if each.options and isinstance(value, list):
            return {f"{name}__r": ",".join(each.options.get(item, item) for item in value)}
        if each.type in EMPLOYEE_TYPES:
            return {f"{name}__r": _PEOPLE[value[0]], f"{name}__l": [_PEOPLE_SHORT[item] for item in value]}
        if each.type in DEPARTMENT_TYPES:
            departments = [_department(item) for item in value]
            return {f"{name}__r": departments[0], f"{name}__l": departments}
        if each.type in REFERENCE_TYPES:
            label = self._label(each, record)
            shown = {} if label is None else {f"{name}__r": label}
            return {**shown, f"{name}__relation_ids": value}
        if each.type == "quote":
            quoted = self._quotes(record) if self._live == "quote" else record
            return {f"{name}__v": quoted[f"{name}__v"]} if f"{name}__v" in quoted else {}
        return {}

    def _label(self, each: FieldDef, record: Record) -> Any:
        if self._live == "labels":
            there = self._tenant.record(each.target or "", record[each.name])
            return there and there.get("name")
        return record.get(f"{each.name}__r")


def _only_got(fields: Iterable[FieldDef], mode: str) -> frozenset[str]:
    """The names of the fields that queries leave out."""
    if mode == "none":
        return frozenset()
    types = {"long": LONG_TYPES, "computed": COMPUTED_TYPES}.get(mode, frozenset())
    return frozenset(each.name for each in fields if each.only_get or each.type in types)


def _names(team: Sequence[Mapping[str, Any]]) -> list[str]:
    return [directory.EMPLOYEES[each].name for member in team for each in member["teamMemberEmployee"]]


def _person(each: directory.Employee) -> dict[str, Any]:
    """The `__r` of a person, with the personal data that the real one shows too."""
    return {
        "id": each.id,
        "name": each.name,
        "nickname": each.name,
        "phone": each.mobile,
        "email": each.email,
        "status": 0,
        "dept": each.department,
        "tenantId": "1",
    }


def _department(department_id: str) -> dict[str, Any]:
    each = directory.DEPARTMENTS.get(department_id)
    name, leader = (each.name, each.leader) if each else (department_id, directory.ADMIN)
    return {
        "deptId": department_id,
        "deptName": name,
        "parentId": directory.COMPANY,
        "status": 0,
        "deptType": "dept",
        "leaderUserId": leader,
    }


_PEOPLE = {each.id: _person(each) for each in directory.EMPLOYEES.values()}
_PEOPLE_SHORT = {each.id: {"id": each.id, "name": each.name} for each in directory.EMPLOYEES.values()}

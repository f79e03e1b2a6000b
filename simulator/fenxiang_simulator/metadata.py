"""Metadata: object/list and describe, and the directory of people and departments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fenxiang_simulator import directory
from fenxiang_simulator.catalog import drift_field
from fenxiang_simulator.directory import COMPANY, Department, Employee
from fenxiang_simulator.envelope import ApiError
from fenxiang_simulator.tenant import Tenant


def object_list(tenant: Tenant) -> dict[str, Any]:
    return {"data": {"objects": [tenant.definition(name).entry() for name in tenant.objects]}}


def describe(tenant: Tenant, body: Mapping[str, Any]) -> dict[str, Any]:
    """`apiName` is read from ``data`` or, the older form, from the top level."""
    data = body.get("data")
    name = (data.get("apiName") if isinstance(data, Mapping) else None) or body.get("apiName")
    if not isinstance(name, str):
        raise ApiError(32000, "参数错误", "apiName 不能为空")
    shown = tenant.definition(name).describe()
    if tenant.knobs.schema_drift:
        drift = drift_field()
        shown["fields"][drift.name] = drift.describe()
    return {"data": {"describe": shown}}


def by_mobile(body: Mapping[str, Any]) -> dict[str, Any]:
    found = directory.by_mobile(str(body.get("mobile", "")))
    return {"empList": [_person(found)] if found else []}


def user(body: Mapping[str, Any]) -> dict[str, Any]:
    found = directory.EMPLOYEES.get(directory.employee_id(str(body.get("openUserId", ""))) or "")
    if found is None:
        raise ApiError(20012, "openUserId未找到")
    return _person(found)


def user_list(body: Mapping[str, Any]) -> dict[str, Any]:
    """The people of a department; the whole company with its number and `fetchChild`."""
    return {"userList": [_person(each) for each in _members(body)]}


def simple_list(body: Mapping[str, Any]) -> dict[str, Any]:
    people = _members({"departmentId": COMPANY, "fetchChild": True, **body})
    return {"userList": [{"openUserId": each.open_id, "name": each.name, "nickName": each.name} for each in people]}


def department_list(_body: Mapping[str, Any]) -> dict[str, Any]:
    return {"departments": [_shown(each, order) for order, each in enumerate(directory.DEPARTMENTS.values())]}


def _members(body: Mapping[str, Any]) -> list[Employee]:
    wanted = str(body.get("departmentId", ""))
    if wanted not in directory.DEPARTMENTS:
        raise ApiError(30007, "部门不存在")
    everybody = wanted == COMPANY and body.get("fetchChild") is True
    return [each for each in directory.EMPLOYEES.values() if everybody or each.department == wanted]


def _person(each: Employee) -> dict[str, Any]:
    return {
        "openUserId": each.open_id,
        "name": each.name,
        "nickName": each.name,
        "isStop": False,
        "status": 0,
        "email": each.email,
        "mobile": each.mobile,
        "mainDepartmentIds": [int(each.department)],
        "departmentIds": [int(each.department)],
    }


def _shown(each: Department, order: int) -> dict[str, Any]:
    return {
        "id": int(each.id),
        "name": each.name,
        "isStop": False,
        "order": order,
        "parentId": 0 if each.id == COMPANY else int(COMPANY),
    }

"""Writes: create, update, void, delete, recover, change of owner, lock, as bodies of the API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fenxiang_simulator.envelope import ApiError
from fenxiang_simulator.search import object_name
from fenxiang_simulator.tenant import Tenant

Write = Callable[[Mapping[str, Any], str], dict[str, Any]]


class Writes:
    """Each action takes a body and the acting user, and returns what the answer holds beside the envelope."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant
        self.actions: dict[str, Write] = {
            "create": self.create,
            "update": self.update,
            "invalid": self.invalid,
            "delete": self.delete,
            "recover": self.recover,
            "changeOwner": self.change_owner,
        }

    def create(self, body: Mapping[str, Any], user: str) -> dict[str, Any]:
        """A record and its details. No idempotency: the same body twice is two records.

        With `hasSpecifyTime` the body's `create_time` counts, and under the knob `backdated_stamp` its
        `last_modified_time` too.
        """
        values = _object_data(body)
        name = object_name(values)
        details = _data(body).get("details") or {}
        with self._tenant.lock:
            record_id = self._one(name, values, body, user)
            made = {there: self._details(name, record_id, there, rows, body, user) for there, rows in details.items()}
        answer = self._answered(name, record_id)
        if body.get("includeDetailIds") is True:
            answer["detailIds"] = made
        return answer

    def _answered(self, name: str, record_id: str) -> dict[str, Any]:
        """The answer of a create: preset objects have the id at the top; where custom ones have it is a knob."""
        places: dict[str, dict[str, Any]] = {
            "dataId": {"dataId": record_id},
            "data.dataId": {"data": {"dataId": record_id}},
            "data._id": {"data": {"_id": record_id}},
            "none": {},
        }
        return places[self._tenant.knobs.created_id if self._tenant.definition(name).custom else "dataId"]

    def update(self, body: Mapping[str, Any], user: str) -> dict[str, Any]:
        values = _object_data(body)
        name, record_id = object_name(values), str(values.get("_id", ""))
        self._tenant.may(name, [record_id], user)
        self._tenant.update(name, record_id, _fields(values), user=user)
        return {}

    def invalid(self, body: Mapping[str, Any], user: str) -> dict[str, Any]:
        name, ids = self._named(body, user)
        self._tenant.invalid(name, ids, user=user)
        return {}

    def delete(self, body: Mapping[str, Any], user: str) -> dict[str, Any]:
        name, ids = self._named(body, user)
        self._tenant.delete(name, ids)
        return {}

    def recover(self, body: Mapping[str, Any], user: str) -> dict[str, Any]:
        name, ids = self._named(body, user)
        self._tenant.recover(name, ids, user=user)
        return {}

    def change_owner(self, body: Mapping[str, Any], user: str) -> dict[str, Any]:
        data = _data(body)
        changes = data.get("Data")
        if not isinstance(changes, list) or not changes:
            raise ApiError(32000, "参数错误", "data.Data 不能为空")
        for each in changes:
            owner = each.get("ownerId") or [""]
            self._tenant.may(object_name(data), [str(each.get("objectDataId"))], user)
            self._tenant.change_owner(object_name(data), str(each.get("objectDataId")), str(owner[0]), user=user)
        return {}

    def lock(self, body: Mapping[str, Any], _user: str) -> dict[str, Any]:
        data = _data(body)
        self._tenant.lock_records(object_name(data), _strings(data.get("dataIds")))
        return {}

    def unlock(self, body: Mapping[str, Any], _user: str) -> dict[str, Any]:
        data = _data(body)
        self._tenant.lock_records(object_name(data), _strings(data.get("dataIds")), locked=False)
        return {}

    def _named(self, body: Mapping[str, Any], user: str) -> tuple[str, list[str]]:
        """The object and ids of a body, which the user has a right to."""
        data = _data(body)
        name, ids = object_name(data), _ids(data)
        self._tenant.may(name, ids, user)
        return name, ids

    def _one(self, name: str, values: Mapping[str, Any], body: Mapping[str, Any], user: str) -> str:
        timed = body.get("hasSpecifyTime") is True
        created = values.get("create_time") if timed else None
        modified = values.get("last_modified_time") if timed and self._tenant.knobs.backdated_stamp else None
        author = values.get("created_by") if body.get("hasSpecifyCreatedBy") is True else None
        return self._tenant.create(
            name,
            {key: value for key, value in _fields(values).items() if key != "life_status"},
            user=str(author[0]) if isinstance(author, list) and author else user,
            created_ms=created if isinstance(created, int) else None,
            modified_ms=modified if isinstance(modified, int) else None,
        )

    def _details(
        self, master: str, master_id: str, there: str, rows: list[Mapping[str, Any]], body: Mapping[str, Any], user: str
    ) -> list[str]:
        links = self._tenant.definition(there).masters
        if not any(each.target == master for each in links):
            raise ApiError(32000, "参数错误", f"{there} 不是 {master} 的从对象")
        named = {each.name: master_id for each in links if each.target == master}
        return [self._one(there, {**row, **named}, body, user) for row in rows]


def _data(body: Mapping[str, Any]) -> Mapping[str, Any]:
    data = body.get("data")
    if not isinstance(data, Mapping):
        raise ApiError(500, "调用接口返回500错误", "data is missing")
    return data


def _object_data(body: Mapping[str, Any]) -> Mapping[str, Any]:
    values = _data(body).get("object_data")
    if not isinstance(values, Mapping):
        raise ApiError(500, "java.lang.NullPointerException")
    return values


def _fields(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in ("_id", "dataObjectApiName")}


def _ids(data: Mapping[str, Any]) -> list[str]:
    single = data.get("object_data_id")
    return [single] if isinstance(single, str) else _strings(data.get("idList"))


def _strings(value: Any) -> list[str]:
    if not isinstance(value, list) or not value:
        raise ApiError(32000, "参数错误", "idList 不能为空")
    return [str(each) for each in value]

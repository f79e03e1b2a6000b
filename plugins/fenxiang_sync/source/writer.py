"""FenxiangWriter: looks records up and writes them, one call each (vendor documentation, integrators).

Bodies and paths are documented; where a custom object's create answers the new id is not, so several places are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fenxiang_sync.errors import RefusedError, TransientError
from fenxiang_sync.source.client import FenxiangClient, Json
from fenxiang_sync.source.description import ObjectDescription
from fenxiang_sync.source.protocol import Page
from fenxiang_sync.source.query import MAX_LIMIT, Filter, Operator, SearchQuery, data_path

_ID = "_id"
_STATUS = "life_status"
_STATUSES = ("ineffective", "under_review", "normal", "in_change", "invalid")
_MOST_PAGES = 100
_FOREIGN = 3
"""How often a question is asked whose answer belongs to another."""


class FenxiangWriter:
    """Looks up and writes the records of any object. For the threads of one process; whoever made it closes it."""

    def __init__(self, client: FenxiangClient) -> None:
        self._client = client

    def user(self) -> str:
        """The acting user."""
        return self._client.acting_user()

    def close(self) -> None:
        self._client.close()

    def describe(self, object_name: str) -> ObjectDescription:
        return ObjectDescription.read(self._client.describe(object_name))

    def find(
        self, object_name: str, field: str, values: Sequence[str], *, fields: Sequence[str], voided: bool = False
    ) -> list[Json]:
        """The records whose `field` is one of `values` (at most 100), in the order of their ids.

        `voided` names the life status in the question, which makes some servers list voided records. A page that is as
        long as a page can be is followed by the next one.
        """
        filters = [Filter(field, Operator.IN, values), *([Filter(_STATUS, Operator.IN, _STATUSES)] if voided else [])]
        found: dict[str, Json] = {}
        for _ in range(_MOST_PAGES):
            page = self._page(object_name, field, values, fields, filters)
            news = {str(record[_ID]): record for record in page.records if str(record[_ID]) not in found}
            found |= news
            if not news or len(page.records) < min(MAX_LIMIT, page.limit or MAX_LIMIT) or field == _ID:
                return list(found.values())
            filters = [each for each in filters if each.field != _ID]
            filters.append(Filter(_ID, Operator.GT, str(page.records[-1][_ID])))
        raise RefusedError(f"{object_name}: over {len(found):,} records have {field} {', '.join(values[:3])} …")

    def create(
        self,
        object_name: str,
        values: Mapping[str, Any],
        *,
        details: Mapping[str, Sequence[Mapping[str, Any]]],
        trigger_workflow: bool,
        trigger_approval: bool,
        specify_time: bool,
        specify_created_by: bool,
    ) -> str | None:
        """A new record; its id, None where the answer has none. Never made again once it went out."""
        data: Json = {"object_data": {"dataObjectApiName": object_name, **values}}
        if details:
            data["details"] = {name: list(lines) for name, lines in details.items()}
        body = {
            "triggerWorkFlow": trigger_workflow,
            "triggerApprovalFlow": trigger_approval,
            "hasSpecifyTime": specify_time,
            "hasSpecifyCreatedBy": specify_created_by,
            "includeDetailIds": bool(details),
            "data": data,
        }
        return created_id(self._client.write(data_path(object_name, "create"), body, twice=False))

    def update(
        self,
        object_name: str,
        record_id: str,
        changes: Mapping[str, Any],
        *,
        trigger_workflow: bool,
        trigger_approval: bool,
    ) -> None:
        """Change fields of a record; None empties one."""
        body = {
            "triggerWorkFlow": trigger_workflow,
            "triggerApprovalFlow": trigger_approval,
            "data": {"object_data": {**changes, _ID: record_id, "dataObjectApiName": object_name}},
        }
        self._client.write(data_path(object_name, "update"), body, twice=True)

    def invalid(self, object_name: str, record_id: str) -> None:
        """Void a record (作废)."""
        self._step(object_name, "invalid", object_data_id=record_id)

    def recover(self, object_name: str, record_id: str) -> None:
        """Bring a voided record back (恢复)."""
        self._step(object_name, "recover", idList=[record_id])

    def delete(self, object_name: str, record_id: str) -> None:
        """Delete a voided record for good."""
        self._step(object_name, "delete", idList=[record_id])

    def _step(self, object_name: str, action: str, **named: Any) -> None:
        """A step of a record's life. Not made twice: the second one would be refused, and say nothing of the first."""
        body = {"data": {"dataObjectApiName": object_name, **named}}
        self._client.write(data_path(object_name, action), body, twice=False)

    def _page(
        self, object_name: str, field: str, values: Sequence[str], fields: Sequence[str], filters: Sequence[Filter]
    ) -> Page:
        """The page of this question; one that has records of another is asked for again."""
        search = SearchQuery(
            object_name=object_name,
            projection=tuple(dict.fromkeys((_ID, field, *fields))),
            filters=tuple(filters),
            orders=((_ID, True),),
        )
        asked = {value.casefold() for value in values}
        for _ in range(_FOREIGN):
            page = self._client.query(search)
            foreign = [record for record in page.records if not _answers(record, field, asked)]
            if not foreign:
                return page
        raise TransientError(
            f"{object_name}: asked {_FOREIGN} times for records by {field}, the server sent others, such as "
            f"{str(foreign[0].get(_ID))!r}"
        )


def created_id(answer: Mapping[str, Any]) -> str | None:
    """The id of a new record: top-level ``dataId`` (preset objects), or one of the places where others put it.

    >>> created_id({"errorCode": 0, "dataId": "65aa"}), created_id({"data": {"objectDataId": "65bb"}}), created_id({})
    ('65aa', '65bb', None)
    """
    data = answer.get("data")
    inner = data if isinstance(data, Mapping) else {"dataId": data}
    record = inner.get("object_data")
    places = [answer, inner, *([record] if isinstance(record, Mapping) else [])]
    named = (place.get(name) for place in places for name in ("dataId", "objectDataId", "object_data_id", _ID))
    return next((found for found in named if isinstance(found, str) and found), None)


def _answers(record: Mapping[str, Any], field: str, asked: set[str]) -> bool:
    """Whether a record may be the answer; whether a server minds the letter case of values is not documented."""
    held = record.get(field)
    return bool(record.get(_ID)) and any(
        str(each).strip().casefold() in asked for each in (held if isinstance(held, list) else [held])
    )

"""Search: what one data/query asks, read from its body and checked as the server would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fenxiang_simulator.envelope import ApiError
from fenxiang_simulator.knobs import Knobs

MAX_LIMIT = 100
MAX_OFFSET = 10_000
DEFAULT_LIMIT = 20


@dataclass(frozen=True, slots=True)
class Filter:
    field: str
    operator: str
    values: tuple[Any, ...]

    def as_dict(self) -> dict[str, Any]:
        return {"field_name": self.field, "operator": self.operator, "field_values": list(self.values)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """`projection` None means every field; `total` is the switch: exact, estimate or none."""

    object: str
    filters: tuple[Filter, ...]
    orders: tuple[tuple[str, bool], ...]
    offset: int
    limit: int
    projection: tuple[str, ...] | None
    total: str
    include_null: bool


def read_search(body: Mapping[str, Any], knobs: Knobs, *, simple: bool = False) -> Search:
    """The search of a data/query (`simple`: data/findSimple) body. ApiError where the server would refuse it."""
    data = body.get("data")
    if not isinstance(data, Mapping):
        raise ApiError(500, "调用接口返回500错误", "data is missing")
    name = object_name(data)
    info = data.get("search_query_info")
    if not isinstance(info, Mapping):
        raise ApiError(32000, "searchQueryInfo is empty")
    if "filters" not in info and not knobs.missing_filters_ok:
        raise ApiError(32000, "参数错误", "filters 不能为空")
    limit = _limit(info, knobs)
    return Search(
        object=name,
        filters=tuple(_filter(each) for each in info.get("filters") or ()),
        orders=tuple(_order(each) for each in info.get("orders") or ()),
        offset=_offset(info, limit, knobs),
        limit=limit,
        projection=_projection(data.get("field_projection") if simple else info.get("fieldProjection")),
        total=_total_switch(body, data, knobs),
        include_null=body.get("includeNull") is True,
    )


def object_name(data: Mapping[str, Any]) -> str:
    """The object API name of a request's ``data`` (``apiName`` is accepted too, as one integration reports)."""
    name = data.get("dataObjectApiName") or data.get("apiName")
    if not isinstance(name, str):
        raise ApiError(500, "调用接口返回500错误", "data.dataObjectApiName is missing")
    return name


def _limit(info: Mapping[str, Any], knobs: Knobs) -> int:
    limit = _whole(info.get("limit", DEFAULT_LIMIT), "limit")
    if limit <= 0:
        raise ApiError(32000, "参数错误", "limit 必须大于0")
    if limit <= MAX_LIMIT or knobs.limit_mode == "honour":
        return limit
    if knobs.limit_mode == "reject":
        raise ApiError(32000, "参数错误", f"limit 不能超过{MAX_LIMIT}")
    return MAX_LIMIT


def _offset(info: Mapping[str, Any], limit: int, knobs: Knobs) -> int:
    offset = _whole(info.get("offset", 0), "offset")
    inclusive = knobs.offset_10000_inclusive == "allowed"
    if offset > MAX_OFFSET or (offset == MAX_OFFSET and not inclusive):
        raise ApiError(10013, "offset out of range 10000", "offset 不能超过10000")
    if offset < 0 or (offset % limit and knobs.offset_multiple == "enforce"):
        raise ApiError(32000, "参数错误", "offset 必须是limit的整数倍")
    return offset


def _whole(value: Any, name: str) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise ApiError(32000, "参数错误", f"{name} 必须是整数") from None


def _filter(entry: Any) -> Filter:
    if not isinstance(entry, Mapping) or "field_name" not in entry or "operator" not in entry:
        raise ApiError(32000, "参数错误", "filters 中缺少 field_name 或 operator")
    values = entry.get("field_values")
    if values is None:
        values = []
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ApiError(32000, "参数错误", f"field_values 必须是数组: {entry['field_name']}")
    return Filter(str(entry["field_name"]), str(entry["operator"]), tuple(values))


def _order(entry: Any) -> tuple[str, bool]:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("fieldName"), str):
        raise ApiError(32000, "参数错误", "orders 中缺少 fieldName")
    ascending = entry.get("isAsc", True)
    return entry["fieldName"], str(ascending).lower() != "false"


def _projection(value: Any) -> tuple[str, ...] | None:
    return tuple(map(str, value)) if value else None


def _total_switch(body: Mapping[str, Any], data: Mapping[str, Any], knobs: Knobs) -> str:
    winner = knobs.total_switch_winner
    if winner == "returnTotalNum":
        return {2: "estimate", 3: "none"}.get(body.get("returnTotalNum", 1), "exact")
    if winner == "need_return_count_num":
        return "exact" if body.get("need_return_count_num") is True else "none"
    return "none" if data.get("find_explicit_total_num") is False else "exact"

"""Bill query: ExecuteBillQuery of the simulated Kingdee: arrays in the order of FieldKeys, or what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from fenxiang_simulator.bill_filter import KEY, Holds, orders, parse
from fenxiang_simulator.bills import Bill, Seen, told

MOST_LIMIT = 2_000
"""Where a query names no Limit."""


class QueryError(ValueError):
    """The query cannot be carried out; the message is Kingdee's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BillQuery:
    """One query as it was asked."""

    seen: Seen
    keys: list[str]
    said: str
    holds: Holds
    orders: list[tuple[str, bool]]
    start: int
    limit: int

    @classmethod
    def read(cls, asked: Mapping[str, Any], seen: Seen) -> Self:
        keys = [key.strip() for key in str(asked.get("FieldKeys") or "").split(",") if key.strip()]
        if not keys:
            raise QueryError("FieldKeys 不能为空")
        said = str(asked.get("FilterString") or "")
        try:
            holds, order = parse(said), orders(str(asked.get("OrderString") or ""))
            start, limit = int(asked.get("StartRow") or 0), int(asked.get("Limit") or MOST_LIMIT)
        except ValueError as error:
            raise QueryError(f"FilterString 无法解析: {error}") from None
        if start < 0 or limit < 0:
            raise QueryError("StartRow 或 Limit 无效")
        for key in (*keys, *(key for key, _ in order)):
            if not KEY.fullmatch(key) or not seen.knows(key):
                raise QueryError(f"字段{key}不存在")
        return cls(seen=seen, keys=keys, said=said, holds=holds, orders=order, start=start, limit=limit)

    def as_dict(self) -> dict[str, Any]:
        return {
            "form": self.seen.form, "keys": self.keys, "filter": self.said, "orders": self.orders, "start": self.start,
            "limit": self.limit,
        }  # fmt: skip

    def rows(self, bills: Iterable[Bill], *, most: int) -> list[list[Any]]:
        """The page. Raises `QueryError` where the filter compares what cannot be compared, or what is not there."""
        order = [key for key, _ in self.orders]
        found = [row for bill in bills for row in self.seen.rows(bill, [*self.keys, *order]) if self._fits(row)]
        for key, ascending in reversed(self.orders):
            found.sort(key=lambda row, key=key: _sortable(row(key)), reverse=not ascending)  # type: ignore[misc]
        page = found[self.start : self.start + min(self.limit, most)]
        return [[told(row(key)) for key in self.keys] for row in page]

    def _fits(self, row: Callable[[str], Any]) -> bool:
        def value(key: str) -> Any:
            if not self.seen.knows(key):
                raise QueryError(f"字段{key}不存在")
            return row(key)

        try:
            return self.holds(value) is True
        except QueryError:
            raise
        except ValueError as error:
            raise QueryError(f"数据类型转换失败: {error}") from None


def _sortable(value: Any) -> tuple[bool, Any]:
    """Null first, as SQL Server sorts it; text without regard to case."""
    return (False, 0) if value is None else (True, value.casefold() if isinstance(value, str) else value)

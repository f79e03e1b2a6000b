"""How many records become rows in a second of one core, beside a function written by hand for the same six fields.

Run: ``PYTHONPATH=plugins python benchmarks/bench_mapping.py``. The ratio is the result; rates depend on the machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from fenxiang_sync import (
    Computed,
    Constant,
    Field,
    Group,
    Kind,
    Lines,
    Take,
    decimal,
    first,
    instant,
    integer,
    label,
    text,
)
from fenxiang_sync.mapping import Mapping

RECORDS: list[dict[str, Any]] = [
    {
        "_id": f"65aa{number:020x}",
        "name": f"仓库 {number}",
        "last_modified_time": 1696161600000 + number,
        "version": "3",
        "life_status": "normal",
        "warehouseId": f"WH{number}",
        "warehouseName": f"Main Warehouse {number}",
        "location": "Beijing" if number % 10 else None,
        "capacity": 10000 + number,
        "currentStock": str(number),
        "owner": ["FSUID_demo"],
        "owner__r": {"id": "1000", "name": "Demo User"},
        "amount": f"{number}.50",
        "lines": [{"product_id": f"P{line % 3}", "quantity": f"{line}.00"} for line in range(10)],
    }
    for number in range(20_000)
]
NESTED = Mapping(
    [
        Field("warehouseId", "id", convert=text, required=True),
        Field("warehouseName", "name", convert=text),
        Field("location", "location.city", convert=text),
        Field("capacity", "capacityInfo.totalCapacity", convert=integer),
        Field("currentStock", "capacityInfo.currentStockLevel", convert=integer),
        Field("life_status", "status", convert=text),
    ],
    key="id",
)
COSTLY = Mapping(
    [
        Field("_id"),
        Field("owner", "owner_id", convert=first(text)),
        Field("owner", "owner_name", convert=label),
        Field("amount", convert=decimal(scale=2)),
        Field("last_modified_time", "modified_at", convert=instant("Asia/Shanghai", "YYYY-MM-DD HH:mm:ss")),
        Constant("origin", "fenxiang"),
    ]
)


def stock_share(stock: Any, capacity: Any) -> Decimal | None:
    return None if stock is None or not capacity else Decimal(stock) / capacity


COMPUTED = Mapping(
    [*NESTED.entries, Computed(stock_share, "share", reads=["currentStock", "capacity"], kind=Kind.DECIMAL)], key="id"
)
LINE = [Field("product_id", "product", convert=text), Field("quantity", convert=decimal())]
DOCUMENT = Mapping([Field("_id"), Lines("lines", fields=LINE)])
MERGED = Mapping([Field("_id"), Lines("lines", fields=LINE, group=Group(by=["product"], take={"quantity": Take.SUM}))])


def by_hand(record: dict[str, Any]) -> dict[str, Any]:
    """The six fields of `NESTED` with the same care: null and empty are None, numbers from text, id required."""
    if not record.get("warehouseId"):
        raise ValueError("id is required")
    capacity, stock = record.get("capacity"), record.get("currentStock")
    return {
        "id": str(record["warehouseId"]),
        "name": record.get("warehouseName") or None,
        "location": {"city": record.get("location") or None},
        "capacityInfo": {
            "totalCapacity": None if capacity in (None, "") else int(Decimal(capacity)),
            "currentStockLevel": None if stock in (None, "") else int(Decimal(stock)),
        },
        "status": record.get("life_status") or None,
    }


def rate(work: Callable[[dict[str, Any]], Any], rounds: int = 7) -> float:
    """Records a second of CPU time in the best of some rounds: other work on the machine does not count."""
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        for record in RECORDS:
            work(record)
        best = min(best, time.process_time() - began)
    return len(RECORDS) / best


def main() -> None:
    hand = rate(by_hand)
    print(f"{'six fields of a warehouse':44} {'records/s':>10}  of hand-written")
    for what, work in (
        ("written by hand (content only)", by_hand),
        ("declared, content", NESTED.content),
        ("declared, row (content, id, order, hash)", NESTED.row),
        ("declared, content with money, label, zone", COSTLY.content),
        ("declared, row with money, label, zone", COSTLY.row),
        ("declared, row of six fields and a function", COMPUTED.row),
        ("declared, row of a document of ten lines", DOCUMENT.row),
        ("declared, the same merged by product", MERGED.row),
    ):
        found = hand if work is by_hand else rate(work)
        print(f"{what:44} {found:>10,.0f}  {found / hand:.2f}")


if __name__ == "__main__":
    main()

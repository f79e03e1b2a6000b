"""Price books and available ranges (价目表, 可售范围) → a table of prices, and the web shop's `POST /write`.

Whom a price or a range is for is a composite value: ``{"type":"ALL",…}`` for everybody, ``{"type":"FIXED",…}`` for
those that are listed. It becomes plain; a FIXED range that lists nobody is a dead letter: it would sell to nobody.
The shop has no call that takes a range back, so one that is switched off or voided (作废) goes as well, not ``active``.
"""

from __future__ import annotations

from typing import Any

import pendulum

from fenxiang_sync import (
    Computed,
    Condition,
    Details,
    Explode,
    Field,
    Kind,
    Logic,
    Numeric,
    Pipeline,
    Source,
    SqlTable,
    WriteApi,
    chain,
    choice,
    day,
    decimal,
    text,
    unwrapped,
)
from fenxiang_sync.airflow import sync_dag

RANGES = ["ALL", "FIXED"]
applies_to = chain(unwrapped("type"), choice(RANGES))
STATUS = ["active_status", "life_status"]
ACTIVE = [[Condition("active_status", Logic.EQ, "1"), Condition("life_status", Logic.EQ, "normal")]]


def active(status: Any, life: Any) -> bool:
    """Whether a range holds."""
    return bool(status == "1" and life == "normal")


def listed(applies: Any, lines: Any, field: str, *, holds: bool) -> list[str]:
    """The ids that a range lists; none for everybody."""
    if applies_to(applies) == "ALL":
        return []
    found = sorted({line[field] for line in lines or [] if line.get(field)})
    if holds and not found:
        raise ValueError("it is for those that are listed, and nobody is")
    return found


def customers(applies: Any, lines: Any, status: Any, life: Any) -> list[str]:
    """The customers of a range."""
    return listed(applies, lines, "account_id", holds=active(status, life))


def products(applies: Any, lines: Any, status: Any, life: Any) -> list[str]:
    """The products of a range."""
    return listed(applies, lines, "product_id", holds=active(status, life))


price_list = Pipeline(
    name="price_list",
    title="价目表 → 数据库",
    description=__doc__,
    source=Source(object="PriceBookObj", details=[Details("PriceBookProductObj", by="pricebook_id")]),
    conditions=ACTIVE,
    explode=Explode("PriceBookProductObj"),
    fields=[
        Field("price_book_no", "book", convert=text, required=True),
        Field("name", "book_name", convert=text),
        Field("account_range", "applies_to", convert=applies_to, required=True),
        Field("start_date", "valid_from", convert=day()),
        Field("end_date", "valid_until", convert=day()),
        Field("PriceBookProductObj.product_id", "product_id", convert=text, required=True),
        Field("PriceBookProductObj.pricebook_price", "price", convert=decimal(scale=2), required=True),
        Field("PriceBookProductObj.discount", "discount", convert=decimal(scale=2)),
    ],
    key="book",
    target=SqlTable(connection="warehouse_db", table="price", types={"price": Numeric(18, 2)}),
    schedule="10 * * * *",
    start=pendulum.datetime(2026, 1, 1, tz="Asia/Shanghai"),
    tags=["prices"],
)

available_range = Pipeline(
    name="available_range",
    title="可售范围 → 商城",
    description=__doc__,
    source=Source(
        object="AvailableRangeObj",
        details=[
            Details("AvailableAccountObj", by="available_range_id", fields=["account_id"]),
            Details("AvailableProductObj", by="available_range_id", fields=["product_id"]),
        ],
    ),
    fields=[
        Field("_id", "id", convert=text),
        Field("name", convert=text, required=True),
        Computed(active, "active", reads=STATUS, kind=Kind.BOOLEAN),
        Field("account_range", "customers.for", convert=applies_to, required=True),
        Computed(customers, "customers.ids", reads=["account_range", "AvailableAccountObj", *STATUS]),
        Field("product_range", "products.for", convert=applies_to, required=True),
        Computed(products, "products.ids", reads=["product_range", "AvailableProductObj", *STATUS]),
    ],
    target=WriteApi(connection="write_api"),
    schedule="20 * * * *",
    start=pendulum.datetime(2026, 1, 1, tz="Asia/Shanghai"),
    tags=["prices"],
)

dags = [sync_dag(price_list), sync_dag(available_range)]

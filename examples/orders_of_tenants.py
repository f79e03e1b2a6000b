"""Sales orders (销售订单) of two companies (多租户), each with its own CRM → one table.

Order numbers begin anew in each CRM, so the id of a row is the tenant and the number (单号). Each company has a
connection, and with it quota, token and certificates of its own.
"""

from __future__ import annotations

import pendulum

from fenxiang_sync import Constant, Field, Numeric, Pipeline, Source, SqlTable, day, decimal, prefixed, text
from fenxiang_sync.airflow import sync_dag

TENANTS = {"north": "华北公司", "south": "华南公司"}

orders_of_tenants = [
    Pipeline(
        name=f"orders_of_{tenant}",
        title=f"{company}订单 → 数据库",
        description=__doc__,
        source=Source(object="SalesOrderObj", connection=f"fenxiang_{tenant}"),
        fields=[
            Field("name", "order_key", convert=prefixed(f"{tenant}-"), required=True),
            Constant("tenant", tenant),
            Field("name", "order_no", convert=text, required=True),
            Field("account_id", "customer_key", convert=prefixed(f"{tenant}-")),
            Field("order_time", "ordered_on", convert=day()),
            Field("order_amount", "amount", convert=decimal(scale=2)),
        ],
        key="order_key",
        target=SqlTable(
            connection="warehouse_db", table="orders", types={"amount": Numeric(18, 2)}, own={"tenant": tenant}
        ),
        start=pendulum.datetime(2026, 1, 1, tz="Asia/Shanghai"),
        tags=["warehouse", tenant],
    )
    for tenant, company in TENANTS.items()
]

dags = [sync_dag(pipeline) for pipeline in orders_of_tenants]

"""Customers (客户) → a table of PostgreSQL, MySQL, MariaDB or SQLite.

One row for each customer, upserted by ``_id``. What the table refuses (by a CHECK of its administrator, say) stands
alone: that row is a dead letter, and the rest of the batch arrives.
"""

from __future__ import annotations

import pendulum

from fenxiang_sync import (
    Field,
    Numeric,
    Pipeline,
    Source,
    SqlTable,
    Varchar,
    boolean,
    day,
    decimal,
    first,
    instant,
    text,
)
from fenxiang_sync.airflow import sync_dag

account_to_table = Pipeline(
    name="account_to_table",
    title="客户 → 数据库",
    description=__doc__,
    source=Source(object="AccountObj"),
    fields=[
        Field("_id", convert=text),
        Field("account_no", convert=text),
        Field("name", convert=text, required=True),
        Field("account_level", "level", convert=text),
        Field("owner", "owner_id", convert=first(text)),
        Field("field_credit_limit__c", "credit.limit", convert=decimal(scale=2)),
        Field("field_registered_on__c", "registered_on", convert=day()),
        Field("field_vip__c", "vip", convert=boolean, default=False),
        Field("last_modified_time", "modified_at", convert=instant("Asia/Shanghai")),
    ],
    target=SqlTable(
        connection="warehouse_db",
        table="account",
        types={"name": Varchar(200), "credit_limit": Numeric(18, 2)},
    ),
    start=pendulum.datetime(2026, 1, 1, tz="Asia/Shanghai"),
    tags=["warehouse"],
)

dag = sync_dag(account_to_table)

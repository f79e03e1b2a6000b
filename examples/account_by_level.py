"""Customers (客户) → one table for each level: one object split into several pipelines (一个对象, 多个方案).

A customer whose level changes leaves its old table, where the row is flagged, and arrives in the new one.
"""

from __future__ import annotations

import pendulum

from fenxiang_sync import Condition, Field, Logic, Pipeline, Source, SqlTable, instant, text
from fenxiang_sync.airflow import sync_dag

LEVELS = {"key": ("1", "重点客户"), "ordinary": ("2", "普通客户"), "general": ("3", "一般客户")}

account_by_level = [
    Pipeline(
        name=f"account_{name}",
        title=f"{label} → 数据库",
        description=__doc__,
        source=Source(object="AccountObj"),
        conditions=[[Condition("account_level", Logic.EQ, option)]],
        fields=[
            Field("_id", convert=text),
            Field("name", convert=text, required=True),
            Field("city", convert=text),
            Field("last_modified_time", "modified_at", convert=instant("Asia/Shanghai")),
        ],
        target=SqlTable(connection="warehouse_db", table=f"account_{name}"),
        start=pendulum.datetime(2026, 1, 1, tz="Asia/Shanghai"),
        tags=["warehouse"],
    )
    for name, (option, label) in LEVELS.items()
]

dags = [sync_dag(pipeline) for pipeline in account_by_level]

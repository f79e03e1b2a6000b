"""Contacts (联系人) → a table that is compared with the CRM every night (差异比对), by ``_id``, deletions included.

A deleted record leaves no trace in any query: only the comparison finds it. Voided (作废) and deleted contacts are
flagged with the time in ``fx_removed_at``. Where more than one in fifty is gone at once, and more than five are, the
comparison stops and asks.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum

from fenxiang_sync import DeletePolicy, Field, Pipeline, Reconcile, Source, SqlTable, text
from fenxiang_sync.airflow import sync_dag

daily_comparison = Pipeline(
    name="daily_comparison",
    title="联系人 → 数据库 (每日比对)",
    description=__doc__,
    source=Source(object="ContactObj"),
    fields=[
        Field("_id", convert=text),
        Field("name", convert=text, required=True),
        Field("mobile1", "mobile", convert=text),
        Field("account_id", convert=text),
    ],
    target=SqlTable(connection="warehouse_db", table="contact"),
    delete_policy=DeletePolicy.FLAG,
    reconcile=Reconcile(schedule="0 2 * * *", sweep_every=timedelta(days=1), most_vanished=500, most_share=0.02),
    start=pendulum.datetime(2026, 1, 1, tz="Asia/Shanghai"),
    tags=["warehouse"],
)

dag = sync_dag(daily_comparison)

"""Inventory reports (库存报表) → the hub (写入空操作).

Rows stay in the hub, where other systems read them. Fenxiang stamps in epoch milliseconds; the row says Shanghai time.
"""

from __future__ import annotations

import pendulum

from fenxiang_sync import Field, HubTarget, Pipeline, Source, instant, text
from fenxiang_sync.airflow import sync_dag

inventory_report = Pipeline(
    name="inventory_report",
    title="库存报表",
    description=__doc__,
    source=Source(object="object_inventory_report__c"),
    fields=[
        Field("_id", convert=text),
        Field("name", convert=text),
        Field(
            "last_modified_time",
            "local_last_modified_time",
            convert=instant("Asia/Shanghai", "YYYY-MM-DD HH:mm:ss"),
        ),
    ],
    target=HubTarget(),
    schedule="30 */4 * * *",
    start=pendulum.datetime(2026, 1, 1, tz="Asia/Shanghai"),
)

dag = sync_dag(inventory_report)

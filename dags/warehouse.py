"""Warehouse archive (仓库档案) → the warehouse system's `POST /write`.

Copy this file to sync an object of your own: change the object, the fields and the target. A record without
`warehouseId` is not sent; it becomes a dead letter that names the field.
"""

from __future__ import annotations

import pendulum

from fenxiang_sync import Field, Pipeline, Source, WriteApi, integer, text
from fenxiang_sync.airflow import sync_dag

warehouse = Pipeline(
    name="warehouse",
    title="仓库档案",
    description=__doc__,
    source=Source(object="object_warehouse__c"),
    fields=[
        Field("warehouseId", "id", convert=text, required=True),
        Field("warehouseName", "name", convert=text),
        Field("location", "location.city", convert=text),
        Field("capacity", "capacityInfo.totalCapacity", convert=integer),
        Field("currentStock", "capacityInfo.currentStockLevel", convert=integer),
    ],
    key="id",
    target=WriteApi(connection="write_api"),
    schedule="0 */4 * * *",
    start=pendulum.datetime(2026, 1, 1, tz="Asia/Shanghai"),
    tags=["master data"],
)

dag = sync_dag(warehouse)

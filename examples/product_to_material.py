"""Products (产品) → materials (物料, BD_MATERIAL) of Kingdee Cloud Galaxy (金蝶云星空).

Queries leave the description out: it is got with a call for each product that is new or changed (先查询, 再取详情).
Where the server refuses one of them, that product alone becomes a dead letter.
"""

from __future__ import annotations

import pendulum

from fenxiang_sync import (
    Constant,
    Field,
    KingdeeBatchSave,
    Pipeline,
    Source,
    chain,
    decimal,
    limited,
    text,
    value_map,
    wrapped,
)
from fenxiang_sync.airflow import sync_dag

UNITS = {"pcs": "Pcs", "box": "Box", "set": "Set", "kg": "kg"}

product_to_material = Pipeline(
    name="product_to_material",
    title="产品 → 金蝶物料",
    description=__doc__,
    source=Source(object="ProductObj", get_fields=["description__c"]),
    fields=[
        Field("product_code", "FNumber", convert=text, required=True),
        Field("name", "FName", convert=limited(80), required=True),
        Field("product_spec", "FSpecification", convert=limited(100)),
        Field("description__c", "FDescription", convert=limited(255)),
        Field("unit", "SubHeadEntity.FBaseUnitId", convert=chain(value_map(UNITS), wrapped("FNumber")), required=True),
        Field("barcode", "SubHeadEntity.FBARCODE", convert=text),
        Field("price", "FRefPrice", convert=decimal(scale=2)),
        Constant("FCreateOrgId.FNumber", "100"),
    ],
    key="FNumber",
    number="product_code",
    target=KingdeeBatchSave(form="BD_MATERIAL", id_field="FMATERIALID", upserts=True, forbids=True),
    schedule="15 * * * *",
    start=pendulum.datetime(2026, 1, 1, tz="Asia/Shanghai"),
    tags=["kingdee"],
)

dag = sync_dag(product_to_material)

"""Sales orders with their lines (销售订单, 订单产品) → sales orders of Kingdee (金蝶云星空, SAL_SaleOrder).

Approved orders only. The query gives headers, so the lines are fetched by reference. Customer and materials are looked
up where `customer_to_kingdee` and `product_to_material` have put them, the customer by the number that Kingdee told: an
order that comes before its customer waits. Where it stands is written back (回写); the cycle ends by itself, since an
order that was written back is read again and gives the same row. An order that is voided (作废) later stays at Kingdee:
say ``delete_policy=DeletePolicy.DELETE`` where it is to be deleted there, which Kingdee refuses once it is audited.
"""

from __future__ import annotations

import pendulum

from fenxiang_sync import (
    Condition,
    Constant,
    Details,
    Field,
    KingdeeBatchSave,
    Lines,
    Logic,
    Lookup,
    Outcome,
    Pipeline,
    Refusal,
    Source,
    Standing,
    Told,
    WriteBack,
    day,
    decimal,
    text,
)
from fenxiang_sync.airflow import sync_dag

order_to_kingdee = Pipeline(
    name="order_to_kingdee",
    title="销售订单 → 金蝶销售订单",
    description=__doc__,
    source=Source(object="SalesOrderObj", details=[Details("SalesOrderProductObj", by="order_id")]),
    conditions=[[Condition("life_status", Logic.EQ, "normal")]],
    fields=[
        Field("name", "FBillNo", convert=text, required=True),
        Field("order_time", "FDate", convert=day(), required=True),
        Constant("FBillTypeID.FNumber", "XSDD01_SYS"),
        Constant("FSaleOrgId.FNumber", "100"),
        Lookup(
            "FCustId.FNumber",
            pipeline="customer_to_kingdee",
            find="@told.Number",
            where={"_id": "account_id"},
            required=True,
        ),
        Lines(
            "SalesOrderProductObj",
            "FSaleOrderEntry",
            fields=[
                Lookup(
                    "FMaterialId.FNumber",
                    pipeline="product_to_material",
                    find="FNumber",
                    where={"_id": "product_id"},
                    required=True,
                ),
                Field("quantity", "FQty", convert=decimal(), required=True),
                Field("sales_price", "FTaxPrice", convert=decimal(scale=2)),
            ],
            keeps=[[Condition("quantity", Logic.GT, 0)]],
            required=True,
        ),
    ],
    key="FBillNo",
    target=KingdeeBatchSave(form="SAL_SaleOrder", number_field="FBillNo", upserts=True),
    write_back=WriteBack(
        fields={
            "erp_id__c": Told("Id", convert=text),
            "sync_status__c": Standing({Outcome.DELIVERED: "synced", Outcome.DEAD_LETTER: "failed"}),
            "sync_error__c": Refusal(),
        },
    ),
    schedule="*/30 * * * *",
    start=pendulum.datetime(2026, 1, 1, tz="Asia/Shanghai"),
    tags=["kingdee"],
)

dag = sync_dag(order_to_kingdee)

"""Payments of one business type (回款, 费用转货款) → receivables (应收单, AR_receivable) of Kingdee (金蝶云星空).

Only that business type is asked for: Fenxiang filters, and its 100 calls in 20 seconds go to what is wanted. Each line
names the order that it pays; the receivable waits until `order_to_kingdee` has delivered all of them. Kingdee is called
once a second at most.
"""

from __future__ import annotations

import pendulum

from fenxiang_sync import (
    Condition,
    Constant,
    Details,
    Field,
    Filter,
    KingdeeBatchSave,
    Lines,
    Logic,
    Lookup,
    Operator,
    Pipeline,
    Rate,
    Source,
    day,
    decimal,
    text,
)
from fenxiang_sync.airflow import sync_dag

payment_to_receivable = Pipeline(
    name="payment_to_receivable",
    title="费用转货款 → 金蝶应收单",
    description=__doc__,
    source=Source(
        object="PaymentObj",
        filters=[Filter("record_type", Operator.EQ, ["fee_to_goods__c"])],
        details=[Details("OrderPaymentObj", by="payment_id")],
    ),
    conditions=[[Condition("life_status", Logic.EQ, "normal")]],
    fields=[
        Field("name", "FBillNo", convert=text, required=True),
        Field("payment_time", "FDate", convert=day(), required=True),
        Constant("FBillTypeID.FNumber", "YSD02_SYS"),
        Lookup(
            "FCUSTOMERID.FNumber",
            pipeline="customer_to_kingdee",
            find="FNumber",
            where={"_id": "account_id"},
            required=True,
        ),
        Field("payment_amount", "FALLAMOUNTFOR", convert=decimal(scale=2), required=True),
        Lines(
            "OrderPaymentObj",
            "FEntityDetail",
            fields=[
                Lookup(
                    "FORDERNUMBER",
                    pipeline="order_to_kingdee",
                    find="FBillNo",
                    where={"_id": "order_id"},
                    required=True,
                ),
                Field("payment_amount", "FALLAMOUNTFOR_D", convert=decimal(scale=2), required=True),
            ],
            required=True,
        ),
    ],
    key="FBillNo",
    target=KingdeeBatchSave(
        form="AR_receivable", number_field="FBillNo", upserts=True, rate=Rate(calls=60, per_seconds=60)
    ),
    schedule="45 * * * *",
    start=pendulum.datetime(2026, 1, 1, tz="Asia/Shanghai"),
    tags=["kingdee"],
)

dag = sync_dag(payment_to_receivable)

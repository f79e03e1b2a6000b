"""Payments whose lines pay several orders, several lines an order (回款 ↔ 订单) → receipts (收款单, AR_RECEIVEBILL).

Lines of one order are merged (合并, groupCalculate) and their amounts added; fifty orders at most go into one receipt.
A payment whose lines do not add up to its total is a dead letter with both sums. That total goes into a field of one's
own: a payment of more than fifty orders becomes several receipts, and what each of them receives, Kingdee adds up.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pendulum

from fenxiang_sync import (
    Computed,
    Condition,
    Details,
    Field,
    Group,
    Kind,
    KingdeeBatchSave,
    Lines,
    Logic,
    Lookup,
    Pipeline,
    Source,
    Take,
    day,
    decimal,
    text,
)
from fenxiang_sync.airflow import sync_dag


def checked_total(total: Any, lines: Any) -> Decimal:
    """The payment's amount, where its lines add up to it."""
    added = sum((Decimal(line.get("payment_amount") or 0) for line in lines or []), Decimal(0))
    if total is None or Decimal(total) != added:
        raise ValueError(f"the lines add up to {added}, and the payment says {total}")
    return added


payment_lines = Pipeline(
    name="payment_lines",
    title="回款 → 金蝶收款单",
    description=__doc__,
    source=Source(object="PaymentObj", details=[Details("OrderPaymentObj", by="payment_id")]),
    conditions=[[Condition("life_status", Logic.EQ, "normal")]],
    fields=[
        Field("name", "FBillNo", convert=text, required=True),
        Field("payment_time", "FDATE", convert=day(), required=True),
        Computed(
            checked_total,
            "F_PAYMENT_TOTAL",
            reads=["payment_amount", "OrderPaymentObj"],
            kind=Kind.DECIMAL,
            required=True,
        ),
        Lines(
            "OrderPaymentObj",
            "FRECEIVEBILLSRCENTRY",
            fields=[
                Lookup(
                    "FSRCBILLNO",
                    pipeline="order_to_kingdee",
                    find="FBillNo",
                    where={"_id": "order_id"},
                    required=True,
                ),
                Field("payment_amount", "FREALRECAMOUNT", convert=decimal(scale=2), required=True),
                Field("name", "FREMARK", convert=text),
            ],
            group=Group(by=["FSRCBILLNO"], take={"FREALRECAMOUNT": Take.SUM, "FREMARK": Take.FIRST}),
            most=50,
            required=True,
        ),
    ],
    key="FBillNo",
    target=KingdeeBatchSave(form="AR_RECEIVEBILL", number_field="FBillNo", upserts=True),
    schedule="50 * * * *",
    start=pendulum.datetime(2026, 1, 1, tz="Asia/Shanghai"),
    tags=["kingdee"],
)

dag = sync_dag(payment_lines)

"""Customers (客户) → customers of Kingdee Cloud Galaxy (金蝶云星空, BD_Customer).

The level is an option here and another there (静态映射); a level that the table lacks makes a dead letter, so that
nobody is filed wrongly. The group that a customer belongs to goes by its name, as people read it in the CRM. Number and
id that Kingdee gives a customer, or why it refused one, are written back (回写), so that people see it where they work.
"""

from __future__ import annotations

import pendulum

from fenxiang_sync import (
    Condition,
    Constant,
    Field,
    KingdeeBatchSave,
    Logic,
    Outcome,
    Pipeline,
    Refusal,
    Source,
    Standing,
    Told,
    WriteBack,
    chain,
    label,
    limited,
    text,
    value_map,
    wrapped,
)
from fenxiang_sync.airflow import sync_dag

LEVELS = {"1": "KHLB001_SYS", "2": "KHLB002_SYS", "3": "KHLB003_SYS"}

customer_to_kingdee = Pipeline(
    name="customer_to_kingdee",
    title="客户 → 金蝶客户",
    description=__doc__,
    source=Source(object="AccountObj"),
    conditions=[[Condition("life_status", Logic.EQ, "normal")]],
    fields=[
        Field("account_no", "FNumber", convert=text, required=True),
        Field("name", "FName", convert=limited(80), required=True),
        Field("account_level", "FCustTypeId", convert=chain(value_map(LEVELS), wrapped("FNumber"))),
        Field("parent_account_id", "F_GROUP_NAME", convert=label),
        Field("tel", "FTEL", convert=text),
        Field("address", "FADDRESS", convert=limited(255)),
        Constant("FCreateOrgId.FNumber", "100"),
    ],
    key="FNumber",
    number="account_no",
    target=KingdeeBatchSave(form="BD_Customer", id_field="FCUSTID", upserts=True, forbids=True),
    write_back=WriteBack(
        fields={
            "erp_number__c": Told("Number"),
            "erp_id__c": Told("Id", convert=text),
            "sync_status__c": Standing({Outcome.DELIVERED: "synced", Outcome.DEAD_LETTER: "failed"}),
            "sync_error__c": Refusal(characters=100),
        },
    ),
    schedule="*/30 * * * *",
    start=pendulum.datetime(2026, 1, 1, tz="Asia/Shanghai"),
    tags=["kingdee"],
)

dag = sync_dag(customer_to_kingdee)

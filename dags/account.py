"""Customers (客户) → a Qeasy scheme (轻易云 store).

Labels (`level`, `owner_name`, `parent_name`) are what people read in the CRM on the day of reading: renaming an option
or an employee touches no record, so join on ids where it matters.
"""

from __future__ import annotations

import pendulum

from fenxiang_sync import (
    Constant,
    Field,
    Pipeline,
    QeasyStore,
    Source,
    boolean,
    choice,
    day,
    decimal,
    first,
    instant,
    label,
    text,
)
from fenxiang_sync.airflow import sync_dag

LIFE_STATUS = ["ineffective", "under_review", "normal", "in_change", "invalid"]

account = Pipeline(
    name="account",
    title="客户",
    description=__doc__,
    source=Source(object="AccountObj"),
    fields=[
        Field("_id", convert=text),
        Field("name", convert=text, required=True),
        Field("account_no", convert=text),
        Field("life_status", "status", convert=choice(LIFE_STATUS)),
        Field("account_level", "level", convert=label),
        Field("owner", "owner_id", convert=first(text)),
        Field("owner", "owner_name", convert=label),
        Field("parent_account_id", "parent_name", convert=label),
        Field("field_credit_limit__c", "credit_limit", convert=decimal(scale=2)),
        Field("field_registered_on__c", "registered_on", convert=day()),
        Field("field_vip__c", "vip", convert=boolean, default=False),
        Field("last_modified_time", "modified_at", convert=instant("Asia/Shanghai")),
        Constant("origin", "fenxiang"),
    ],
    target=QeasyStore(scheme="customers", connection="qeasy"),
    start=pendulum.datetime(2026, 1, 1, tz="Asia/Shanghai"),
)

dag = sync_dag(account)

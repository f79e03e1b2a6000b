"""The pipelines that live through the chaos, each of another kind of source or target."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from fenxiang_sync import FenxiangTarget, Field, HubTarget, KingdeeSource, Pipeline, Source, WriteApi, integer

SPANS: dict[str, Any] = {"lookback": timedelta(seconds=10), "settle": timedelta(seconds=1)}
PAGES: dict[str, Any] = {"page_size": 50, "segment_records": 100}
STATE = ("name", "life_status", "version", "last_modified_time")
GOT = "description__c"
"""What only `get` gives of a product."""


def _source(object_name: str, **words: Any) -> Source:
    return Source(object=object_name, **SPANS, **PAGES, **words)


PIPELINES = {
    one.name: one
    for one in (
        Pipeline(
            name="account",
            source=_source("AccountObj"),
            fields=[Field("_id"), *map(Field, STATE)],
            target=HubTarget(),
            schedule=None,
        ),
        Pipeline(
            name="warehouse",
            source=_source("object_warehouse__c"),
            fields=[Field("_id", "id"), *map(Field, STATE)],
            target=WriteApi(batch_rows=10),
            schedule=None,
        ),
        Pipeline(
            name="product",
            source=_source("ProductObj", get_fields=(GOT,)),
            fields=[Field("_id"), *map(Field, STATE), Field(GOT)],
            target=HubTarget(),
            schedule=None,
        ),
        Pipeline(
            name="material",
            source=KingdeeSource(form="BD_MATERIAL", id="FMATERIALID", **SPANS, **PAGES),
            fields=[Field("_id"), Field("FNumber", "number"), Field("FName", "name")],
            target=HubTarget(),
            number="FNumber",
            schedule=None,
        ),
        Pipeline(
            name="archive",
            source=_source("object_warehouse__c"),
            fields=[
                Field("_id", "name"),
                Field("version", "quantity__c", convert=integer),
                Field("last_modified_time", "amount__c", convert=integer),
            ],
            key="name",
            target=FenxiangTarget(object="object_inventory_report__c", match="name", batch_rows=25),
            schedule=None,
        ),
    )
}
"""account: into the hub. warehouse: to a target that adds a row whenever it is sent one. product: query, then a `get`
for each record. material: a form of Kingdee. archive: into records of the CRM, looked up by a field of which the CRM
would take a value twice."""

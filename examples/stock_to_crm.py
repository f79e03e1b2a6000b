"""Materials and stock (物料, 即时库存) of Kingdee (金蝶云星空) → products and inventory reports of the CRM.

The way back: the ERP is read by its bill query. A product is found by its code, changed where something differs, else
created. Stock refers to products by their ids in the CRM, so these are read into the hub first, to be looked up there;
stock of a product that the CRM does not have yet waits. Kingdee keeps stock by lot (批号), so the lot is in the name:
two of its documents with one name would overwrite each other. Where yours also tells owners, keepers, states or bins
apart, put them into the name as well.

A material that is un-audited (反审核) to be changed passes the condition no more, so its product is voided until it is
audited again. Where that is not wanted, let the status D pass beside C, or say delete_policy=DeletePolicy.IGNORE.
"""

from __future__ import annotations

import pendulum

from fenxiang_sync import (
    Computed,
    Condition,
    FenxiangTarget,
    Field,
    HubTarget,
    Kind,
    KingdeeSource,
    Logic,
    Lookup,
    Pipeline,
    Source,
    decimal,
    text,
    value_map,
)
from fenxiang_sync.airflow import sync_dag

UNITS = {"Pcs": "pcs", "Box": "box", "Set": "set", "kg": "kg", "m": "m"}
START = pendulum.datetime(2026, 1, 1, tz="Asia/Shanghai")


def place(stock: str | None, material: str | None, lot: str | None) -> str | None:
    """What the CRM calls the stock of a material in a warehouse, of one lot where there are any."""
    return "/".join(each for each in (stock, material, lot) if each and each.strip()) if stock and material else None


material_to_product = Pipeline(
    name="material_to_product",
    title="金蝶物料 → 产品",
    description=__doc__,
    source=KingdeeSource(form="BD_MATERIAL", id="FMATERIALID", where="FUseOrgId.FNumber = '100'"),
    conditions=[[Condition("FDocumentStatus", Logic.EQ, "C")]],
    fields=[
        Field("FNumber", "product_code", convert=text, required=True),
        Field("FName", "name", convert=text, required=True),
        Field("FSpecification", "product_spec", convert=text),
        Field("FBaseUnitId.FNumber", "unit", convert=value_map(UNITS), required=True),
        Field("FForbidStatus", "product_status", convert=value_map({"A": "1", "B": "2"})),
    ],
    key="product_code",
    number="FNumber",
    target=FenxiangTarget(object="ProductObj", match="product_code"),
    schedule="5 * * * *",
    start=START,
    tags=["kingdee"],
)

product_ids = Pipeline(
    name="product_ids",
    title="产品编码",
    description="The products of the CRM, by whose ids stock refers to them.",
    source=Source(object="ProductObj"),
    fields=[Field("_id"), Field("product_code", convert=text)],
    number="product_code",
    target=HubTarget(),
    schedule="10 * * * *",
    start=START,
)

stock_to_crm = Pipeline(
    name="stock_to_crm",
    title="金蝶即时库存 → 库存报表",
    description=__doc__,
    source=KingdeeSource(form="STK_Inventory"),
    fields=[
        Computed(
            place, "name", reads=["FStockId.FNumber", "FMaterialId.FNumber", "FLot.FNumber"], kind=Kind.TEXT,
            required=True,
        ),
        Lookup(
            "product__c", pipeline="product_ids", where={"product_code": "FMaterialId.FNumber"}, find="_id",
            required=True,
        ),
        Field("FBaseQty", "quantity__c", convert=decimal(scale=2)),
    ],
    key="name",
    number=None,
    target=FenxiangTarget(object="object_inventory_report__c", match="name"),
    schedule="15 * * * *",
    start=START,
    tags=["kingdee"],
)  # fmt: skip

dags = [sync_dag(each) for each in (material_to_product, product_ids, stock_to_crm)]

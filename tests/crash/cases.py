"""Cases: what a run reads and where it delivers, each in a way of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from fenxiang_simulator.catalog import FieldDef, ObjectDef, object_def
from fenxiang_sync import (
    Condition,
    FenxiangTarget,
    Field,
    HubTarget,
    KingdeeSource,
    Logic,
    Pipeline,
    QeasyStore,
    Source,
    WriteApi,
    integer,
)
from fenxiang_sync.targets.protocol import Target

BATCH_ROWS = 3
OBJECT, FORM = "AccountObj", "CRASH"
FROM_CRM = Source(object=OBJECT, page_size=5, lookback=timedelta(days=1_000), settle=timedelta(0))
FROM_ERP = KingdeeSource(form=FORM, page_size=5, lookback=timedelta(days=1_000), settle=timedelta(seconds=1))
GETS = Source(
    object=OBJECT, page_size=5, lookback=timedelta(days=1_000), settle=timedelta(0), get_fields=("remark", "tel")
)
"""With the simulator's knob `only_get` at "long", queries do not give the remark."""
COPIES: ObjectDef = object_def(
    "copy__c",
    "副本",
    FieldDef(name="id", label="id", type="text", define_type="custom"),
    FieldDef(name="needed", label="needed", type="text", define_type="custom", required=True),
    FieldDef(name="number", label="number", type="number", define_type="custom"),
)
"""The records that `FenxiangTarget` makes. Nothing in the CRM keeps their `id` the only one of its kind."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One pipeline's source and target."""

    target: Target
    source: Source | KingdeeSource = FROM_CRM
    looks: bool = False
    """Whether the target is looked at for each row in doubt, and always knows."""

    @property
    def reads_erp(self) -> bool:
        return isinstance(self.source, KingdeeSource)

    @property
    def names(self) -> Mapping[str, str]:
        """What the source calls the fields."""
        return {name: f"F{name.title()}" if self.reads_erp else name for name in ("name", "remark", "tel", "email")}

    def pipeline(self) -> Pipeline:
        """Of a record's fields, one may be rejected by its converter and one refused by the target (where it is
        empty)."""
        names = self.names
        return Pipeline(
            name="account",
            source=self.source,
            fields=[
                Field("_id", "id"),
                Field(names["name"], "name"),
                Field(names["remark"], "needed"),
                Field(names["tel"], "number", convert=integer),
            ],
            conditions=[[Condition(names["name"], Logic.NEQ, "filtered")]],
            key="id",
            number=names["name"],
            target=self.target,
            schedule=None,
        )


CASES = {
    "hub": Case(target=HubTarget(batch_rows=BATCH_ROWS)),
    "write, upserts": Case(target=WriteApi(upserts=True, batch_rows=BATCH_ROWS)),
    "write, appends": Case(target=WriteApi(batch_rows=BATCH_ROWS)),
    "qeasy, upserts": Case(target=QeasyStore(scheme="demo", upserts=True, batch_rows=BATCH_ROWS, rate=None)),
    "qeasy, appends": Case(target=QeasyStore(scheme="demo", batch_rows=BATCH_ROWS, rate=None)),
    "fenxiang": Case(
        target=FenxiangTarget(object=COPIES.name, match="id", batch_rows=BATCH_ROWS, at_once=1), looks=True
    ),
    "kingdee": Case(source=FROM_ERP, target=WriteApi(upserts=True, batch_rows=BATCH_ROWS)),
    "get_fields": Case(source=GETS, target=WriteApi(upserts=True, batch_rows=BATCH_ROWS)),
}
"""The first ones read the CRM, and are named by their target; "kingdee" and "get_fields" by how they read."""

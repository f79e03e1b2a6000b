"""Drawn: how the CRM behaves, and what the pipeline declares, of each example."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from fenxiang_sync import (
    Condition,
    DeletePolicy,
    Field,
    Filter,
    IdCheck,
    Logic,
    Operator,
    Pipeline,
    Reconcile,
    Source,
)
from tests.machine.people import NAMES
from tests.machine_fixtures import BEGUN, OBJECT, Remembering

SKEWS_MS = (0, 0, 0, 90_000, -90_000, 28_800_000, -28_800_000)
GOT = "remark"
"""What queries do not give with the knob `only_get` at "long"."""


def knobs(draw: Any) -> dict[str, Any]:
    return {
        "total_mode": draw(st.sampled_from(["exact", "zero", "estimated", "capped"])),
        "voided": draw(st.sampled_from(["visible", "hidden"])),
        "id_order": draw(st.sampled_from(["same", "sort_shorter_first", "compare_shorter_first"])),
        "same_field_filters": draw(st.sampled_from(["both", "both", "first", "last"])),
        "between": draw(st.sampled_from(["inclusive", "half-open"])),
        "filter_after_limit": draw(st.sampled_from([False, False, True])),
        "void_bumps_lmt": draw(st.sampled_from([True, True, False])),
        "clock_skew_ms": draw(st.sampled_from(SKEWS_MS)),
    }


def pipeline(draw: Any, name: str, *, gets: bool) -> Pipeline:
    """`gets`: the remark is got. Then pages have one record: of several, the calls would be in no order."""
    size = 1 if gets else draw(st.sampled_from([1, 2, 2, 3, 5, 7, 100]))
    picky = draw(st.booleans())
    return Pipeline(
        name=name,
        source=Source(
            object=OBJECT,
            page_size=size,
            segment_records=max(size, draw(st.sampled_from([2, 3, 10, 20_000]))),
            settle=timedelta(seconds=draw(st.sampled_from([0, 5]))),
            lookback=timedelta(seconds=draw(st.sampled_from([90, 600]))),
            filters=draw(st.sampled_from([(), (Filter("life_status", Operator.EQ, ["normal"]),)])),
            get_fields=(GOT,) if gets else (),
        ),
        fields=[Field("_id"), Field("name"), Field("life_status"), Field("remark", required=picky)],
        target=Remembering(store=name, upserts=draw(st.booleans())),
        conditions=draw(st.sampled_from([(), [[Condition("name", Logic.NEQ, NAMES[0])]]])),
        start=draw(st.sampled_from([None, datetime.fromtimestamp(BEGUN - 86_400, UTC)])),
        id_check=draw(st.sampled_from([IdCheck.UPSERT_ON_CHANGE, IdCheck.OVERWRITE])),
        reach_back=timedelta(days=2),
        delete_policy=draw(st.sampled_from([DeletePolicy.FLAG, DeletePolicy.DELETE])),
        reconcile=Reconcile(most_vanished=draw(st.sampled_from([1, 1_000]))),
    )

"""A form of Kingdee through plan, extract, transform, load, verify and reconcile, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kingdee_fixtures import MATERIAL, STOCK, Erp, erp, material
from tests.steps_fixtures import manual


@pytest.fixture
def kingdee(tmp_path: Path) -> Iterator[Erp]:
    with erp(tmp_path, **{MATERIAL: 500, STOCK: 300}) as made:
        yield made


FULL = manual(full=True)


def test_every_document_is_read_and_certified(kingdee: Erp) -> None:
    report = kingdee.sync(material(), FULL)
    held = kingdee.held(material())
    assert (report.read, report.delivered, report.left) == (500, 500, 0)
    assert {key: content["number"] for key, content in held.items()} == {
        key: bill.number for key, bill in kingdee.truth().items()
    }
    assert report.certified == [report.window]

"""A first load of millions of records is planned in few calls, read in ranges of one size, taken up after a kill."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from fenxiang_sync.errors import FenxiangSyncError
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.stage import Stage
from fenxiang_sync.steps import Run, extract
from fenxiang_sync.steps.attaching import PAGES_A_FILE, RANGES
from tests.machine_fixtures import Deaths, Killed, MortalPath
from tests.many_fixtures import fill, id_at
from tests.steps_fixtures import Bench, bench, manual, pipeline, quiet

NAME = "AccountObj"
BEGIN = 1_700_000_000_000
THREE_YEARS = 3 * 365 * 86_400_000
MANY = 60_000


def late(number: int) -> int:
    """Stamps of three years, most of them of the last months."""
    return BEGIN + int((1 - (1 - number / MANY) ** 3) * THREE_YEARS)


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, **{NAME: 1}) as made:
        fill(made.simulator, NAME, MANY, late)
        yield made


@pytest.fixture
def account() -> Pipeline:
    return pipeline(source={"check_fields": False, "lookback": timedelta(0)})


def test_many_records_are_planned_with_a_call_for_each_50_pages(crm: Bench, account: Pipeline) -> None:
    made = crm.plan(crm.run(account), manual(full=True))
    assert made.calls <= MANY / 5_000 + 5
    assert [segment.count for segment in made.segments] == [40_000, 20_000]
    assert made.segments[0].window.since_ms == 0
    for one, other in pairwise(segment.window for segment in made.segments):
        assert one.until_ms == other.since_ms


def test_a_segment_is_read_in_ranges_of_one_size_however_its_records_lie_in_time(crm: Bench, account: Pipeline) -> None:
    run = crm.run(account)
    first = crm.plan(run, manual(full=True)).segments[0]
    extract(run, first, client=crm.client())
    folder = run.segment(1)
    read = [sum(1 for _ in folder.lines(f"records-{at:02d}-")) for at in range(RANGES)]
    assert read == [5_000] * RANGES
    assert {record["_id"] for record in folder.lines("records-")} == {id_at(number) for number in range(40_000)}


# What a killed worker reads again

PAGES = 50
"""Of each of the eight ranges of a segment."""
ANYWAY = 10
"""Calls of each range that tell how the server orders ids, and that the end is the end: six as a rule, more where the
ranges find that out at the same time."""


class Lasting(Deaths):
    """Whoever goes on after one thread was killed dies too."""

    def clear(self) -> None:
        """Nobody comes to life again."""


class Mortal:
    """A segment whose readers may be killed."""

    def __init__(self, crm: Bench, account: Pipeline, root: Path) -> None:
        self.deaths = Lasting()
        stage = Stage(root)
        path: type = type("MortalPath", (MortalPath,), {"deaths": self.deaths})
        stage.root = path(stage.root)
        self.run = Run(pipeline=account, id="full", folder=stage.run(account.name, "full"))
        self.segment = crm.plan(self.run, manual(full=True)).segments[0]
        self._crm = crm

    def extract(self) -> int:
        """Calls made."""
        client = self._crm.client()
        extract(self.run, self.segment, client=client)
        return client.calls.total()

    def read(self) -> list[str]:
        return [record["_id"] for record in self.run.segment(1).lines("records-")]


@pytest.fixture
def mortal(crm: Bench, account: Pipeline, tmp_path: Path) -> Mortal:
    return Mortal(crm, account, tmp_path / "mortal")


@pytest.mark.parametrize("files", [1, 42, 81])
def test_a_worker_that_is_killed_at_a_file_reads_only_unfinished_pages_again(mortal: Mortal, files: int) -> None:
    """40 files of ten pages, each with a death before and behind it; then the manifest, as the last."""
    mortal.deaths.files = files
    with pytest.raises(Killed):
        mortal.extract()
    complete = len(mortal.run.segment(1).names("records-"))
    assert complete < 40 or files == 81
    mortal.deaths.files = None
    calls = mortal.extract()
    assert calls <= RANGES * (PAGES + ANYWAY) - complete * PAGES_A_FILE
    assert sorted(mortal.read()) == [id_at(number) for number in range(40_000)]


# One millisecond


@pytest.mark.slow
def test_25000_records_on_one_millisecond_are_delivered_by_segments_of_20000(tmp_path: Path) -> None:
    """An import, or a mass update: more than offsets and totals reach, and no time between them to split by."""
    knobs = quiet(total_mode="capped", offset_10000_inclusive="rejected")
    with bench(tmp_path, knobs, **{NAME: 40}) as crm:
        for number in range(25_000):
            crm.simulator.tenant.create(NAME, {"name": f"客户{number}"}, modified_ms=BEGIN)
        account = pipeline(source={"check_fields": False, "segment_records": 20_000})
        run = crm.run(account)
        made = crm.plan(run, manual(full=True))
        assert len([part for segment in made.segments for part in segment.ranges if not part.whole]) == 5
        crm.deliver(run, made)
        report = crm.verify(run)
    assert (report.read, report.delivered, report.repaired) == (25_040, 25_040, 0)
    assert max(sum(1 for _ in run.segment(each.index).lines("records-")) for each in made.segments) <= 20_000
    assert len(made.segments) >= 2


# A segment that failed


def test_a_segment_that_failed_is_read_again_alone(crm: Bench, account: Pipeline) -> None:
    run = crm.run(account)
    first, second = crm.plan(run, manual(full=True)).segments[:2]
    extract(run, first, client=crm.client())
    before = set(run.segment(1).names())
    crm.simulator.faults.next("redirect", 50, path="/query")
    with pytest.raises(FenxiangSyncError):
        extract(run, second, client=crm.client())
    crm.simulator.faults.clear()
    asked = len(crm.simulator.queries)
    extract(run, second, client=crm.client())
    windows = [
        each["field_values"][0]
        for query in crm.simulator.queries[asked:]
        for each in query.filters
        if each["field_name"] == "last_modified_time" and each["operator"] == "GTE" and each["field_values"] != ["0"]
    ]
    assert windows
    assert all(int(since) >= second.window.since_ms for since in windows)
    assert set(run.segment(1).names()) == before

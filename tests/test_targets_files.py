"""A run becomes files that a reader can trust: whole, once, with a manifest when the run is verified."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath

from fenxiang_sync import (
    Constant,
    DeletePolicy,
    Field,
    FilesTarget,
    Format,
    IdCheck,
    Pipeline,
    as_is,
    boolean,
    day,
    decimal,
    instant,
    integer,
    text,
)
from fenxiang_sync.errors import DeclarationError, IncompleteError, SetupError, TransientError
from fenxiang_sync.hub import Hub
from fenxiang_sync.rows import Row
from fenxiang_sync.stage import Stage
from fenxiang_sync.steps import Run, Segment, load
from fenxiang_sync.targets.files.folder import Folder
from fenxiang_sync.targets.protocol import Delivery, Errand, Finished, Holder, Reach, Remover
from fenxiang_sync.window import Window, to_ms
from tests.files_fixtures import Death, DyingHub, DyingPath, Killed, Reader, newest
from tests.hub_fixtures import hub_file
from tests.reconcile_fixtures import reconciled
from tests.source_fixtures import FEW
from tests.steps_fixtures import Bench, bench, manual, pipeline, scheduled
from tests.targets_fixtures import row as plain_row

NAME = "AccountObj"
HOUR = timedelta(hours=1)


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, **FEW | {NAME: 0}) as made:
        yield made


@pytest.fixture(params=["disk", "object store"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"file://{tmp_path}/out" if request.param == "disk" else f"memory://{uuid4().hex}"


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def accounts(url: str, fmt: Format = Format.NDJSON, **words: Any) -> Pipeline:
    fields = [Field("_id", convert=text), Field("name", convert=text), Field("life_status", "state", convert=text)]
    own = {key: words.pop(key) for key in ("gzip", "batch_rows", "prefix") if key in words}
    return pipeline(**{"target": FilesTarget(path=url, format=fmt, **own), "fields": fields, **words})


def reader(url: str) -> Reader:
    root = UPath(url) / "account"
    return Reader(Path(root.path) if root.protocol == "file" else root)


def create(crm: Bench, *moments: datetime) -> list[str]:
    return [crm.simulator.tenant.create(NAME, {"name": f"客户 {at:%d %H:%M}"}, modified_ms=to_ms(at)) for at in moments]


def edit(crm: Bench, record_id: str, name: str) -> None:
    crm.simulator.tenant.update(NAME, record_id, {"name": name})
    crm.later()


def names(rows: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {row_id: row["name"] for row_id, row in rows.items()}


class TestARun:
    @pytest.mark.parametrize(
        ("fmt", "gzip", "suffix"),
        [(Format.NDJSON, False, ".ndjson"), (Format.NDJSON, True, ".ndjson.gz"), (Format.PARQUET, False, ".parquet")],
    )
    def test_gives_a_folder_of_whole_files_and_a_manifest_that_describes_them(
        self, crm: Bench, url: str, now: datetime, fmt: Format, gzip: bool, suffix: str
    ) -> None:
        ids = create(crm, *(now - minutes * timedelta(minutes=1) for minutes in range(10, 35)))
        report = crm.sync(accounts(url, fmt, gzip=gzip, batch_rows=10), scheduled(now - HOUR, now), run_id="run:1")
        found = reader(url)
        told = found.manifest("run:1")
        assert (report.delivered, report.asked, report.sent_again) == (25, 25, 0)
        assert {row["_id"]: row["name"] for row in found.rows("run:1")} == names(newest(found.rows("run:1")))
        assert sorted(row["_id"] for row in found.rows("run:1")) == sorted(ids)
        assert (told["pipeline"], told["run"], told["format"], told["key"]) == ("account", "run:1", fmt.value, "_id")
        assert told["rows"] == 25
        assert sorted(note["rows"] for note in told["files"]) == [5, 10, 10]
        assert told["windows"] == [window.to_json() for window in report.certified]
        assert told["numbers"]["read"] == 25
        assert [column["path"] for column in told["columns"][:3]] == ["_id", "name", "state"]
        assert all(name.endswith(suffix) for name in found.names("run:1") if name != "_manifest.json")
        assert len(found.names("run:1")) == 4, "nothing else is in the folder of the run"

    def test_writes_what_changed_since_the_last_one(self, crm: Bench, url: str, now: datetime) -> None:
        ids = create(crm, now - 3 * HOUR, now - 2 * HOUR, now - HOUR)
        account = accounts(url)
        crm.sync(account, manual(full=True), run_id="one")
        edit(crm, ids[1], "新名称")
        crm.sync(account, manual(full=True), run_id="two")
        found = reader(url)
        assert [row["_id"] for row in found.rows("two")] == [ids[1]]
        assert names(newest(found.news("one") + found.news("two")))[ids[1]] == "新名称"
        assert len(newest(found.rows("one") + found.rows("two"))) == 3

    def test_that_finds_nothing_new_says_so_in_its_manifest(self, crm: Bench, url: str, now: datetime) -> None:
        crm.sync(accounts(url, Format.PARQUET), scheduled(now - HOUR, now), run_id="one")
        assert (reader(url).manifest("one")["files"], reader(url).manifest("one")["rows"]) == ([], 0)

    def test_that_is_dry_writes_nothing(self, crm: Bench, url: str, now: datetime) -> None:
        create(crm, now - HOUR)
        report = crm.sync(accounts(url), manual(full=True, dry_run=True))
        assert report.delivered == 1
        assert not UPath(url).exists() or not list(UPath(url).iterdir())

    def test_that_repairs_itself_lists_what_it_repaired(self, crm: Bench, url: str, now: datetime) -> None:
        create(crm, now - HOUR)
        run = crm.run(accounts(url), "one")
        crm.deliver(run, crm.plan(run, manual(full=True)))
        [late] = create(crm, now - 2 * HOUR)
        report = crm.verify(run)
        assert report.repaired == 1
        assert late in {row["_id"] for row in reader(url).rows("one")}

    def test_that_is_done_again_leaves_every_row_once(self, crm: Bench, url: str, now: datetime) -> None:
        ids = create(crm, now - HOUR, now - 2 * HOUR)
        account = accounts(url)
        crm.sync(account, manual(full=True), run_id="one")
        first = reader(url).manifest("one")
        edit(crm, ids[0], "改名")
        crm.sync(account, manual(full=True), run_id="one")
        again = reader(url).manifest("one")
        assert [note for note in first["files"] if note not in again["files"]] == []
        assert Counter(row["name"] for row in reader(url).rows("one"))["改名"] == 1
        assert len(reader(url).rows("one")) == 3
        assert names(newest(reader(url).rows("one")))[ids[0]] == "改名"


class TestAReader:
    def failed(self, crm: Bench, account: Pipeline, run_id: str) -> None:
        run = crm.run(account, run_id)
        made = crm.plan(run, manual(full=True))
        crm.deliver(run, made)
        folder = run.segment(1)
        folder.save("extracted", {**folder.need("extracted", ""), "read": 99})
        with pytest.raises(IncompleteError, match="99 records were read"):
            crm.verify(run)

    def test_sees_no_manifest_of_a_run_that_failed_and_its_rows_with_the_next(
        self, crm: Bench, url: str, now: datetime
    ) -> None:
        ids = create(crm, now - 2 * HOUR, now - HOUR)
        account = accounts(url)
        self.failed(crm, account, "failed")
        found = reader(url)
        assert found.published() == []
        edit(crm, ids[0], "改名")
        crm.sync(account, manual(full=True), run_id="next")
        assert found.published() == ["next"]
        assert [note["run"] for note in found.manifest("next")["also"]] == ["failed"]
        rows = found.news("next")
        assert sorted(row["_id"] for row in rows) == sorted([*ids, ids[0]])
        assert names(newest(rows))[ids[0]] == "改名"
        crm.sync(account, manual(full=True), run_id="third")
        assert found.manifest("third")["also"] == []

    def test_sees_the_files_of_a_failed_run_in_its_own_manifest_once_it_was_mended(
        self, crm: Bench, url: str, now: datetime
    ) -> None:
        create(crm, now - 2 * HOUR, now - HOUR)
        account = accounts(url)
        self.failed(crm, account, "failed")
        crm.sync(account, manual(full=True), run_id="next")
        found = reader(url)
        assert len(found.news("next")) == 2
        crm.sync(account, manual(full=True), run_id="failed")
        assert len(found.rows("failed")) == 2
        assert found.news("failed") == [], "a reader who remembers files loads none of them again"

    def test_is_not_told_of_a_run_whose_file_is_gone(self, crm: Bench, url: str, now: datetime) -> None:
        ids = create(crm, now - HOUR, now - 2 * HOUR)
        run = crm.run(accounts(url), "one")
        made = crm.plan(run, manual(full=True))
        crm.deliver(run, made)
        found = reader(url)
        [name] = found.names("one")
        (found.root / "one" / name).unlink()
        with pytest.raises(IncompleteError, match=f"1 of 1 files of the run are not in .*{name}.*Clear the load tasks"):
            crm.verify(run)
        assert found.published() == []
        assert crm.hub.certified("account") == []
        for segment in made.segments:
            load(run, segment, hub=crm.hub, reach=crm.reach(), clock=crm.now)
        crm.verify(run)
        assert sorted(row["_id"] for row in found.rows("one")) == sorted(ids)

    def test_never_gets_a_damaged_file(self, crm: Bench, url: str, now: datetime) -> None:
        ids = create(crm, now - HOUR, now - 2 * HOUR)
        run = crm.run(accounts(url, Format.PARQUET), "one")
        made = crm.plan(run, manual(full=True))
        crm.deliver(run, made)
        found = reader(url)
        [name] = found.names("one")
        file = found.root / "one" / name
        file.write_bytes(file.read_bytes()[:-9] + b"\0" * 9)
        for segment in made.segments:
            load(run, segment, hub=crm.hub, reach=crm.reach(), clock=crm.now)
        assert crm.verify(run).sent_again == 2
        assert sorted(row["_id"] for row in found.rows("one")) == sorted(ids)
        assert len(found.names("one")) == 2


def test_two_pipelines_share_a_folder_and_not_a_file(crm: Bench, url: str, now: datetime) -> None:
    create(crm, now - HOUR)
    for name in ("account", "customer"):
        crm.sync(accounts(url, name=name), manual(full=True), run_id="one")
    assert len(reader(url).rows("one")) == len(Reader(reader(url).root.parent / "customer").rows("one")) == 1


# Deaths

SEGMENT = Segment(index=1, window=Window(0, 1), count=None)
BATCH = 3


def row(number: int, amount: Any = Decimal("1.5")) -> Row:
    return plain_row(number, amount=amount)


def unreachable(conn_id: str) -> Any:
    raise AssertionError(conn_id)


def reach_to(path: Any) -> Reach:
    return Reach(
        endpoint=unreachable,
        session=lambda: unreachable("session"),
        sleep=lambda seconds: None,
        now=lambda: 1_800_000_000.0,
        storage=lambda url, conn_id: path,
        errand=Errand(pipeline="account", run="one", part="segment-0001"),
    )


def small(fmt: Format = Format.PARQUET) -> Pipeline:
    fields = [Field("_id", convert=text), Field("amount", convert=decimal(scale=2))]
    return pipeline(target=FilesTarget(path="memory://given", format=fmt, batch_rows=BATCH), fields=fields)


def deliver(hub: Any, stage: Stage, path: Any) -> dict[str, int]:
    """What load and verify do with the target: every row is delivered, then the run is finished."""
    account = small()
    run = Run(pipeline=account, id="one", folder=stage.run("account", "one"))
    numbers = load(run, SEGMENT, hub=hub, reach=reach_to(path), clock=lambda: datetime.now(UTC))
    finished = Finished(pipeline="account", run="one", windows=[], numbers=numbers)
    account.target.finish(finished, reach_to(path))  # type: ignore[attr-defined]
    return numbers


def staged(folder: Path) -> Stage:
    stage = Stage(folder / "stage")
    segment = stage.run("account", "one") / "segment-0001"
    segment.write_lines("rows-00001", [row(0), row(1), row(2, amount=Decimal("1e40")), *map(row, range(3, 8))])
    segment.save("transformed", {"read": 8, "rows": 8, "filtered": 0, "rejected": 0})
    return stage


def test_a_death_between_any_two_steps_leaves_every_row_once(tmp_path: Path) -> None:
    counting = Death()
    for at in [None, *range(1, 100)]:
        for done in (False, True):
            if at is not None and at > counting.steps:
                return
            folder = tmp_path / f"{at}-{done}"
            folder.mkdir()
            stage, root = staged(folder), UPath(f"memory://{uuid4().hex}")
            with Hub.connect(f"sqlite:///{hub_file(folder)}") as hub:
                death = counting if at is None else Death(at, done)
                try:
                    deliver(DyingHub(hub, death), stage, DyingPath(root, death))
                except Killed:
                    deliver(hub, stage, root)
                else:
                    assert at is None
                found = Reader(root / "account")
                assert Counter(row["_id"] for row in found.rows("one")) == {
                    f"r{number:05d}": 1 for number in range(8) if number != 2
                }, (at, done)
                files = [name for name in found.names("one") if name != "_manifest.json"]
                assert files == sorted(note["path"] for note in found.manifest("one")["files"]), (at, done)
                assert [letter.row_id for letter in hub.dead_letters("account")] == ["r00002"]
            if at is None:
                assert counting.steps > 20
                break


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["send", "die", "finish"])), max_size=20))
def test_however_runs_overlap_fail_and_finish_a_reader_of_manifests_gets_every_row_once(
    steps: list[tuple[str, str]],
) -> None:
    root, target, number = UPath(f"memory://{uuid4().hex}"), fitted(small(Format.NDJSON)), 0
    found, loaded = Reader(root / "account"), Counter[str]()
    for run, what in [*steps, ("last", "finish")]:
        number += 1
        errand = Errand(pipeline="account", run=run, part="segment-0001")
        death = Death(2, done=False) if what == "die" else Death()  # between the note of a file and the file
        reach = replace(reach_to(DyingPath(root, death)), errand=errand)
        if what == "finish":
            target.finish(Finished(pipeline="account", run=run, windows=[], numbers={}), reach)
            loaded.update(each["_id"] for each in found.news(run))
            continue
        with target.open(reach) as sender, suppress(Killed):
            sender.send([row(number)])
        with target.open(replace(reach_to(root), errand=errand)) as sender:  # the retry, or the same try once more
            sender.send([row(number)])
    sent = [f"r{at:05d}" for at, (_, what) in enumerate(steps, start=1) if what != "finish"]
    assert loaded == Counter(sent)
    assert not list((root / "account" / "_feed" / "open").glob("*/*.json"))


# Kinds of columns

TYPED = [
    Field("_id", convert=text),
    Field("amount", "money.amount", convert=decimal(scale=2)),
    Field("rate", "money.rate", convert=decimal()),
    Field("count", convert=integer),
    Field("open", convert=boolean),
    Field("at", convert=instant("Asia/Shanghai")),
    Field("on", convert=day()),
    Field("tags", convert=as_is),
    Constant("origin", "纷享"),
]
FULL = {
    "_id": "a",
    "amount": "12345678901234567890.10",
    "rate": "0.1234567890123456",
    "count": 2**62,
    "open": True,
    "at": 1_767_225_600_123,
    "on": 1_767_225_600_000,
    "tags": ["甲", {"b": Decimal("0.10")}],
    "last_modified_time": 1_767_225_600_000,
}


def sent(url: str, target: FilesTarget, rows: list[Row]) -> tuple[list[Any], list[dict[str, Any]]]:
    """The answers, and what a reader finds afterwards."""
    reach = replace(reach_to(None), storage=lambda _, conn_id: UPath(url))
    with target.open(reach) as sender:
        answers = list(sender.send(rows))
    target.finish(Finished(pipeline="account", run="one", windows=[], numbers={}), reach)
    return answers, reader(url).rows("one")


def typed(fmt: Format) -> Pipeline:
    return pipeline(target=FilesTarget(path="memory://given", format=fmt), fields=TYPED, number=None)


def fitted(account: Pipeline) -> FilesTarget:
    assert isinstance(account.target, FilesTarget)
    return account.target


def test_parquet_has_a_column_of_its_own_kind_for_each_field(url: str) -> None:
    account = typed(Format.PARQUET)
    empty = {"_id": "b", "last_modified_time": 1}
    _, [full, none] = sent(url, fitted(account), [account.mapping.row(FULL), account.mapping.row(empty)])
    assert {key: value for key, value in full.items() if not key.startswith("_")} == {
        "money": {"amount": Decimal("12345678901234567890.10"), "rate": Decimal("0.123456789012345600")},
        "count": 2**62,
        "open": True,
        "at": datetime(2026, 1, 1, 0, 0, 0, 123_000, tzinfo=UTC),
        "on": date(2026, 1, 1),
        "tags": '["甲",{"b":0.10}]',
        "origin": "纷享",
    }
    assert (none["money"], none["count"], none["on"]) == ({"amount": None, "rate": None}, None, None)
    [name] = [name for name in reader(url).names("one") if name.endswith(".parquet")]
    schema = pq.read_schema(pa.BufferReader((reader(url).root / "one" / name).read_bytes()))
    assert {field.name: str(field.type) for field in schema} == {
        "_id": "string",
        "money": "struct<amount: decimal128(38, 2), rate: decimal128(38, 18)>",
        "count": "int64",
        "open": "bool",
        "at": "timestamp[us, tz=UTC]",
        "on": "date32[day]",
        "tags": "string",
        "origin": "string",
        "_modified_ms": "int64",
        "_version": "int64",
        "_deleted": "bool",
        "_hash": "string",
        "_loaded_at": "timestamp[us, tz=UTC]",
    }


def test_ndjson_holds_numbers_exactly_and_text_as_utf_8(url: str) -> None:
    account = typed(Format.NDJSON)
    _, [full] = sent(url, fitted(account), [account.mapping.row(FULL)])
    assert full["money"] == {"amount": Decimal("12345678901234567890.10"), "rate": Decimal("0.1234567890123456")}
    assert (full["count"], full["origin"], full["tags"]) == (2**62, "纷享", ["甲", {"b": Decimal("0.10")}])
    [name] = [name for name in reader(url).names("one") if name.endswith(".ndjson")]
    assert "纷享".encode() in (reader(url).root / "one" / name).read_bytes()


def test_a_row_that_fits_no_column_is_refused_alone_and_says_why(url: str) -> None:
    rows = [row(0), row(1, amount=Decimal("1e38")), row(2, amount=Decimal("0.125")), row(3)]
    answers, found = sent(url, fitted(small()), rows)
    assert [answer.delivery for answer in answers] == [
        Delivery.DELIVERED,
        Delivery.REFUSED,
        Delivery.REFUSED,
        Delivery.DELIVERED,
    ]
    assert answers[2].reason.startswith("amount does not fit decimal128(38, 2): ")
    assert "(value '0.125')" in answers[2].reason
    assert [each["_id"] for each in found] == ["r00000", "r00003"]


def test_where_no_row_fits_no_file_is_written(url: str) -> None:
    answers, found = sent(url, fitted(small()), [row(0, amount=Decimal("1e38"))])
    assert [answer.delivery for answer in answers] == [Delivery.REFUSED]
    assert found == []


# Rows that are removed


def test_a_row_whose_record_is_gone_is_told_as_deleted_and_one_that_comes_back_as_there(
    crm: Bench, url: str, now: datetime
) -> None:
    kept, gone = create(crm, now - HOUR, now - 2 * HOUR)
    account = accounts(url, Format.PARQUET)
    assert account.removes is DeletePolicy.FLAG
    crm.sync(account, manual(full=True), run_id="one")
    crm.simulator.tenant.invalid(NAME, gone)
    crm.later()
    crm.sync(account, manual(full=True), run_id="voided")
    assert reconciled(crm, account, run_id="reconcile__1").removed == 1
    found = reader(url)
    rows = found.news("one") + found.news("voided")
    assert set(newest(rows)) == {kept, gone}, "voided, and not reconciled yet"
    [told] = found.news("reconcile__1")
    assert (told["_id"], told["state"], told["_deleted"]) == (gone, "invalid", True)
    rows.append(told)
    assert set(newest(rows)) == {kept}

    crm.sync(accounts(url, Format.PARQUET, id_check=IdCheck.OVERWRITE), manual(full=True), run_id="again")
    again = found.news("again")
    assert {each["_id"]: each["_deleted"] for each in again} == {kept: False, gone: True}, "it keeps its mark"
    assert set(newest(rows + again)) == {kept}

    crm.simulator.tenant.recover(NAME, gone)
    crm.later()
    crm.sync(account, manual(full=True), run_id="three")
    assert set(newest(rows + again + found.news("three"))) == {kept, gone}


# The declaration


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"path": "/data/crm"}, "path='/data/crm': give the URL of a folder, as in file:///data/crm"),
        ({"path": "bucket"}, "path='bucket': give the URL of a folder, as in s3://bucket/crm"),
        ({"path": "s3://aws@bucket/crm"}, "name the connection by connection="),
        ({"format": "parquet"}, "format='parquet': give Format.PARQUET or Format.NDJSON"),
        ({"connection": ""}, "connection='': give the id of an Airflow connection, or None"),
        ({"gzip": True}, "Parquet is compressed by itself"),
        ({"batch_rows": 0}, "batch_rows=0: a file has 1 to 100,000 rows"),
        ({"prefix": "the "}, "prefix='the ': give letters, digits and _"),
    ],
)
def test_what_cannot_be_meant_is_told_when_it_is_declared(words: dict[str, Any], said: str) -> None:
    with pytest.raises(DeclarationError) as raised:
        FilesTarget(**{"path": "s3://bucket/crm", "format": Format.PARQUET, **words})
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("also", "said"),
    [
        (Field("version", "_version"), "pipeline 'account': FilesTarget: '_version' is a column that every file has"),
        (Field("name", "Name"), "'name' differs from another column in case only"),
        (Field("x__c", convert=decimal(scale=39)), "'x__c' has 39 decimals"),
    ],
)
def test_a_field_that_no_file_can_hold_is_told_when_the_pipeline_is_declared(also: Field, said: str) -> None:
    fields = [Field("_id"), Field("name"), also]
    with pytest.raises(DeclarationError) as raised:
        pipeline(target=FilesTarget(path="s3://b/c", format=Format.PARQUET), fields=fields)
    assert said in str(raised.value)
    if also.target == "_version":
        pipeline(target=FilesTarget(path="s3://b/c", format=Format.PARQUET, prefix="sync_"), fields=fields)


def test_what_it_opens_can_be_asked_and_can_flag() -> None:
    with fitted(small()).open(reach_to(UPath("memory://any"))) as sender:
        assert isinstance(sender, Holder)
        assert isinstance(sender, Remover)
    with pytest.raises(SetupError, match="opened without one"):
        fitted(small()).open(replace(reach_to(None), errand=None))


def test_where_pyarrow_is_missing_the_extra_is_named_and_only_parquet_needs_it() -> None:
    program = """
import sys
sys.modules["pyarrow"] = None
from pathlib import Path
from fenxiang_sync import FilesTarget, Format
from fenxiang_sync.errors import SetupError
from fenxiang_sync.targets.protocol import Errand, Reach
reach = Reach(endpoint=None, session=None, sleep=None, now=None, storage=lambda url, conn_id: Path(url),
              errand=Errand(pipeline="p", run="r", part="s"))
FilesTarget(path="s3://b/c", format=Format.NDJSON).open(reach)
try:
    FilesTarget(path="s3://b/c", format=Format.PARQUET).open(reach)
except SetupError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 'install "airflow-provider-fenxiang[parquet]" on every worker' in done.stdout


# The storage


class Broken:
    """A storage that answers every write with an error."""

    def __init__(self, error: OSError) -> None:
        self._error = error

    def __truediv__(self, name: str) -> Broken:
        return self

    def __str__(self) -> str:
        return "s3://bucket/crm"

    def write_bytes(self, content: bytes) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES)), SetupError),
        (FileNotFoundError("The specified bucket does not exist"), SetupError),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), TransientError),
        (TimeoutError("timed out"), TransientError),
    ],
)
def test_what_a_storage_says_is_told_with_the_place(error: OSError, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r"s3://bucket/crm: .*(denied|exist|space|timed out)"):
        Folder(Broken(error)).write("a", b"b")


def test_a_file_that_was_cut_off_on_disk_is_not_there(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write("a.parquet", b"whole")
    (tmp_path / ".b.parquet.part").write_bytes(b"half")
    assert folder.names() == ["a.parquet"]
    assert [file.name for file in tmp_path.glob("*.parquet")] == ["a.parquet"]

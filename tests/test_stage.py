"""The stage holds whole files or none, exact numbers, and forgets runs by age."""

from __future__ import annotations

import errno
import gzip
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from upath import UPath

from fenxiang_sync.errors import SetupError, TransientError, UnverifiedError
from fenxiang_sync.stage import Folder, Stage, folder_name


@pytest.fixture(params=["disk", "object store"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return tmp_path if request.param == "disk" else UPath(f"memory://{tmp_path.name}-{uuid4().hex}")


def test_lines_come_back_in_order_of_files_with_numbers_exact(root: Any) -> None:
    folder = Folder(root / "segment-0001")
    folder.write_lines("records-00-00002", [{"_id": "c", "amount": Decimal("0.10")}])
    folder.write_lines("records-00-00001", [{"_id": "a", "big": 2**60}, {"_id": "b", "名称": "仓库"}])
    assert list(folder.lines("records-")) == [
        {"_id": "a", "big": 2**60},
        {"_id": "b", "名称": "仓库"},
        {"_id": "c", "amount": Decimal("0.10")},
    ]
    assert folder.last_line("records-00-00001.ndjson.gz")["_id"] == "b"


def test_documents_are_replaced_and_an_absent_one_is_none(root: Any) -> None:
    folder = Folder(root)
    assert folder.load("plan") is None
    folder.save("plan", {"a": 1})
    folder.save("plan", {"a": 2})
    assert folder.load("plan") == {"a": 2}


def test_a_needed_document_that_is_gone_says_what_to_do(root: Any) -> None:
    with pytest.raises(UnverifiedError, match=r"extracted\.json is not in the stage; clear the extract task"):
        Folder(root).need("extracted", "clear the extract task")


def test_a_file_that_was_cut_off_while_it_was_written_is_not_there(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write_lines("records-00-00001", [{"_id": "a"}])
    (tmp_path / "records-00-00002.ndjson.gz.part").write_bytes(b"half")
    assert folder.names("records-") == ["records-00-00001.ndjson.gz"]
    assert [record["_id"] for record in folder.lines("records-")] == ["a"]


def test_removing_data_keeps_what_was_done(root: Any) -> None:
    folder = Folder(root)
    folder.write_lines("records-00-00001", [{"_id": "a"}])
    folder.save("extracted", {"read": 1})
    folder.remove("records-")
    assert folder.names() == ["extracted.json"]


def test_clearing_a_folder_leaves_its_neighbours(root: Any) -> None:
    Folder(root / "one").save("plan", {})
    Folder(root / "two").save("plan", {})
    Folder(root / "one").clear()
    assert Folder(root / "one").names() == []
    assert Folder(root / "two").names() == ["plan.json"]


def test_runs_are_swept_by_the_age_of_their_newest_file(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    for run in ("old", "half", "new"):
        stage.run("account", run).save("plan", {})
    (stage.run("account", "half") / "segment-0001").save("extracted", {})
    long_ago = time.time() - 10 * 86_400
    for path in (tmp_path / "account/old/plan.json", tmp_path / "account/half/plan.json"):
        os.utime(path, (long_ago, long_ago))
    assert stage.sweep("account", older_than=datetime.now(UTC) - timedelta(days=7)) == ["old"]
    assert stage.run("account", "old").names() == []
    assert stage.run("account", "half").names()
    assert stage.run("account", "new").names() == ["plan.json"]


def test_a_sweep_of_a_pipeline_that_never_ran_finds_nothing(tmp_path: Path) -> None:
    assert Stage(tmp_path).sweep("account", older_than=datetime.now(UTC)) == []


def test_different_run_ids_never_share_a_folder() -> None:
    names = {folder_name(run) for run in ("a:b", "a+b", "a_b", "../a_b", "..", ".", "/etc", "a/b")}
    assert len(names) == 8
    assert all("/" not in name and not name.startswith(".") for name in names)


def test_records_outlive_what_can_be_made_of_them_again(tmp_path: Path) -> None:
    stage, now = Stage(tmp_path), datetime.now(UTC)
    for days in (1, 9, 40):
        folder = stage.run("account", f"run-{days}") / "segment-0001"
        for name in ("records-00-00001", "rows-00001", "rejects-00001"):
            folder.write_lines(name, [{"_id": "a"}])
        folder.save("extracted", {"read": 1})
        for file in Path(str(folder)).iterdir():
            os.utime(file, (then := (now - timedelta(days=days)).timestamp(), then))
    weeks = {"older_than": now - timedelta(days=7), "records_older_than": now - timedelta(days=30)}
    assert stage.sweep("account", **weeks) == ["run-40"]
    left = {days: (stage.run("account", f"run-{days}") / "segment-0001").names() for days in (1, 9, 40)}
    assert [len(left[days]) for days in (1, 9, 40)] == [4, 2, 0]
    assert left[9] == ["extracted.json", "records-00-00001.ndjson.gz"]


def test_a_place_that_cannot_be_written_is_named_with_the_setting(tmp_path: Path) -> None:
    (tmp_path / "stage").write_text("a file where the folder should be")
    with pytest.raises(SetupError, match=r"The stage cannot be written .*stage.*AIRFLOW__FENXIANG__STAGE_URL"):
        Stage(tmp_path / "stage").probe()


def test_a_place_that_can_be_written_is_left_as_it_was(root: Any) -> None:
    Stage(root).probe()
    assert Folder(root).names() == []


class FullPath:
    """A storage that has no space left, as a path of it says."""

    def __truediv__(self, name: str) -> FullPath:
        return self

    def __str__(self) -> str:
        return "s3://bucket/stage"

    def write_bytes(self, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_stage_may_have_space_later() -> None:
    with pytest.raises(TransientError, match=r"The stage is full \(s3://bucket/stage: No space left on device\)"):
        Folder(FullPath()).save("plan", {})


@pytest.mark.parametrize(
    "spoil", [lambda content: content[:-9], lambda content: b"no gzip", lambda _: gzip.compress(b"{")]
)
def test_a_damaged_file_is_named_and_never_read_as_less(spoil: Callable[[bytes], bytes], tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write_lines("records-00-00001", [{"_id": "a"}, {"_id": "b"}])
    file = tmp_path / "records-00-00001.ndjson.gz"
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(UnverifiedError, match=r"records-00-00001\.ndjson\.gz is damaged .*clear the extract task"):
        list(folder.lines("records-"))

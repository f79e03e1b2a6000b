from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Any

import pytest

from fenxiang_sync.hub import Hub
from tests.hub_fixtures import DATABASES, hub_database


@pytest.mark.parametrize("kind", DATABASES)
def test_a_note_is_made_changed_and_read(kind: str, tmp_path: Path) -> None:
    seen: list[Any] = []

    def change(content: dict[str, Any] | None, now: float) -> dict[str, Any]:
        seen.append((content, now))
        return {"number": (content or {"number": 0})["number"] + 1, "moment": 0.25, "text": "纷享"}

    with hub_database(kind, tmp_path) as url, Hub.connect(url) as hub:
        assert hub.noted("one") is None
        hub.revise("one", change)
        hub.revise("one", change)
        assert hub.noted("one") == {"number": 2, "moment": 0.25, "text": "纷享"}
        assert hub.noted("other") is None
    assert [content and content["number"] for content, _ in seen] == [None, 1]
    assert abs(seen[1][1] - time.time()) < 60


@pytest.mark.parametrize("kind", DATABASES)
def test_a_change_that_fails_leaves_the_note_as_it_was(kind: str, tmp_path: Path) -> None:
    def fails(content: dict[str, Any] | None, now: float) -> dict[str, Any]:
        raise ValueError(f"{content} {now}")

    with hub_database(kind, tmp_path) as url, Hub.connect(url) as hub:
        hub.revise("one", lambda content, now: {"number": 1})
        with pytest.raises(ValueError, match="number"):
            hub.revise("one", fails)
        assert hub.noted("one") == {"number": 1}


def add(url: str, times: int) -> None:
    with Hub.connect(url) as hub:
        for _ in range(times):
            hub.revise("one", lambda content, now: {"number": (content or {"number": 0})["number"] + 1})


@pytest.mark.parametrize("kind", DATABASES)
def test_processes_that_change_a_note_at_once_lose_no_change(kind: str, tmp_path: Path) -> None:
    with hub_database(kind, tmp_path) as url, Hub.connect(url) as hub:
        context = multiprocessing.get_context("spawn")
        processes = [context.Process(target=add, args=(url, 25)) for _ in range(2)]
        for process in processes:
            process.start()
        add(url, 25)
        for process in processes:
            process.join(120)
        assert hub.noted("one") == {"number": 75}

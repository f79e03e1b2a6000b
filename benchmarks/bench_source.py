"""Records a second that the source reads, beside bare requests to the same server in the same run.

Run: ``PYTHONPATH=plugins:simulator python benchmarks/bench_source.py`` (a minute or two); prints one table. The quota
is switched off on both sides, so that the work of the client shows. Bare requests: one session, one token, the same
pages by the same keyset, JSON by the standard library, nothing checked. Ratios say what the client costs; rates
depend on the machine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import requests

from fenxiang_simulator import Knobs, Simulator
from fenxiang_sync.source import Credentials, FenxiangClient, MemoryTokenStore, Pace, Paces, SearchQuery, Tokens, pages
from fenxiang_sync.source.query import Filter, Operator
from fenxiang_sync.window import Window

RECORDS = 20_000
FIELDS = ("name", "account_level", "tel", "address", "owner", "life_status", "version", "remark")
NAME = "AccountObj"
SINCE, UNTIL = 1_767_000_000_000, 1_794_000_000_000
WHO = Credentials(
    app_id="FSAID_demo001",
    app_secret="demo-secret",
    permanent_code="demo-perm",
    acting_user="FSUID_demo0000000000000000000000001",
)


STORE = MemoryTokenStore()


def tokens_of(url: str) -> Tokens:
    return Tokens(session=requests.Session(), base_url=url, credentials=WHO, store=STORE)


def client_of(url: str) -> FenxiangClient:
    session, tokens = requests.Session(), tokens_of(url)
    paces = Paces(lambda: Pace(10_000_000, 1))
    return FenxiangClient(session=session, base_url=url, tokens=tokens, credentials=WHO, pace=paces)


def ours(url: str, windows: list[Window]) -> int:
    client = client_of(url)

    def read(window: Window) -> int:
        return sum(len(p.records) for p in pages(client, object_name=NAME, window=window, projection=FIELDS))

    with ThreadPoolExecutor(len(windows)) as pool:
        return sum(pool.map(read, windows))


def bare(url: str, windows: list[Window]) -> int:
    session = requests.Session()
    token = tokens_of(url).token()
    credentials = {
        "corpAccessToken": token.value,
        "corpId": token.tenant,
        "currentOpenUserId": WHO.acting_user,
    }

    def read(window: Window) -> int:
        after, number = "", 0
        while True:
            search = SearchQuery(
                object_name=NAME,
                projection=("_id", "last_modified_time", *FIELDS),
                filters=(
                    Filter("last_modified_time", Operator.GTE, window.since_ms),
                    Filter("last_modified_time", Operator.LT, window.until_ms),
                    Filter("_id", Operator.GT, after or "0"),
                ),
                orders=(("_id", True),),
            )
            answer = session.post(url + search.path, data=json.dumps({**credentials, **search.body()}), timeout=60)
            records: list[dict[str, Any]] = json.loads(answer.content)["data"]["dataList"]
            if not records:
                return number
            number += len(records)
            after = records[-1]["_id"]

    with ThreadPoolExecutor(len(windows)) as pool:
        return sum(pool.map(read, windows))


def timed(read: Callable[[str, list[Window]], int], url: str, windows: list[Window]) -> float:
    begun = time.perf_counter()
    number = read(url, windows)
    if number != RECORDS:
        raise SystemExit(f"{read.__name__} read {number} of {RECORDS} records")
    return number / (time.perf_counter() - begun)


def main() -> None:
    print(f"{RECORDS:,} records, pages of 100; records a second, best of 3\n")
    print("| latency | threads | bare requests | fenxiang_sync.source | ratio |\n|---|---|---|---|---|")
    with Simulator(records={NAME: RECORDS}, knobs=Knobs(calls=10_000_000, day_quota=10_000_000)) as server:
        for latency_ms, threads in ((0, 1), (0, 4), (50, 4), (50, 8)):
            server.knobs.latency_ms = latency_ms
            edges = [SINCE + (UNTIL - SINCE) * part // threads for part in range(threads + 1)]
            windows = [Window(since, until) for since, until in pairwise(edges)]
            runs = [(timed(bare, server.url, windows), timed(ours, server.url, windows)) for _ in range(3)]
            slow, fast = (max(speeds) for speeds in zip(*runs, strict=True))
            print(f"| {latency_ms} ms | {threads} | {slow:,.0f} | {fast:,.0f} | {fast / slow:.2f} |", flush=True)


if __name__ == "__main__":
    main()

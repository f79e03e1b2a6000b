"""Rows a second into an object of the CRM through FenxiangTarget, beside bare creates one after the other.

Run: ``python -m benchmarks crm [ROWS]``. A call takes 50 ms at the simulator, whose quota is off: rows are created,
found with equal values, and changed. Bare requests: one session, one create after the other, with no look-up and no
pace. Rates depend on the machine, so the ratio counts; with the quota of 100 calls in 20 s five creates a second are
the most, whatever the latency.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import requests

from fenxiang_simulator import Knobs, Simulator
from fenxiang_sync.rows import Row
from fenxiang_sync.targets.protocol import Delivery
from tests.crm_fixtures import DATA, PRODUCTS, Office, product, products
from tests.simulator_fixtures import Api

ROWS = 100
LATENCY_MS = 50
BATCH = 100


def main(rows: int) -> None:
    print(f"{rows} rows, {LATENCY_MS} ms a call, quota off; rows a second, and as a ratio of bare creates\n")
    plain = _bare(rows)
    print(f"{'bare creates, one at a time':34}{plain:8.1f}{1:8.2f}")
    for at_once in (1, 4):
        made = [product(f"A-{number}") for number in range(rows)]
        changed = [product(f"A-{number}", name="neu") for number in range(rows)]
        with _simulator() as simulator:
            for name, batch in (("created", made), ("equal", made), ("changed", changed)):
                rate = _rate(Office(simulator), batch, at_once)
                print(f"{f'{name}, {at_once} at once':34}{rate:8.1f}{rate / plain:8.2f}")


def _simulator() -> Simulator:
    knobs = Knobs(latency_ms=LATENCY_MS, calls=1_000_000, day_quota=10_000_000)
    return Simulator(seed=7, knobs=knobs, records={PRODUCTS: 0})


def _rate(office: Office, rows: Sequence[Row], at_once: int) -> float:
    with products(at_once=at_once).open(office.reach) as sender:
        began = time.perf_counter()
        for start in range(0, len(rows), BATCH):
            answers = sender.send(rows[start : start + BATCH])
            if any(answer.delivery is not Delivery.DELIVERED for answer in answers):
                raise SystemExit(f"rows were not delivered: {answers}")
        return len(rows) / (time.perf_counter() - began)


def _bare(rows: int) -> float:
    with _simulator() as simulator:
        api = Api(simulator)
        body = {"corpAccessToken": api.token, "corpId": "FSCID_demo", "currentOpenUserId": api.user}
        began = time.perf_counter()
        with requests.Session() as session:
            for number in range(rows):
                values = {"dataObjectApiName": PRODUCTS, "product_code": f"A-{number}", "name": f"产品A-{number}"}
                answer = session.post(f"{simulator.url}{DATA}/create", json={**body, "data": {"object_data": values}})
                if answer.json()["errorCode"] != 0:
                    raise SystemExit(f"a bare create was refused: {answer.text}")
        return rows / (time.perf_counter() - began)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)

"""FenxiangTarget in any order of rows, lost answers and tries: one record of each value, with the newest content.

The machine keeps what a ledger would keep of each row: what is wanted, and what is in doubt since when.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from fenxiang_simulator.faults import LATE_S
from fenxiang_sync.columns import Column, Kind
from fenxiang_sync.errors import TransientError
from fenxiang_sync.rows import Row
from fenxiang_sync.steps.inquiry import SETTLED_AFTER
from fenxiang_sync.targets.fenxiang.sender import FenxiangSender
from fenxiang_sync.targets.protocol import Delivery
from tests.crm_fixtures import PRODUCTS, office, product, products

FEW = 30
EXAMPLES = int(os.environ.get("FENXIANG_MACHINE_EXAMPLES", "0"))
CODES = ("A", "B", "C", "D")
COLUMNS = (Column(path="barcode", kind=Kind.TEXT), Column(path="name", kind=Kind.TEXT))
"""`barcode` is not unique in the CRM, so that nothing but the target prevents a second record."""
OF_CREATES = ("reset", "late", "http_502", "busy", "timeout_code", "throttled", "truncated_json")
OF_UPDATES = ("reset", "http_502", "busy", "timeout_code", "truncated_json")
OF_QUERIES = ("empty_page", "lost_row", "repeated_page", "other_page", "busy", "reset")
SPOILED = (
    *(("/create", fault) for fault in OF_CREATES),
    *(("/update", fault) for fault in OF_UPDATES),
    *(("/query", fault) for fault in OF_QUERIES),
)


@dataclass
class Ledger:
    """What is kept of one row: the newest content, whether it is still to be sent, and what may have arrived."""

    wanted: int = 0
    dirty: bool = False
    doubt: tuple[int, float] | None = None


@dataclass
class World:
    ledger: dict[str, Ledger] = field(default_factory=lambda: {code: Ledger() for code in CODES})
    count: int = 0


class Orders(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.world = World()

    @initialize(lag=st.sampled_from([0, 3000]), at_once=st.sampled_from([1, 4]), voided=st.booleans())
    def open(self, lag: int, at_once: int, voided: bool) -> None:
        self.crm = self.stack.enter_context(office(visibility_lag_ms=lag, voided="visible" if voided else "hidden"))
        self.crm.passing = False
        self.target = products(COLUMNS, match="barcode", at_once=at_once)
        self.begin()

    def begin(self) -> None:
        """Another task: nothing is known that is not in the ledger. A lag is over by then."""
        self.wait(5)
        self.sender: Any = self.stack.enter_context(self.target.open(self.crm.reach))
        assert isinstance(self.sender, FenxiangSender)

    @rule()
    def another_task(self) -> None:
        self.begin()

    @rule(seconds=st.sampled_from([1, 60, 1000]))
    def time_passes(self, seconds: int) -> None:
        self.wait(seconds)

    def wait(self, seconds: float) -> None:
        """Time passes; the simulator carries late writes out with the first call after they are due."""
        soon = min(seconds, LATE_S)
        self.crm.simulator.clock.advance(soon)
        self.crm.writer().describe(PRODUCTS)
        self.crm.simulator.clock.advance(seconds - soon)

    @rule(
        codes=st.sets(st.sampled_from(CODES), min_size=1),
        news=st.booleans(),
        spoiled=st.lists(st.tuples(st.sampled_from(SPOILED), st.integers(0, 2)), max_size=2),
    )
    def deliver(self, codes: set[str], news: bool, spoiled: list[tuple[tuple[str, str], int]]) -> None:
        for (path, fault), skip in spoiled:
            self.crm.simulator.faults.next(fault, path=path, skip=skip)
        for code in sorted(codes):
            kept = self.world.ledger[code]
            if news or not kept.wanted:
                self.world.count += 1
                kept.wanted, kept.dirty = self.world.count, True
        self.send(sorted(codes))
        self.crm.simulator.faults.clear()

    def send(self, codes: list[str]) -> None:
        for code in codes:
            self.inquire(code)
        sending = [code for code in codes if self.world.ledger[code].dirty and not self.world.ledger[code].doubt]
        if not sending:
            return
        try:
            answers = self.sender.send([self.row(code, self.world.ledger[code].wanted) for code in sending])
        except TransientError:
            return
        for code, answer in zip(sending, answers, strict=True):
            kept = self.world.ledger[code]
            if answer.delivery is Delivery.DELIVERED:
                kept.dirty = False
            elif answer.delivery is Delivery.UNKNOWN:
                kept.doubt = (kept.wanted, self.crm.simulator.clock.now())
            else:
                assert answer.delivery in (Delivery.AGAIN, Delivery.REFUSED), answer
                assert answer.delivery is Delivery.AGAIN or answer.code == 50009, answer

    def inquire(self, code: str) -> None:
        kept = self.world.ledger[code]
        if not kept.doubt:
            return
        sent, at = kept.doubt
        try:
            (found,) = self.sender.find([self.row(code, sent)], since=at)
        except TransientError:
            return
        if found:
            kept.dirty = kept.wanted != sent
            kept.doubt = None
        elif found is False and self.crm.simulator.clock.now() - at >= SETTLED_AFTER.total_seconds():
            kept.doubt = None

    @staticmethod
    def row(code: str, number: int) -> Row:
        return product(code, barcode=code, name=f"name {number}")

    def teardown(self) -> None:
        try:
            if hasattr(self, "crm"):
                self.settle()
        finally:
            self.stack.close()

    def settle(self) -> None:
        """When the faults are over, each row that was wanted is one record with its newest content."""
        self.crm.simulator.faults.clear()
        for _ in range(2):
            self.wait(1000)
            self.begin()
            self.send(list(CODES))
        records = self.crm.simulator.tenant.records(PRODUCTS).values()
        held = sorted((each["barcode"], each["name"]) for each in records)
        wanted = [(code, f"name {kept.wanted}") for code, kept in self.world.ledger.items() if kept.wanted]
        assert held == wanted


def test_each_value_becomes_one_record_with_its_newest_content() -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Orders,
        settings=settings(
            max_examples=EXAMPLES or FEW,
            stateful_step_count=10,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )

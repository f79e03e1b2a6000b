"""Records: the records of one object that a batch is about, and how several of them are worked on at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from fenxiang_sync.targets.crm import Crm, Record
from fenxiang_sync.targets.fenxiang.known import ID, Held, Lookup, Recent
from fenxiang_sync.targets.protocol import Answer, Delivery, Reach
from fenxiang_sync.targets.sending import LOOKS

if TYPE_CHECKING:
    from fenxiang_sync.targets.fenxiang.target import FenxiangTarget


class Valued(Protocol):
    """One thing of a batch: its place there, and the match value of its record."""

    @property
    def place(self) -> int: ...

    @property
    def value(self) -> str: ...


V = TypeVar("V", bound=Valued)


class Records:
    """The records of a target's object, by match value. `recent` is what this process wrote last."""

    def __init__(self, target: FenxiangTarget, crm: Crm, reach: Reach) -> None:
        self.recent = Recent(reach.now)
        self._sleep = reach.sleep
        self._target = target
        self._lookup = Lookup(crm, target.object, target.match, target.fields)

    def live(self, values: Sequence[str]) -> dict[str, Held]:
        """What queries show of the values now, voided records left out."""
        return self._lookup.ask(values, voided=False)

    def fresh(self, value: str, *, voided: bool = False) -> Held:
        """What queries show of a value now, whatever was written; `voided` records where they are recovered, or asked
        for."""
        self.recent.forget(value)
        return self._lookup.ask([value], voided=voided or self._target.recovers)[value]

    def each(
        self,
        batch: Iterable[V],
        act: Callable[[V, Held], Answer | None],
        answers: list[Answer | None],
        *,
        expected: AbstractSet[str] = frozenset(),
    ) -> None:
        """Look up what the CRM holds, and act: on those of one value in their order, on several values at once. What is
        `expected` is looked up a few times: another process may have written it just now, and queries show that late.

        Raises what ended one of them; then no other is begun.
        """
        by_value: dict[str, list[V]] = {}
        for parcel in batch:
            by_value.setdefault(parcel.value, []).append(parcel)
        known = self._known(list(by_value), expected)
        stop = threading.Event()

        def run(value: str) -> None:
            for parcel in by_value[value]:
                if stop.is_set():
                    return
                try:
                    answers[parcel.place] = act(parcel, self.recent.over(value, known[value]))
                except BaseException:
                    stop.set()
                    raise

        with ThreadPoolExecutor(max_workers=self._target.at_once, thread_name_prefix="fenxiang") as pool:
            running = [pool.submit(run, value) for value in by_value]
        for error in filter(None, (each.exception() for each in running)):
            raise error

    def _known(self, values: Sequence[str], expected: AbstractSet[str]) -> dict[str, Held]:
        known = self._lookup.ask(values, voided=self._target.recovers)
        for pause in LOOKS[1:]:
            missing = [each for each in values if each in expected and not self.recent.over(each, known[each]).ids]
            if not missing:
                break
            self._sleep(pause)
            known |= self._lookup.ask(missing, voided=self._target.recovers)
        return known

    def several(self, records: Sequence[Record], value: str) -> Answer | None:
        """The refusal of a value that more than one record has."""
        if len(records) < 2:
            return None
        ids = ", ".join(sorted(str(record[ID]) for record in records))
        return refused(f"{self.named(value)}: {len(records)} records in the CRM have it ({ids}); leave one of them")

    def named(self, value: str) -> str:
        """A match value for people."""
        return f"{self._target.object}, {self._target.match} {value!r}"


def taken(record_id: Any) -> Answer:
    """The row is in this record, which the answer tells; None where a create did not say which it is."""
    return Answer(delivery=Delivery.DELIVERED, told={} if record_id is None else {ID: str(record_id)})


def refused(reason: str, code: int | str | None = None) -> Answer:
    """The answer of a row that will not be taken."""
    return Answer(delivery=Delivery.REFUSED, reason=reason, code=code)

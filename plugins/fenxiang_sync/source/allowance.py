"""Allowance: which calls of an interface still count, in one small document of a tenant that all processes share.

A server counts a call at some moment between its sending and its answer. So a call counts here from before it is sent
until one window of the quota after its answer: whatever the network does in between, no window of the server's can
hold more than the limit. Moments are epoch seconds on the clock of whoever keeps the document.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Self

GRAIN = 256
"""Moments are kept to this part of a window, rounded up: the document stays small whatever the quota is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """`limit` calls in any `seconds`: the part of the vendor's quota that may be used here."""

    limit: int
    seconds: float

    @classmethod
    def part(cls, calls: int, per_seconds: float, share: float) -> Self:
        """A share of less than one call in a window is one call in a longer one."""
        whole = math.floor(calls * share + 1e-9)
        return cls(limit=whole, seconds=per_seconds) if whole else cls(limit=1, seconds=per_seconds / (calls * share))


@dataclass(slots=True, kw_only=True)
class Allowance:
    """`counting`: until when how many calls count. `lent`: by holder, calls that it may have under way, and until when
    they count if it says no more of them. `paused`: nobody calls before that."""

    counting: dict[float, int] = field(default_factory=dict)
    lent: dict[str, tuple[float, int]] = field(default_factory=dict)
    paused: float = 0.0

    @classmethod
    def unknown(cls, quota: Quota, now: float) -> Self:
        """Where nothing was noted: as if all calls had just been made, evenly, up to now."""
        made = cls()
        for number in range(1, quota.limit + 1):
            made.count(now + quota.seconds * number / quota.limit, quota)
        return made

    @classmethod
    def of(cls, document: dict[str, Any], now: float) -> Self:
        """The allowance of a document, without what counts no more."""
        return cls(
            counting={until: calls for until, calls in document["counting"] if until > now},
            lent={who: (until, calls) for who, (until, calls) in document["lent"].items() if until > now},
            paused=document["paused"],
        )

    def document(self) -> dict[str, Any]:
        return {"counting": sorted(self.counting.items()), "lent": self.lent, "paused": self.paused}

    def count(self, until: float, quota: Quota) -> None:
        """One call more, that counts until then."""
        grain = quota.seconds / GRAIN
        rounded = round(math.ceil(until / grain) * grain, 3)
        self.counting[rounded] = self.counting.get(rounded, 0) + 1

    def lend(self, holder: str, until: float, calls: int) -> None:
        """All that a holder may have under way from now on, and until when that counts if it says no more of it."""
        self.lent.pop(holder, None)
        if calls:
            self.lent[holder] = until, calls

    def turns(self, quota: Quota, now: float, most: int, within: float) -> tuple[list[float], float]:
        """When up to `most` calls more may be made, none later than `within` seconds from now; and when the first may.

        They are as good as made: say so (`lend`).
        """
        ends = sorted([*self.counting.items(), *self.lent.values()])
        totals = list(accumulate(calls for _, calls in ends))
        over = (totals[-1] if totals else 0) - quota.limit
        found: list[float] = []
        at, place = now, 0
        for number in range(1, most + 1):
            if over + number > 0:
                while totals[place] < over + number:
                    place += 1
                at = max(at, ends[place][0])
            at = max(at, self.paused)
            if at > now + within:
                break
            found.append(at)
        return found, at


@dataclass(slots=True, kw_only=True)
class Tally:
    """The calls of one tenant: the allowance of each interface by its path."""

    interfaces: dict[str, Any] = field(default_factory=dict)
    _opened: dict[str, Allowance] = field(default_factory=dict)

    @classmethod
    def of(cls, document: dict[str, Any] | None) -> Self:
        return cls(interfaces=(document or {"interfaces": {}})["interfaces"])

    def document(self) -> dict[str, Any]:
        opened = {path: each.document() for path, each in self._opened.items()}
        return {"interfaces": {**self.interfaces, **opened}}

    def allowance(self, path: str, quota: Quota, now: float) -> Allowance:
        """The allowance of an interface; what is done to it is in `document`."""
        held = self.interfaces.get(path)
        made = Allowance.unknown(quota, now) if held is None else Allowance.of(held, now)
        return self._opened.setdefault(path, made)

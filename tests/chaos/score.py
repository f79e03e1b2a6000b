"""Score: what is at the targets, compared with what the CRM and the ERP truly hold, and how the rules were kept."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from fenxiang_simulator import Simulator
from fenxiang_simulator.bills import Bill
from fenxiang_simulator.server import Request
from fenxiang_sync.hub import Hub, Status
from fenxiang_sync.rows import is_voided
from tests.chaos.erp import FORM
from tests.chaos.pipelines import GOT, PIPELINES

Row = dict[str, Any]
Told = tuple[Any, ...]
SPAN_S = 20.0


class Arrivals:
    """An app of the server that answers nothing and keeps the most calls of one interface in any 20 s."""

    def __init__(self) -> None:
        self.most: Counter[str] = Counter()
        self._recent: dict[str, deque[float]] = defaultdict(deque)

    def handle(self, request: Request) -> None:
        if not request.path.startswith("/cgi/"):
            return
        recent = self._recent[request.path]
        recent.append(request.received)
        while recent[0] <= request.received - SPAN_S:
            recent.popleft()
        self.most[request.path] = max(self.most[request.path], len(recent))


@dataclass(frozen=True, kw_only=True)
class Score:
    """One pipeline's rows against what it reads. `missing`, `extra`, `stale`, `duplicated` must be 0.

    `removed`: rows whose record is voided or deleted, and that are flagged as such. `deleted`: rows of deleted records
    at a target that can remove none. `in_doubt`: records whose row was on its way to a target that cannot be asked when
    its worker died; they are left to people, and count as nothing else.
    """

    pipeline: str
    records: int
    missing: int
    extra: int
    stale: int
    duplicated: int
    removed: int
    deleted: int
    in_doubt: int

    @property
    def good(self) -> bool:
        return not (self.missing or self.extra or self.stale or self.duplicated)


class Deletions:
    """The ids that the CRM has deleted, of which it keeps no trace."""

    def __init__(self, simulator: Simulator) -> None:
        self.ids: set[str] = set()
        simulator.tenant.listeners.append(self._note)

    def _note(self, name: str, record_id: str, event: str, stamp: int) -> None:
        if event == "delete":
            self.ids.add(record_id)


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What one pipeline had to bring, and what is at its target: what was mapped of each record, by the row's id."""

    wanted: Mapping[str, Told]
    ordinary: AbstractSet[str]
    """The ids of those that are neither voided nor deleted."""
    rows: Sequence[tuple[str, Told]]
    """In the order of arrival: what comes last counts."""
    copies: int
    """How many rows are there a second time."""
    flagged: AbstractSet[str] = frozenset()
    asked: bool = True
    """Whether the target can be asked for a row in doubt, so that none may be left."""

    def score(self, hub: Hub, pipeline: str, deleted: AbstractSet[str]) -> Score:
        """`deleted` are the ids of which the target may hold rows for ever."""
        doubtful = {one.id for one in hub.records(pipeline) if one.status is Status.IN_DOUBT}
        left_out = frozenset() if self.asked else doubtful
        newest = dict(self.rows)
        gone = newest.keys() - self.wanted.keys()
        held = self.wanted.keys() & newest.keys() - left_out
        return Score(
            pipeline=pipeline,
            records=len(self.wanted),
            missing=len(self.wanted.keys() - newest.keys() - left_out) + len(self.ordinary & self.flagged),
            extra=len(gone - deleted - self.flagged),
            stale=sum(newest[key] != self.wanted[key] for key in held),
            duplicated=self.copies,
            removed=len(self.flagged),
            deleted=len(gone & deleted),
            in_doubt=len(doubtful),
        )


def scores(simulator: Simulator, hub: Hub, deleted: AbstractSet[str], pipelines: Sequence[str]) -> list[Score]:
    compared: dict[str, Callable[[], Compared]] = {
        "account": lambda: _in_hub(hub, "account", _found(simulator, "account"), _state),
        "warehouse": lambda: _written(simulator),
        "product": lambda: _in_hub(hub, "product", _found(simulator, "product"), _product),
        "material": lambda: _in_hub(hub, "material", _documents(simulator), _document),
        "archive": lambda: _in_crm(simulator),
    }
    stays = {"warehouse": deleted}
    return [compared[name]().score(hub, name, stays.get(name, frozenset())) for name in pipelines]


def _in_hub(hub: Hub, pipeline: str, there: Mapping[str, Row], told: Callable[[Row], Told]) -> Compared:
    held = [one for one in hub.records(pipeline) if one.content is not None]
    return Compared(
        wanted={key: told(record) for key, record in there.items()},
        ordinary={key for key, record in there.items() if not _voided(record)},
        rows=[(one.id, told(one.content)) for one in held if one.content is not None],
        copies=0,  # a row is one by its key
        flagged={one.id for one in held if one.removed_at is not None},
    )


def _written(simulator: Simulator) -> Compared:
    """What was sent to /write, which adds a row for each version."""
    there = _found(simulator, "warehouse")
    rows = [(row["id"], _state(row)) for row in simulator.targets.write.rows]
    return Compared(
        wanted={key: _state(record) for key, record in there.items()},
        ordinary=there.keys(),
        rows=rows,
        copies=len(rows) - len(set(rows)),
        asked=False,
    )


def _in_crm(simulator: Simulator) -> Compared:
    """The records that were made of others. One of a voided or deleted record is voided as well; whatever its state,
    there is one of each."""
    there = {key: record for key, record in _found(simulator, "archive").items() if not _voided(record)}
    made = simulator.tenant.records(PIPELINES["archive"].target.object)
    live = [record for record in made.values() if not _voided(record)]
    return Compared(
        wanted={key: (int(record["version"]), record["last_modified_time"]) for key, record in there.items()},
        ordinary=there.keys(),
        rows=[(each["name"], (int(each["quantity__c"]), int(each["amount__c"]))) for each in live],
        copies=len(made) - len({each["name"] for each in made.values()}),
        flagged={each["name"] for each in made.values() if _voided(each)},
    )


def _found(simulator: Simulator, pipeline: str) -> dict[str, Row]:
    return simulator.tenant.visible(PIPELINES[pipeline].source.object)


def _documents(simulator: Simulator) -> dict[str, Row]:
    return {str(each.id): {"number": each.number, "name": each.content["FName"]} for each in _bills(simulator)}


def _bills(simulator: Simulator) -> list[Bill]:
    return simulator.targets.kingdee.bills(FORM)


def _voided(record: Row) -> bool:
    return is_voided(record.get("life_status"), record.get("is_deleted"))


def _state(record: Row) -> Told:
    """What was mapped of a record, or is in a row."""
    numbers = (int(record[name]) for name in ("version", "last_modified_time"))
    return (record.get("name"), record.get("life_status"), *numbers)


def _product(record: Row) -> Told:
    return (*_state(record), record.get(GOT))


def _document(record: Row) -> Told:
    return record["number"], record["name"]


def violations(simulator: Simulator, arrivals: Arrivals, calls: int) -> dict[str, int]:
    """How often a rule of the CRM was broken, by what it saw."""
    tokens, limits = simulator.tokens.report(), simulator.limits.report()
    return {
        f"over {calls} calls in {SPAN_S:.0f} s": sum(most > calls for most in arrivals.most.values()),
        "refused for their rate": sum(limits["burst_refusals"].values()),
        "token calls at once": tokens["concurrent"],
        "token calls over 10 a minute": tokens["over_limit"],
        "both credential styles in one call": simulator.crm.mixed_styles,
    }

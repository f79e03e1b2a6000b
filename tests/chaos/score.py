"""Score: what is at the targets, compared with what the CRM truly holds, and how its rules were kept."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from dataclasses import dataclass
from typing import Any

from fenxiang_simulator import Simulator
from fenxiang_simulator.server import Request
from fenxiang_sync.hub import Hub, Status
from fenxiang_sync.rows import is_voided
from tests.chaos.worker import PIPELINES

Row = dict[str, Any]
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
    """One pipeline's rows against the CRM's records. `missing`, `extra`, `stale`, `duplicated` must be 0.

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


def scores(simulator: Simulator, hub: Hub, deleted: set[str]) -> list[Score]:
    held = [one for one in hub.records("account") if one.content is not None]
    hub_rows = [{**one.content, "id": one.id} for one in held if one.content is not None]
    flagged = {one.id for one in held if one.removed_at is not None}
    return [
        _score(simulator, hub, "account", hub_rows, flagged, set()),
        _score(simulator, hub, "warehouse", list(simulator.targets.write.rows), set(), deleted),
    ]


def _score(
    simulator: Simulator, hub: Hub, pipeline: str, rows: list[Row], flagged: set[str], deleted: set[str]
) -> Score:
    name = PIPELINES[pipeline].source.object
    there = simulator.tenant.visible(name)
    wanted = {key: _told(record) for key, record in there.items()}
    ordinary = {key for key, record in there.items() if not is_voided(record["life_status"], record["is_deleted"])}
    in_doubt = {one.id for one in hub.records(pipeline) if one.status is Status.IN_DOUBT}
    newest = {row["id"]: _told(row) for row in rows}  # in order of arrival: what comes last counts
    gone = newest.keys() - wanted.keys()
    return Score(
        pipeline=pipeline,
        records=len(wanted),
        missing=len(wanted.keys() - newest.keys() - in_doubt) + len(ordinary & flagged),
        extra=len(gone - deleted - flagged),
        stale=sum(newest[key] != told for key, told in wanted.items() if key in newest and key not in in_doubt),
        duplicated=len(rows) - len({(row["id"], _told(row)) for row in rows}),
        removed=len(flagged),
        deleted=len(gone & deleted),
        in_doubt=len(in_doubt),
    )


def _told(record: Row) -> tuple[Any, ...]:
    """What was mapped of a record, or is in a row."""
    numbers = (int(record[name]) for name in ("version", "last_modified_time"))
    return (record.get("name"), record.get("life_status"), *numbers)


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

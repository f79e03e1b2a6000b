"""How the simulated targets behave: settings for what no document says for sure, and faults to order."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any


class Fault(StrEnum):
    """What goes wrong with one call. `..._after_commit`: the rows are stored all the same."""

    DROP_BEFORE = "drop_before"
    DROP_AFTER_COMMIT = "drop_after_commit"
    HANG_BEFORE = "hang_before"
    HANG_AFTER_COMMIT = "hang_after_commit"
    ERROR_BEFORE = "error_before"
    ERROR_AFTER_COMMIT = "error_after_commit"
    UNAVAILABLE = "unavailable"
    """503 from the gateway; nothing is stored."""
    BAD_GATEWAY_AFTER_COMMIT = "bad_gateway_after_commit"
    HTML = "html"
    """A page with HTTP 200; nothing is stored."""
    HTML_AFTER_COMMIT = "html_after_commit"
    TRUNCATED_AFTER_COMMIT = "truncated_after_commit"
    THROTTLED = "throttled"
    """HTTP 429 with Retry-After."""
    THROTTLED_BARE = "throttled_bare"
    """HTTP 429 without Retry-After."""
    TOKEN_REFUSED = "token_refused"
    """The token is called invalid (Qeasy), the session lost (Kingdee), or HTTP 401 (/write)."""

    @property
    def commits(self) -> bool:
        return self.value.endswith("after_commit")


class IdRule(StrEnum):
    """What a receiving Qeasy scheme does with an id that it holds already."""

    OVERWRITE = "overwrite"
    """``idCheck: false`` with a correct `id`."""
    REPEAT = "repeat"
    """``idCheck: true``: the row is dropped."""
    APPEND = "append"
    """The scheme has no usable `id`: every row is a new one."""


@dataclass(slots=True)
class TargetKnobs:
    """Defaults are what the documents say, or our choice where they are silent. Change any of them at run time."""

    qeasy_error_page: int = 1
    """Which of the three documented code tables is in force: 1, 2, 3."""
    qeasy_id_rule: IdRule = IdRule.OVERWRITE
    qeasy_id_field: str = "_id"
    qeasy_required: dict[str, list[str]] = field(default_factory=dict)
    """Scheme id -> fields (dotted) that a row must have, neither null nor empty."""
    qeasy_partial: bool = False
    """A bad row: False = the whole batch is refused; True = the others are stored and it is counted as failed."""
    qeasy_counts_repeats: bool = False
    """Whether `inserted` counts a row that idCheck dropped."""
    qeasy_max_rows: int = 0
    """More rows than this in one call are a parameter error; 0 = no limit."""
    qeasy_token_seconds: int = 7200
    qeasy_calls: int = 60
    qeasy_per_seconds: float = 60.0
    qeasy_cool_down: float = 300.0
    qeasy_throttle_in_body: bool = False
    """True: HTTP 200 with the code of the table; False: HTTP 429 with Retry-After."""
    qeasy_query_bare_list: bool = False
    """True: `content` of a query is the array itself."""
    qeasy_query_lag_s: float = 0.0
    """How long a stored row stays invisible to query."""
    qeasy_unknown_schemes: list[str] = field(default_factory=list)
    qeasy_forbidden_schemes: list[str] = field(default_factory=list)
    write_appends: bool = False
    """/write: False = upsert by id, True = every call adds a row."""
    write_required: list[str] = field(default_factory=list)
    """/write: further fields (dotted) without which a record is refused."""
    kingdee_required: dict[str, list[str]] = field(default_factory=dict)
    """Form id -> fields (dotted) that a document must have, neither null nor empty."""
    kingdee_unique: bool = True
    kingdee_enables: bool = True
    """Whether forbidden documents may be allowed again (反禁用)."""
    """Whether a second document of a number is refused."""
    kingdee_session_seconds: int = 1200
    kingdee_max_rows: int = 0
    """More rows than this in one call are refused as a whole; 0 = no limit."""
    kingdee_calls: int = 0
    """So many calls in `kingdee_per_seconds`, then HTTP 429; 0 = no limit."""
    kingdee_per_seconds: float = 60.0
    kingdee_most_rows: int = 10_000
    """How many rows a query gives at most, whatever its Limit."""
    kingdee_fields: dict[str, list[str]] = field(default_factory=dict)
    """Form id -> the field keys that it has (dotted); a query for another is refused. A form without takes any."""
    kingdee_text_ids: list[str] = field(default_factory=lambda: ["STK_Inventory"])
    """Forms whose documents have texts for ids."""
    kingdee_stamp_fractions: bool = False
    """Whether stamps (FModifyDate) have milliseconds; else whole seconds."""
    kingdee_status_stamps: bool = True
    """Whether Submit, Audit and Forbid change FModifyDate."""
    hang_s: float = 30.0
    """How long a hanging call takes to answer."""
    retry_after: str = "7"
    """The Retry-After header of a 429 (seconds or an HTTP date)."""
    rates: dict[Fault, float] = field(default_factory=dict)
    """Fault -> share of the calls that get it."""

    def set(self, changes: Mapping[str, Any]) -> None:
        """Change some; raises `ValueError` for a name that is none, or a value of another type, and changes nothing."""
        known = {each.name: type(getattr(self, each.name)) for each in fields(self)}
        for name, value in changes.items():
            if name not in known:
                raise ValueError(f"there is no knob {name!r}; the knobs are: {', '.join(sorted(known))}")
            if not isinstance(value, known[name]) and not (known[name] is float and isinstance(value, int)):
                raise ValueError(f"knob {name} cannot be {value!r}; its values are of type {known[name].__name__}")
        for name, value in changes.items():
            setattr(self, name, value)


class Faults:
    """Faults by order (`inject`) and by chance (`TargetKnobs.rates`, the same for every run of one seed)."""

    def __init__(self, knobs: TargetKnobs, *, seed: int) -> None:
        self._knobs = knobs
        self._random = random.Random(seed)
        self._ordered: deque[tuple[Fault | None, str]] = deque()
        self._lock = threading.Lock()

    def inject(self, *faults: Fault | None, on: str = "", times: int = 1) -> None:
        """The next calls of the interface `on` fail so, in this order; None lets one call pass.

        Interfaces are "oauth", "store", "query", "write", and of Kingdee "login", "BatchSave", "ExecuteBillQuery",
        "Submit", "Audit", "Delete", "ExcuteOperation"; "" = any.
        """
        with self._lock:
            self._ordered.extend((fault, on) for _ in range(times) for fault in faults)

    def draw(self, interface: str) -> Fault | None:
        """The fault of this call, or None."""
        with self._lock:
            for entry in self._ordered:
                if entry[1] in ("", interface):
                    self._ordered.remove(entry)
                    return entry[0]
            for fault, rate in self._knobs.rates.items():
                if self._random.random() < rate:
                    return Fault(fault)
        return None

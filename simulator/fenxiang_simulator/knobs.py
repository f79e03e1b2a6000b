"""Knobs: what is unknown, disputed or adjustable about Fenxiang, each with the values it can take.

The first value of each is the default: what we believe to be the likeliest, or the documented one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

Setting = str | int | bool

_YES_NO = {"yes": True, "true": True, "on": True, "1": True, "no": False, "false": False, "off": False, "0": False}


def _one_of(*values: Setting) -> Any:
    return field(default=values[0], metadata={"choices": values, "closed": True})


def _number(default: int, *others: int) -> Any:
    """Any whole number from 0; `others` are values worth trying."""
    return field(default=default, metadata={"choices": (default, *others), "closed": False, "least": 0})


@dataclass(kw_only=True)
class Knobs:
    """Every knob; setting one to a value that it cannot take is a ValueError that names the allowed ones.

    >>> Knobs(limit_mode="reject").limit_mode
    'reject'
    >>> Knobs(limit_mode="shout")
    Traceback (most recent call last):
    ValueError: knob limit_mode cannot be 'shout'; it is one of: clamp, honour, reject
    """

    # Query: paging and totals
    limit_mode: str = _one_of("clamp", "honour", "reject")
    """What a `limit` over 100 does: it becomes 100, is honoured, or is an error."""
    offset_multiple: str = _one_of("enforce", "ignore")
    """Whether `offset` must be a multiple of `limit`."""
    offset_10000_inclusive: str = _one_of("allowed", "rejected")
    """Whether the offset 10,000 itself is still allowed."""
    total_switch_winner: str = _one_of("find_explicit_total_num", "returnTotalNum", "need_return_count_num")
    """Which of the three documented switches decides about `total`; the others are not read."""
    total_mode: str = _one_of("exact", "capped", "estimated", "zero")
    """What `total` is worth: the truth, at most 10,000, roughly the truth, or always 0."""
    filter_after_limit: bool = _one_of(False, True)
    """Filters, but for those on `_id` and `last_modified_time`, apply after the limit: short pages in mid-range."""
    id_order: str = _one_of("same", "sort_shorter_first", "compare_shorter_first")
    """How 24- and 32-hex ids compare: one collation for all, or sorting (or GT/LT) puts every shorter id first."""

    # Query: filters
    unknown_operator: str = _one_of("error", "ignore")
    unknown_filter_field: str = _one_of("error", "ignore")
    missing_filters_ok: bool = _one_of(True, False)
    """Whether a query without `filters` is answered."""
    between: str = _one_of("inclusive", "half-open")
    """Whether BETWEEN includes its upper end."""
    same_field_filters: str = _one_of("both", "first", "last", "error")
    """Which of several filters on one field are honoured, or that they are refused."""
    wrong_path_kind: str = _one_of("accept", "error")
    """A preset object on the custom path, or the reverse."""

    # Records
    voided: str = _one_of("visible", "hidden", "visible_if_filtered")
    """Whether queries return voided rows: always, never, or only where a filter names life_status."""
    voided_is_deleted: bool = _one_of(False, True)
    """Whether a voided row says `is_deleted: true`."""
    companions_with_projection: str = _one_of("omitted", "included", "never")
    """Companions (`owner__r`) under a projection: those it names, those of all fields it names, or none at all."""
    only_get: str = _one_of("marked", "none", "long", "computed")
    """Which fields queries leave out and only `get` gives: those that the catalogue marks (`only_get`); none; those and
    all long texts and files; those and all that are worked out."""
    token_style_ids: str = _one_of("by_auth_style", "always_fsuid")
    """User ids in data: FSUID in the body style and employee ids in the header style, or FSUID always."""
    missing_record: str = _one_of("error", "empty")
    """What `get` answers for an id that is not there."""
    permission_change: str = _one_of("none", "appear", "vanish")
    """One record in ten appears or vanishes for everybody, without a new stamp, once the third page was answered."""
    unstamped_change: str = _one_of("none", "formula", "quote", "labels")
    """Which computed values change without a new stamp: formulas and roll-ups, quotes, or `__r` labels."""

    # Writes
    unknown_write_field: str = _one_of("error", "ignore")
    """What a write with a field does that the object does not have."""
    unknown_option: str = _one_of("error", "accept")
    """What a write does with a value that is none of the options of a field."""
    not_unique_code: int = _one_of(50009, 201112099)
    """The answer to a value that another record has in a field that is unique (唯一性)."""
    unique_among: str = _one_of("all", "live")
    """Whether voided records keep their unique values."""
    created_id: str = _one_of("dataId", "data.dataId", "data._id", "none")
    """Where the answer to the create of a custom object has the new id."""

    # Stamps and time
    void_bumps_lmt: bool = _one_of(True, False)
    recover_bumps_lmt: bool = _one_of(True, False)
    change_owner_bumps_lmt: bool = _one_of(True, False)
    formula_recalc_bumps_lmt: bool = _one_of(False, True)
    """Whether an order gets a new stamp when the sum of its lines changes."""
    backdated_stamp: bool = _one_of(False, True)
    """Every second record that live editing creates has an old stamp, as imports have; so may creates with times."""
    future_stamp: bool = _one_of(False, True)
    """Every second record that live editing creates is stamped up to an hour ahead, as by a wrong clock."""
    visibility_lag_ms: int = _number(50, 0, 3000)
    """How long after its stamp a write is seen by queries."""
    clock_skew_ms: int = field(
        default=0, metadata={"choices": (0, 90_000, -90_000), "closed": False, "least": -10_000_000_000}
    )
    """How far the server's clock is ahead of ours (negative: behind)."""
    date_header: str = _one_of("sent", "missing", "garbled")
    """Whether answers tell the time in the header `Date`."""
    date_skew_ms: int = field(
        default=0, metadata={"choices": (0, 28_800_000, -28_800_000), "closed": False, "least": -10_000_000_000}
    )
    """How far the header `Date` is ahead of the clock that stamps, as that of a gateway may be (negative: behind)."""
    schema_drift: bool = _one_of(False, True)
    """A field `drift__c` appears on every object: old rows do not have it, rows written from then on do."""

    # Calls
    calls: int = _number(100, 20)
    """Calls of one path in a window of `per_seconds`."""
    per_seconds: int = field(default=20, metadata={"choices": (20, 5), "closed": False, "least": 1})
    burst_code: int = _one_of(30004, 14001)
    burst_scope: str = _one_of("path_and_app", "path_and_enterprise", "enterprise")
    """What shares one burst counter."""
    burst_window: str = _one_of("sliding", "fixed")
    day_quota: int = _number(100_000, 1_000_000)
    """Calls a day."""
    quota_reset_tz: str = _one_of("Asia/Shanghai", "UTC")
    quota_pack: bool = _one_of(True, False)
    """Whether a quota pack was bought; without one every business call is 30003."""
    token_over_limit_code: int = _one_of(14001, 30004, -1)
    """The answer to the eleventh token call of a minute."""
    token_concurrent: str = _one_of("report", "reject")
    """Two token calls at once: only a line in the report, or answered with `token_over_limit_code`."""
    missing_third_trace_id: str = _one_of("accept", "reject")
    missing_acting_user: str = _one_of("error", "accept")
    latency_ms: int = _number(0, 50)
    """How long every business answer takes."""
    token_latency_ms: int = _number(20, 0)
    """How long a token answer takes; what makes two of them concurrent."""

    # Event push
    push_delivery: str = _one_of("in_order", "duplicate", "reorder", "drop")
    """How changes are pushed: each in turn, every third one twice, in swapped pairs, or every third one not at all."""

    # Live editing
    edits_per_request: int = _number(0, 1, 5)
    """Edits of the queried object after each answered query."""
    edits_per_second: int = _number(0, 5)
    """Edits a second over all business objects, by the real clock."""

    def __setattr__(self, name: str, value: Setting) -> None:
        object.__setattr__(self, name, checked(name, value))

    def set(self, settings: Mapping[str, Setting]) -> None:
        """Change several at once: all, or none where one of them is wrong."""
        good = {name: checked(name, value) for name, value in settings.items()}
        for name, value in good.items():
            object.__setattr__(self, name, value)

    def as_dict(self) -> dict[str, Setting]:
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @classmethod
    def choices(cls) -> dict[str, tuple[Setting, ...]]:
        """For each knob its values, the default first; for one that takes any number, numbers worth trying."""
        return {each.name: each.metadata["choices"] for each in fields(cls)}

    @classmethod
    def is_closed(cls, name: str) -> bool:
        """Whether the knob takes only the values of `choices`; the others take any whole number."""
        return bool(_specification(name).metadata["closed"])

    @classmethod
    def parse(cls, name: str, text: str) -> Setting:
        """The value that `text` (of a command line) means for the knob.

        >>> Knobs.parse("void_bumps_lmt", "no"), Knobs.parse("burst_code", "14001"), Knobs.parse("voided", "hidden")
        (False, 14001, 'hidden')
        """
        default = _specification(name).default
        reader: Callable[[str], Setting] = str
        if isinstance(default, bool):
            reader = _yes_no
        elif isinstance(default, int):
            reader = int
        try:
            return checked(name, reader(text))
        except (ValueError, KeyError):
            return checked(name, text)


def checked(name: str, value: Setting) -> Setting:
    """`value` if the knob can take it; otherwise a ValueError with the allowed values."""
    metadata = _specification(name).metadata
    choices = metadata["choices"]
    if metadata["closed"]:
        if any(value == choice and type(value) is type(choice) for choice in choices):
            return value
        raise ValueError(f"knob {name} cannot be {value!r}; it is one of: {', '.join(map(spoken, choices))}")
    if isinstance(value, int) and not isinstance(value, bool) and value >= metadata["least"]:
        return value
    raise ValueError(f"knob {name} cannot be {value!r}; it is a whole number from {metadata['least']} up")


def spoken(value: Setting) -> str:
    """A value as one types it on the command line."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _yes_no(text: str) -> bool:
    return _YES_NO[text.lower()]


def _specification(name: str) -> Any:
    known = Knobs.__dataclass_fields__
    if name not in known:
        raise ValueError(f"there is no knob {name!r}; the knobs are: {', '.join(sorted(known))}")
    return known[name]

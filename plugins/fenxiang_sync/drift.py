"""Drift (字段变更): how the description of an object differs from the one that is known.

What is known of an object is one small document; a look compares the present description with it. A difference is
noted with when it was first seen, and stays open until somebody accepts it or the CRM takes it back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

import msgspec

from fenxiang_sync.source.description import FieldDescription, ObjectDescription
from fenxiang_sync.window import from_ms

CLOSED = 200
"""How many changes that are open no more are remembered of an object, the newest."""


ACCEPTED = "accepted"


class Drift(StrEnum):
    """What a run does about changes of its object's description."""

    IGNORE = "ignore"
    """Nobody looks."""
    WARN = "warn"
    """They are told: in the log, on the pipeline's page, by an asset event."""
    STOP = "stop"
    """They are told, and a run that a change of a field it reads would hurt fails before it reads anything."""


class What(StrEnum):
    """What became of a field."""

    NEW = "is new"
    REMOVED = "is removed"
    RETYPED = "has another type"
    OFF = "is switched off"
    ON = "is switched on again"
    OPTION_NEW = "has a new option"
    OPTION_REMOVED = "has lost an option"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference. `was` and `now` are types or an option, `label` what people call the field or the option;
    `ended` says how it ended, "" while it is open. Moments are epoch milliseconds."""

    field: str
    what: What
    was: str = ""
    now: str = ""
    label: str = ""
    seen_ms: int = 0
    ended: str = ""
    ended_ms: int | None = None

    @property
    def open(self) -> bool:
        return self.ended_ms is None

    @property
    def seen(self) -> datetime:
        """When it was first seen."""
        return from_ms(self.seen_ms)

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.field, self.what, self.was, self.now

    def __str__(self) -> str:
        label = f" ({self.label})" if self.label else ""
        if self.what is What.RETYPED:
            return f"{self.field!r}{label} {self.what}: {self.now}, was {self.was}"
        if self.what in (What.OPTION_NEW, What.OPTION_REMOVED):
            return f"{self.field!r} {self.what}: {self.now or self.was!r}{label}"
        kind = f": {self.now or self.was}" if self.what in (What.NEW, What.REMOVED) else ""
        return f"{self.field!r}{label} {self.what}{kind}"

    def to_json(self) -> dict[str, Any]:
        """As programs read it: moments as ISO 8601 text, what is empty left out."""
        said = {"field": self.field, "what": self.what.value, "was": self.was, "now": self.now, "label": self.label}
        moments = {"first_seen": _iso(self.seen_ms), "ended": self.ended, "ended_at": _iso(self.ended_ms)}
        return {name: value for name, value in {**said, **moments}.items() if value}


Shape = dict[str, list[Any]]
"""By field: [type, whether it is switched on, its option values]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of one object's description: nothing, before it was described for the first time. `known_ms` is
    when it was taken as known, `looked_ms` when it was last compared, `refused_ms` when the CRM last did not describe
    it, each 0 for never; `told` up to when each pipeline has been told of changes."""

    shape: Shape | None = None
    known_ms: int = 0
    looked_ms: int = 0
    refused_ms: int = 0
    changes: list[Change] = field(default_factory=list)
    told: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, note: Mapping[str, Any] | None) -> Self:
        return msgspec.convert(note or {}, cls)

    @property
    def open(self) -> list[Change]:
        """The differences between what is known and what was there at the last look."""
        return [each for each in self.changes if each.open]

    def untold(self, pipeline: str) -> list[Change]:
        """Those that a pipeline has not been told of, accepted ones too: a run that they stopped did not tell them."""
        since = self.told.get(pipeline, self.looked_ms)
        return [each for each in self.changes if each.seen_ms > since and each.ended in ("", ACCEPTED)]

    def looked(self, described: ObjectDescription, at_ms: int) -> Self:
        """After a look at the present description; what the first one sees is known."""
        if self.shape is None:
            return replace(self, shape=shape_of(described), known_ms=at_ms, looked_ms=at_ms)
        now = {each.key: each for each in differences(self.shape, described)}
        before = {each.key for each in self.open}
        kept = [
            _ended(each, "taken back", at_ms) if each.open and each.key not in now else each for each in self.changes
        ]
        new = [replace(each, seen_ms=at_ms) for key, each in now.items() if key not in before]
        return replace(self, looked_ms=at_ms, changes=_bounded([*kept, *new]))

    def accepted(self, described: ObjectDescription, at_ms: int) -> Self:
        """With the present description as the known one."""
        seen = self.looked(described, at_ms)
        ended = [_ended(each, ACCEPTED, at_ms) if each.open else each for each in seen.changes]
        return replace(seen, shape=shape_of(described), known_ms=at_ms, changes=_bounded(ended))

    def refused(self, at_ms: int) -> Self:
        """After a look that the CRM refused."""
        return replace(self, refused_ms=at_ms)

    def telling(self, pipeline: str, upto_ms: int) -> Self:
        """After a pipeline was told of what was seen up to that moment."""
        return replace(self, told={**self.told, pipeline: upto_ms})

    def note(self) -> dict[str, Any]:
        """As the hub keeps it."""
        return dict(msgspec.to_builtins(self))


def note_name(connection: str, object_name: str) -> str:
    """The name of the note about an object."""
    return f"description {connection} {object_name}"


def shape_of(described: ObjectDescription) -> Shape:
    """What of a description is remembered."""
    return {name: [_type(each), each.active, list(each.options)] for name, each in described.fields.items()}


def differences(known: Shape, described: ObjectDescription) -> Iterator[Change]:
    """How a description differs from what is known, field by field."""
    for name, each in described.fields.items():
        label = each.label if each.label != name else ""
        if name not in known:
            yield Change(field=name, what=What.NEW, now=_type(each), label=label)
            continue
        was, active, options = known[name]
        if was != _type(each):
            yield Change(field=name, what=What.RETYPED, was=was, now=_type(each), label=label)
        if active != each.active:
            yield Change(field=name, what=What.ON if each.active else What.OFF, label=label)
        for option in _beside(each.options, options):
            said = each.options[option]
            yield Change(field=name, what=What.OPTION_NEW, now=option, label=said if said != option else "")
        for option in _beside(options, each.options):
            yield Change(field=name, what=What.OPTION_REMOVED, was=option)
    for name in _beside(known, described.fields):
        yield Change(field=name, what=What.REMOVED, was=known[name][0])


def _type(described: FieldDescription) -> str:
    """The type of a field with what of it decides whether a value fits.

    >>> _type(FieldDescription(name="a", label="a", type="currency", options={}, decimals=2))
    'currency, 2 decimals'
    """
    more = []
    if described.decimals is not None:
        more.append(f"{described.decimals} decimals")
    if not described.single:
        more.append("several")
    if described.refers_to:
        more.append(f"to {described.refers_to}")
    return ", ".join([described.type, *more])


def _beside(these: Iterable[str], those: Iterable[str]) -> list[str]:
    known = set(those)
    return [each for each in these if each not in known]


def _ended(change: Change, how: str, at_ms: int) -> Change:
    return replace(change, ended=how, ended_ms=at_ms)


def _bounded(changes: Sequence[Change]) -> list[Change]:
    """All that are open, and the newest of the others."""
    closed = sorted((each for each in changes if not each.open), key=lambda each: each.ended_ms or 0)
    return [*closed[-CLOSED:], *(each for each in changes if each.open)]


def _iso(at_ms: int | None) -> str:
    return "" if at_ms is None else from_ms(at_ms).isoformat(timespec="seconds")

"""WriteBack (回写): what of each record goes back to the CRM: what the target told of it, where it stands, why it was
refused."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import KW_ONLY, dataclass
from typing import Any

from fenxiang_sync.checks import connection_problems, names_its_words
from fenxiang_sync.convert import as_is, converter, written
from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.field import Field, value_problems
from fenxiang_sync.formats import Unmatched, cut, value_map
from fenxiang_sync.rows import Outcome

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_COMPANION = re.compile(r".*__(r|l|o|v|p|e|relation_ids)", re.ASCII)
_NOT_OURS = frozenset((
    "_id", "version", "is_deleted", "create_time", "last_modified_time", "created_by", "last_modified_by", "owner",
    "life_status", "life_status_before_invalid", "lock_status", "object_describe_api_name", "total_num",
    "searchAfterId",
))  # fmt: skip
"""What the CRM keeps itself, or changes by a call of its own."""
_STANDINGS = (Outcome.DELIVERED, Outcome.DEAD_LETTER, Outcome.IN_DOUBT)
TOLD, OUTCOME, ERROR = "told", "outcome", "error"
"""Where a reply has what is written back, when it is mapped as a record."""


@dataclass(frozen=True)
class Told:
    """What the target told of the row by this name, when it took it: `Told("Number")` is the number that Kingdee gave
    it. What was not told is not written."""

    name: str
    _: KW_ONLY
    convert: Callable[[Any], Any] = as_is

    def field(self, to: str) -> Field:
        return Field(f"{TOLD}.{self.name}", to, convert=self.convert)

    def problems(self) -> Iterator[str]:
        """What cannot be meant as written, each as a sentence."""
        name: Any = self.name
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            yield f"Told({self.name!r}): give the name by which the target tells it, as in Told('Number')"
        try:
            if getattr(converter(self.convert), "companion", ""):
                yield f"Told({self.name!r}): {written(self.convert)} reads another field of a record; here is none"
        except DeclarationError as error:
            yield f"Told({self.name!r}): {error}"

    def __str__(self) -> str:
        return f"{self.name} that the target told"


@dataclass(frozen=True)
class Standing:
    """Where the record stands, each outcome in the words of the CRM (of an option field: its values). An outcome
    without a word gives null; in doubt without one, nothing is written until more is known."""

    labels: Mapping[Outcome, Any]

    def __post_init__(self) -> None:
        if isinstance(self.labels, Mapping):
            object.__setattr__(self, "labels", dict(self.labels))

    def field(self, to: str) -> Field:
        table = {outcome.value: label for outcome, label in self.labels.items()}
        return Field(OUTCOME, to, convert=value_map(table, unmatched=Unmatched.NULL))

    def problems(self) -> Iterator[str]:
        """What cannot be meant as written, each as a sentence."""
        labels: Any = self.labels
        if not isinstance(labels, Mapping) or not labels:
            yield (
                f"Standing({self.labels!r}): give the CRM's word for each outcome, as in "
                "Standing({Outcome.DELIVERED: 'synced', Outcome.DEAD_LETTER: 'failed'})"
            )
            return
        for outcome, label in labels.items():
            if not isinstance(outcome, Outcome) or outcome not in _STANDINGS:
                known = ", ".join(f"Outcome.{each.name}" for each in _STANDINGS)
                yield f"Standing: {outcome!r} is not where a record ends up; give {known}"
            yield from (f"Standing: {problem}" for problem in value_problems(label, "label"))

    def __str__(self) -> str:
        return "where it stands: " + ", ".join(f"{each.value} {label!r}" for each, label in self.labels.items())


@dataclass(frozen=True)
class Refusal:
    """Why the record was refused, by the mapping or by the target, cut to so many characters; null when it was not, or
    is not any more."""

    characters: int = 200

    def field(self, to: str) -> Field:
        return Field(ERROR, to, convert=cut(self.characters - 1))

    def problems(self) -> Iterator[str]:
        """What cannot be meant as written, each as a sentence."""
        if type(self.characters) is not int or not 10 <= self.characters <= 2_000:
            yield f"Refusal({self.characters!r}): give how many characters the field takes, 10 to 2,000"

    def __str__(self) -> str:
        return f"why it was refused ({self.characters} characters)"


Word = Told | Standing | Refusal


@names_its_words
@dataclass(frozen=True, kw_only=True)
class WriteBack:
    """Write back into each record what became of it: `fields` of the CRM's object, each with what it gets.

    Only these fields are sent, and only when one of them has changed: when the target tells something, refuses the
    record, or takes it after all. Fields of a record whose row was removed stay as they are. `connection` is the
    source's own by default. The flags say whether such a change starts workflows and approvals of the CRM.
    """

    fields: Mapping[str, Word]
    connection: str | None = None
    trigger_workflow: bool = False
    trigger_approval: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.fields, Mapping):
            object.__setattr__(self, "fields", dict(self.fields))

    @property
    def told(self) -> tuple[str, ...]:
        """The names of what the target must tell."""
        return tuple(word.name for word in self.fields.values() if isinstance(word, Told))

    @property
    def doubts(self) -> bool:
        """Whether the CRM has a word for a row in doubt."""
        return any(Outcome.IN_DOUBT in word.labels for word in self.fields.values() if isinstance(word, Standing))

    def problems(self) -> Iterator[str]:
        """What cannot be meant as written, each as a sentence."""
        fields: Any = self.fields
        if not isinstance(fields, Mapping) or not fields:
            yield (
                f"fields={self.fields!r}: give the fields of the CRM with what each gets, as in "
                "{'erp_number__c': Told('Number')}"
            )
            return
        for name, word in fields.items():
            yield from _field_problems(name)
            if isinstance(word, Told | Standing | Refusal):
                yield from (f"fields[{name!r}]: {problem}" for problem in word.problems())
            else:
                yield f"fields[{name!r}]={word!r}: give Told('Number'), Standing({{…}}) or Refusal()"
        if self.connection is not None:
            yield from connection_problems(self.connection)
        for flag in ("trigger_workflow", "trigger_approval"):
            if not isinstance(getattr(self, flag), bool):
                yield f"{flag}={getattr(self, flag)!r}: give True or False"

    def clashes(self, reads: Collection[str], tells: AbstractSet[str]) -> Iterator[str]:
        """What does not go with a pipeline that reads these fields, and whose target tells this."""
        for name in self.fields:
            if name in reads:
                yield (
                    f"{name!r} is read by this pipeline itself, so that each write-back would change what is sent, and "
                    "be written back again; write into a field that nothing of it reads (fields, conditions, filters, "
                    "number)"
                )
        for name in dict.fromkeys(self.told):
            if name not in tells:
                near = difflib.get_close_matches(name, sorted(tells), n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"it tells {', '.join(sorted(tells)) or 'nothing'}"
                if not tells:
                    hint += " of its rows; a REST target says with tells= of its results what it does"
                yield f"the target does not tell {name!r}; {hint}"

    def __str__(self) -> str:
        return "; ".join(f"`{name}` ← {word}" for name, word in self.fields.items())


def _field_problems(name: Any) -> Iterator[str]:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        yield f"fields: {name!r} is no API name of a field; labels are no names"
    elif name in _NOT_OURS:
        yield f"fields: {name!r} is kept by the CRM itself; write into a field of your own, as 'erp_number__c'"
    elif _COMPANION.fullmatch(name):
        yield f"fields: {name!r} is what the CRM shows beside a field; name the field itself"

"""Report: what became of each part of a scheme. Nothing is dropped without a line here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from fenxiang_sync.dagfile import one_line

SECRET = re.compile(r"secret|passw|token|credential|api_?key|user_?id|密", re.IGNORECASE)
"""Names of what looks like a secret or a person: its value is neither told nor written."""
_SHOWN = 80


class Fate(StrEnum):
    """What became of a part."""

    TAKEN = "taken over"
    CHANGED = "changed"
    NONE = "no counterpart"
    UNKNOWN = "unknown"


_HEADS = {
    Fate.TAKEN: "Taken over",
    Fate.CHANGED: "Changed, and why",
    Fate.NONE: "Without counterpart, and what to do",
    Fate.UNKNOWN: "Unknown, and left out",
}


class Finding(NamedTuple):
    """One part, by its place in the metadata, and a sentence about it."""

    fate: Fate
    key: str
    said: str


@dataclass(slots=True)
class Report:
    """Findings in the order of the scheme. Values are told only where they cannot be secret."""

    findings: list[Finding] = field(default_factory=list)
    _said: set[Finding] = field(default_factory=set, init=False, repr=False)

    def taken(self, key: str, said: str) -> None:
        """It is in the file."""
        self._add(Fate.TAKEN, key, said)

    def changed(self, key: str, said: str) -> None:
        """It is in the file, with another meaning."""
        self._add(Fate.CHANGED, key, said)

    def none(self, key: str, said: str) -> None:
        """It is not in the file; the sentence says what to do."""
        self._add(Fate.NONE, key, said)

    def unknown(self, key: str, said: str = "no key that is known of Qeasy's metadata") -> None:
        """Nobody knows what it means."""
        self._add(Fate.UNKNOWN, key, said)

    def of(self, fate: Fate) -> list[Finding]:
        """The findings of one fate."""
        return [each for each in self.findings if each.fate is fate]

    @property
    def left(self) -> list[str]:
        """The keys that are not in the file."""
        return list(dict.fromkeys(each.key for each in self.findings if each.fate in (Fate.NONE, Fate.UNKNOWN)))

    def lines(self) -> Iterator[str]:
        """For people."""
        for fate, head in _HEADS.items():
            found = self.of(fate)
            if found:
                yield f"{head} ({len(found)})"
                yield from (f"  {key}: {said}" for _, key, said in found)

    def document(self) -> list[dict[str, str]]:
        """For programs."""
        return [{"fate": fate.value, "key": key, "said": said} for fate, key, said in self.findings]

    def _add(self, fate: Fate, key: str, said: str) -> None:
        finding = Finding(fate, shown(key), one_line(said))
        if finding not in self._said:
            self._said.add(finding)
            self.findings.append(finding)


def shown(said: str) -> str:
    """Text from outside, short and in one line.

    >>> shown("a\\nb" + "c" * 100)[-4:]
    'ccc…'
    """
    line = one_line(said)
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"

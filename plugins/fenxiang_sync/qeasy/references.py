"""References in a value: ``{{a.b|pipe}}``, a field or one of Qeasy's variables.

Single braces are taken like double ones, since published schemes have both.
"""

from __future__ import annotations

import re
from typing import NamedTuple

REFERENCE = re.compile(r"\{\{\s*([\w.$-]+)\s*(?:\|\s*(\w+)\s*)?\}\}|\{([\w.$-]+)(?:\|(\w+))?\}")
TIME = re.compile(r"(LAST_SYNC_TIME|CURRENT_TIME|DAYS_AGO_(\d{1,3})|MINUTE_AGO_(\d{1,6}))", re.ASCII)
_OTHERS = ("PAGINATION_START_ROW", "PAGINATION_START_PAGE", "PAGINATION_PAGE_SIZE", "MAX_DATA_ID")


class Reference(NamedTuple):
    """A name in braces, and the pipe behind it."""

    name: str
    pipe: str = ""

    @classmethod
    def of(cls, match: re.Match[str]) -> Reference:
        """Of what `REFERENCE` has found."""
        return cls(match[1] or match[3], match[2] or match[4] or "")

    @property
    def is_variable(self) -> bool:
        """Whether it is one of Qeasy's own, and no field."""
        return TIME.fullmatch(self.name) is not None or self.name in _OTHERS


def pieces(said: str) -> list[str | Reference]:
    """A text as its plain parts and references.

    >>> pieces("{{a.b|date}}-{LAST_SYNC_TIME}000")
    [Reference(name='a.b', pipe='date'), '-', Reference(name='LAST_SYNC_TIME', pipe=''), '000']
    """
    found: list[str | Reference] = []
    end = 0
    for match in REFERENCE.finditer(said):
        if match.start() > end:
            found.append(said[end : match.start()])
        found.append(Reference.of(match))
        end = match.end()
    return [*found, said[end:]] if end < len(said) else found

"""Meaning: what an answer says about the call as a whole, from its HTTP status and the code in its body."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum

from fenxiang_sync.errors import DeclarationError

Code = int | str


class Meaning(StrEnum):
    """What to do about an answer."""

    OK = "ok"
    BAD_ROW = "bad_row"
    """Refused because of its content; nothing of it was taken."""
    TOKEN = "token"  # noqa: S105 - the name of a class of answers
    """The token (or other credential) is not accepted."""
    THROTTLED = "throttled"
    REFUSED = "refused"
    """No, and no again: credentials, permission, path."""
    FAILED = "failed"
    """The other side failed; whether it had stored the rows by then, nobody knows."""


def of_status(status: int) -> Meaning:
    """The meaning of an HTTP status alone.

    >>> of_status(201).value, of_status(422).value, of_status(404).value, of_status(503).value
    ('ok', 'bad_row', 'refused', 'failed')
    """
    if 200 <= status < 300:
        return Meaning.OK
    if status == 401:
        return Meaning.TOKEN
    if status == 429:
        return Meaning.THROTTLED
    if status >= 500 or status in (408, 425):
        return Meaning.FAILED
    if status < 400 or status in (403, 404, 405, 407, 410):
        return Meaning.REFUSED
    return Meaning.BAD_ROW


@dataclass(frozen=True, slots=True, kw_only=True)
class Codes:
    """Body codes by meaning. Where vendors' pages disagree a code may be in `token` and in `bad_row`: it then means a
    bad row only when a fresh token is refused with it as well. A code in no set is told by `unlisted`.
    """

    ok: AbstractSet[Code]
    bad_row: AbstractSet[Code] = frozenset()
    token: AbstractSet[Code] = frozenset()
    throttled: AbstractSet[Code] = frozenset()
    refused: AbstractSet[Code] = frozenset()
    failed: AbstractSet[Code] = frozenset()
    unlisted: Meaning = Meaning.BAD_ROW

    def __post_init__(self) -> None:
        clash = self.ok & (self.bad_row | self.token | self.throttled | self.refused | self.failed)
        if clash:
            raise DeclarationError(
                f"Codes: {sorted(map(str, clash))} cannot be both ok and an error; take it out of one"
            )

    def of(self, code: Code, *, fresh_token: bool = False) -> Meaning:
        """The meaning of a body's code; `fresh_token`: the call carried a token that was just issued."""
        if code in self.ok:
            return Meaning.OK
        if code in self.throttled:
            return Meaning.THROTTLED
        if code in self.token and not (fresh_token and code in self.bad_row):
            return Meaning.TOKEN
        for codes, meaning in (
            (self.bad_row, Meaning.BAD_ROW),
            (self.refused, Meaning.REFUSED),
            (self.failed, Meaning.FAILED),
        ):
            if code in codes:
                return meaning
        return self.unlisted

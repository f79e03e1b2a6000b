"""Meaning: what an answer says about the call as a whole, from its HTTP status and what its body says."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.targets.results import look
from fenxiang_sync.targets.wire import Reply

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


@dataclass(frozen=True, slots=True)
class Says:
    """A rule about a body: at the dotted `path` it has one of `values`.

    >>> Says("success", (True,)).of({"success": False}), Says("success", (True,)).of({})
    (False, None)
    """

    path: str
    values: tuple[Any, ...]

    def of(self, payload: Any) -> bool | None:
        """Whether it holds; None where the body does not say."""
        found = look(payload, self.path)
        return None if found is None else found in self.values


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How an answer is judged: by its HTTP status, and by its body, where a code is more exact than the status.

    `statuses` are exceptions to `of_status`. `ok`: a success must say so; where it says otherwise and there are no
    `codes`, its content was refused. `bad`: an answer that says so refuses the content. `code` and `message` are paths
    in the body, and `codes` what the codes mean; with codes, a success must have one of the good ones. A success that
    does not say what it must, or that is a page, is a failure after which rows may be stored.
    """

    statuses: Mapping[int, Meaning] = field(default_factory=dict)
    ok: Says | None = None
    bad: Says | None = None
    code: str = ""
    codes: Codes | None = None
    message: str = "message"

    def __post_init__(self) -> None:
        if (self.codes is None) != (not self.code):
            raise DeclarationError("Verdict: code= is where the body has its code, codes= what it means; give both")

    def meaning(self, reply: Reply, *, fresh_token: bool = False) -> Meaning:
        """What `reply` means for its call; `fresh_token`: that carried a token that was just issued."""
        by_status = self.statuses.get(reply.status) or of_status(reply.status)
        said = None if self.ok is None else self.ok.of(reply.payload)
        code = self._code(reply)
        if self.codes is not None and code is not None and code not in self.codes.ok and said is not True:
            return self.codes.of(code, fresh_token=fresh_token)
        if by_status is not Meaning.OK:
            return by_status
        if (self.bad and self.bad.of(reply.payload)) or (said is False and self.codes is None):
            return Meaning.BAD_ROW
        unsaid = (self.ok and not said) or (self.codes is not None and code not in self.codes.ok)
        return Meaning.FAILED if unsaid or reply.page else Meaning.OK

    def reason(self, reply: Reply) -> tuple[str, int | str]:
        """What the target says in an answer, and its code."""
        code = self._code(reply)
        said = look(reply.payload, self.message)
        return str(said or f"HTTP {reply.status}"), reply.status if code is None else code

    def _code(self, reply: Reply) -> Code | None:
        code = look(reply.payload, self.code) if self.code else None
        return code if isinstance(code, int | str) else None

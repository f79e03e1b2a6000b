"""RestTarget: what HTTP targets share. A new one says its path, its envelope and how to read an answer.

How a batch ends, row by row (`RestSender.send`):

- A call that succeeds for all its rows delivers them.
- A call that is refused because of its content is halved until the bad rows stand alone; the same where only counters
  say that some rows failed *and* the target upserts. A row is refused only by a call that carried it alone, or by
  counters that say that every row of its call failed.
- Where the target does not upsert, no row goes out twice unless it is known not to be there. After a partial success
  or a lost answer the target is asked what it holds (`find`): what is there is delivered, the rest is refused where
  the counters agree with what was found, and unknown otherwise. A target that only counts and cannot be asked gets one
  row a call, so that every answer is about one row.
- A lost answer of a target that upserts is simply tried again.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec
from requests.auth import AuthBase, HTTPBasicAuth

from fenxiang_sync.errors import (
    DeclarationError,
    FenxiangSyncError,
    RefusedError,
    SetupError,
    ThrottledError,
    TokenError,
    TransientError,
)
from fenxiang_sync.rows import Row
from fenxiang_sync.targets.login import TokenAuth
from fenxiang_sync.targets.meaning import Meaning, of_status
from fenxiang_sync.targets.pace import Pace, Rate
from fenxiang_sync.targets.protocol import Answer, Delivery, Endpoint, Reach, Sender
from fenxiang_sync.targets.results import DELIVERED, Counted, Counters, Results, Told, Whole
from fenxiang_sync.targets.wire import AnswerLostError, Reply, Wire, encode

LOOKS = (0.0, 2.0, 5.0)
"""Seconds before each look at the target for rows that may be there: a write may show up late."""

_GATEWAY_GAVE_UP = frozenset({408, 502, 504, 520, 521, 522, 523, 524})
"""Statuses by which a gateway answers for a server that may still be at work."""

_PATH = re.compile(r"/[^\s?#]*$")


@dataclass(frozen=True, slots=True)
class Bad:
    """A call was refused because of its rows: at least one of them is bad. `taken`: others may be stored."""

    reason: str
    code: int | str | None


@dataclass(frozen=True, slots=True)
class _Parcel:
    place: int
    row: Row
    content: bytes


@dataclass(frozen=True, kw_only=True)
class RestTarget(ABC):
    """A declared HTTP target. `upserts` is the one thing to know for certain: whether a row sent twice is there once.

    `batch_rows` rows are taken at a time and travel in calls of at most `call_rows` rows and `max_bytes` bytes. `tries`
    counts the calls made for one thing before giving up; `patience` is the longest pause (seconds) that is waited for
    in place, a longer one ends the batch with `retry_after`.
    """

    connection: str
    upserts: bool = False
    batch_rows: int = 100
    max_bytes: int = 1_000_000
    rate: Rate | None = None
    gzip: bool = False
    tries: int = 4
    patience: float = 60.0

    results: ClassVar[Results] = Whole()

    def __post_init__(self) -> None:
        for name, least in (("batch_rows", 1), ("max_bytes", 1), ("tries", 1), ("patience", 0)):
            if getattr(self, name) < least:
                raise self.wrong(name, f"it must be {least} or more")
        if not self.connection:
            raise self.wrong("connection", "name an Airflow connection")

    def wrong(self, name: str, way_out: str) -> DeclarationError:
        """The error for a field that cannot be meant."""
        return DeclarationError(f"{type(self).__name__} {name}={getattr(self, name)!r}: {way_out}")

    @property
    def connections(self) -> Sequence[str]:
        return (self.connection,)

    @property
    def finds(self) -> bool:
        """Whether the sender can say what the target holds (`Finder`)."""
        return False

    @property
    def asks(self) -> int:
        """Of how many rows of a segment the target is asked afterwards (`Holder`)."""
        return 0

    @property
    def call_rows(self) -> int:
        """How many rows one call carries at most."""
        blind = isinstance(self.results, Counters) and not self.upserts and not self.finds
        return 1 if blind else self.batch_rows

    @abstractmethod
    def describe(self) -> str:
        """One line for the DAG page."""

    @abstractmethod
    def route(self) -> str:
        """The path of a write, from the root of the connection."""

    def envelope(self, contents: Sequence[msgspec.Raw]) -> Any:
        """The body of a write; each content is encoded already."""
        return contents

    def objection(self, row: Row) -> Answer | None:  # noqa: ARG002 - for those that check
        """Why a row cannot be sent at all, None where it can."""
        return None

    def meaning(self, reply: Reply, *, fresh_token: bool) -> Meaning:  # noqa: ARG002 - for those with codes in the body
        """What an answer means for its call: its HTTP status, but a page that calls itself a success is none."""
        by_status = of_status(reply.status)
        return Meaning.FAILED if by_status is Meaning.OK and reply.page else by_status

    def reason(self, reply: Reply) -> tuple[str, int | str]:
        """What the target says in an answer, and its code."""
        message = reply.payload.get("message") if isinstance(reply.payload, Mapping) else None
        return str(message or f"HTTP {reply.status}"), reply.status

    def auth(self, endpoint: Endpoint, wire: Wire, reach: Reach) -> AuthBase | None:  # noqa: ARG002
        """How requests are signed: by default HTTP Basic where the connection has a login."""
        return HTTPBasicAuth(endpoint.login, endpoint.password) if endpoint.login else None

    def sender(self, wire: Wire, auth: AuthBase | None, reach: Reach) -> RestSender:
        return RestSender(self, wire, auth, reach)

    @contextmanager
    def open(self, reach: Reach) -> Iterator[Sender]:
        endpoint = reach.endpoint(self.connection)
        if not endpoint.url:
            raise SetupError(f"connection {self.connection!r} has no host; set it to the address of the target")
        pace = Pace(self.rate, patience=self.patience, now=reach.now, sleep=reach.sleep)
        with reach.session() as session:
            wire = Wire(session, endpoint, pace, now=reach.now, packed=self.gzip)
            auth = self.auth(endpoint, wire, reach)
            if isinstance(auth, TokenAuth):
                wire.keep_secret(lambda: auth.secret)
            yield self.sender(wire, auth, reach)


def checked_path(target: RestTarget, name: str) -> None:
    """Raise `DeclarationError` unless the field `name` of `target` is a path."""
    if not _PATH.match(getattr(target, name)):
        raise target.wrong(name, 'it must be a path such as "/write", without query; the host is the connection\'s')


class RestSender:
    """An open REST target. For one thread."""

    def __init__(self, target: RestTarget, wire: Wire, auth: AuthBase | None, reach: Reach) -> None:
        self._target = target
        self._wire = wire
        self._auth = auth
        self._sleep = reach.sleep
        self._now = reach.now

    def send(self, rows: Sequence[Row]) -> Sequence[Answer]:
        """See `Sender.send`; the module says how each row comes to its answer."""
        answers: list[Answer | None] = [None] * len(rows)
        try:
            for call in self._calls(self._parcels(rows, answers)):
                self._settle(call, answers)
        except (TransientError, RefusedError, SetupError) as error:
            if not any(answers):
                raise
            again = Answer(
                delivery=Delivery.AGAIN,
                reason=str(error),
                code=getattr(error, "code", None),
                retry_after=getattr(error, "retry_after", None),
            )
            return [answer or again for answer in answers]
        return [answer for answer in answers if answer]

    def find(self, rows: Sequence[Row], *, since: float) -> Sequence[bool | None]:  # noqa: ARG002 - nobody to ask
        """See `Finder.find`; None for every row where the target cannot be asked."""
        return [None] * len(rows)

    @property
    def sample(self) -> int:
        """See `Holder.sample`."""
        return self._target.asks

    def holds(self, rows: Sequence[Row], *, since: float) -> Sequence[bool | None]:
        """See `Holder.holds`. A call that fails is an error: the task asks again when it is tried again."""
        held: Sequence[bool | None] = []
        for pause in LOOKS:
            if pause:
                self._sleep(pause)
            held = self.find(rows, since=since)
            if all(held) or None in held:
                break
        return held

    def exchange(self, path: str, body: Any) -> Reply | Bad:
        """One call with its token renewed once where it is refused; the answer, or `Bad`.

        Raises `AnswerLostError`, `ThrottledError`, `TokenError`, `TransientError`, `RefusedError`, `SetupError`.
        """
        encoded = encode(body)
        reply, meaning = self._signed(path, encoded, fresh_token=False)
        if meaning is Meaning.TOKEN and isinstance(self._auth, TokenAuth):
            self._auth.renew()
            reply, meaning = self._signed(path, encoded, fresh_token=True)
        said, code = self._said(reply)
        where = f"connection {self._wire.conn_id!r}, {path}: {said} (code {code})"
        match meaning:
            case Meaning.OK:
                return reply
            case Meaning.BAD_ROW:
                return Bad(said, code)
            case Meaning.THROTTLED:
                pause = self._wire.pace.back_off(reply.retry_after)
                raise ThrottledError(f"{where}; no call for {pause:.0f} s", code=code, retry_after=pause)
            case Meaning.TOKEN if isinstance(self._auth, TokenAuth):
                raise TokenError(f"{where}; a new token was refused as well", code=code)
            case Meaning.TOKEN:
                raise RefusedError(f"{where}; check login and password of the connection", code=code)
            case Meaning.REFUSED:
                raise RefusedError(f"{where}; check address, path and permission at the target", code=code)
            case Meaning.FAILED:
                if reply.retry_after is not None:
                    self._wire.pace.back_off(reply.retry_after)
                over = reply.status not in _GATEWAY_GAVE_UP
                raise AnswerLostError(where, over=over, code=code, retry_after=reply.retry_after)

    def read(self, path: str, body: Any) -> Reply | Bad:
        """`exchange` for a call that changes nothing: tried again where that may help."""
        for attempt in range(1, self._target.tries + 1):
            try:
                return self.exchange(path, body)
            except TransientError as error:
                self._pause(error, attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _signed(self, path: str, body: bytes, *, fresh_token: bool) -> tuple[Reply, Meaning]:
        if isinstance(self._auth, TokenAuth):
            self._auth.ready()
        reply = self._wire.post(path, body, self._auth)
        return reply, self._target.meaning(reply, fresh_token=fresh_token)

    def _said(self, reply: Reply) -> tuple[str, int | str]:
        said, code = self._target.reason(reply)
        if reply.page:  # a gateway's or a login's, and its status may be that of a success
            said = f"it answered with a web page (HTTP {reply.status})"
        return self._wire.blot(said), code

    def _parcels(self, rows: Sequence[Row], answers: list[Answer | None]) -> Iterator[_Parcel]:
        """What can be sent; the others get their answer here."""
        for place, row in enumerate(rows):
            objection = self._target.objection(row)
            if objection is None:
                try:
                    yield _Parcel(place, row, encode(row.content))
                    continue
                except (TypeError, ValueError, OverflowError) as error:
                    objection = Answer(delivery=Delivery.REFUSED, reason=f"the row is no JSON: {error}")
            answers[place] = objection

    def _calls(self, parcels: Iterator[_Parcel]) -> Iterator[list[_Parcel]]:
        """Parcels in calls of at most `call_rows` rows and `max_bytes` bytes; a row over the limit goes alone."""
        call: list[_Parcel] = []
        size = 0
        for parcel in parcels:
            length = len(parcel.content) + 1
            if call and (len(call) == self._target.call_rows or size + length > self._target.max_bytes):
                yield call
                call, size = [], 0
            call.append(parcel)
            size += length
        if call:
            yield call

    def _settle(self, call: list[_Parcel], answers: list[Answer | None], *, bad: bool = False) -> None:
        """Answer every row of `call`. `bad`: a row of it is known to be bad, so only its halves are worth a call."""
        if not bad or len(call) == 1:
            said = self._deliver(call)
            if isinstance(said, Bad) and len(call) == 1:
                said = [Answer(delivery=Delivery.REFUSED, reason=said.reason, code=said.code)]
            if not isinstance(said, Bad):
                for parcel, answer in zip(call, said, strict=True):
                    answers[parcel.place] = answer
                return
        # The larger half goes second: where the first is good, the call for the second as a whole is saved.
        half = len(call) // 2
        self._settle(call[:half], answers)
        good = all(answers[parcel.place] == DELIVERED for parcel in call[:half])
        self._settle(call[half:], answers, bad=good)

    def _deliver(self, call: list[_Parcel]) -> list[Answer] | Bad:
        """One call, tried again as often as that is safe; an answer for each row, or `Bad`."""
        rows = [parcel.row for parcel in call]
        body = self._target.envelope([msgspec.Raw(parcel.content) for parcel in call])
        began = self._now()
        for attempt in range(1, self._target.tries + 1):
            try:
                reply = self.exchange(self._target.route(), body)
                return reply if isinstance(reply, Bad) else self._told(reply, rows, began)
            except AnswerLostError as lost:
                if not self._target.upserts and (answers := self._after_loss(lost, rows, began)):
                    return answers
                self._pause(lost, attempt)
            except TransientError as error:
                self._pause(error, attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _pause(self, error: TransientError, attempt: int) -> None:
        """Wait before the next attempt; raise `error` where there is none. A throttle is waited for by the pace."""
        too_long = error.retry_after is not None and error.retry_after > self._target.patience
        if too_long or attempt == self._target.tries or isinstance(error, TokenError):
            raise error
        if not isinstance(error, ThrottledError):
            self._sleep(2.0 ** (attempt - 1))

    def _told(self, reply: Reply, rows: list[Row], began: float) -> list[Answer] | Bad:
        told: Told = self._target.results.read(reply.payload, rows)
        if isinstance(told, Counted):
            return self._counted(told, reply, rows, began)
        upserts = self._target.upserts
        return [self._blotted(answer, upserts=upserts) for answer in told]

    def _blotted(self, answer: Answer, *, upserts: bool) -> Answer:
        if answer.delivery is Delivery.DELIVERED:
            return answer
        again = upserts and answer.delivery is Delivery.UNKNOWN
        return Answer(
            delivery=Delivery.AGAIN if again else answer.delivery,
            reason=self._wire.blot(answer.reason),
            code=answer.code,
        )

    def _counted(self, told: Counted, reply: Reply, rows: list[Row], began: float) -> list[Answer] | Bad:
        said, code = self._said(reply)
        count = len(rows)
        reason = f"{told.taken} taken and {told.failed} failed of {count} ({said})"
        if told.failed == 0 and (self._target.upserts or told.taken == count):
            return [DELIVERED] * count
        if told.taken == 0 and told.failed == count:
            return [Answer(delivery=Delivery.REFUSED, reason=reason, code=code)] * count
        if self._target.upserts:
            return Bad(reason, code)
        held = self._look(rows, began, expected=told.taken)
        certain = told.taken + told.failed == count and held.count(True) == told.taken
        absent = Answer(
            delivery=Delivery.REFUSED if certain else Delivery.UNKNOWN,
            reason=reason if certain else f"{reason}; {held.count(True)} of them were found there",
            code=code,
        )
        return [DELIVERED if there else absent for there in held]

    def _after_loss(self, lost: AnswerLostError, rows: list[Row], began: float) -> list[Answer] | None:
        """What became of rows that may not be sent twice; None where none of them was taken: they may be sent again."""
        held = self._look(rows, began, expected=len(rows))
        if lost.over and not any(there or there is None for there in held):
            return None
        unknown = Answer(delivery=Delivery.UNKNOWN, reason=f"{lost}; not found there afterwards", code=lost.code)
        again = Answer(delivery=Delivery.AGAIN, reason=f"{lost}; it is not there", code=lost.code)
        return [DELIVERED if there else again if lost.over and there is False else unknown for there in held]

    def _look(self, rows: list[Row], since: float, *, expected: int) -> list[bool | None]:
        """Which rows are there, asked a few times until `expected` of them are; None where that cannot be told."""
        held: list[bool | None] = [None] * len(rows)
        if not self._target.finds:
            return held
        for pause in LOOKS:
            if pause:
                self._sleep(pause)
            try:
                held = list(self.find(rows, since=since))
            except FenxiangSyncError:
                # The rows are unknown then, and their answer says so: the lost answer matters, not the failed question.
                return [None] * len(rows)
            if held.count(True) >= expected or None in held:
                break
        return held

"""FenxiangClient: calls of the Fenxiang Open API, each answered, or an error that says what to do."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Self, TypeVar

import requests

from fenxiang_sync.errors import (
    AnswerLostError,
    FenxiangSyncError,
    RefusedError,
    SetupError,
    ThrottledError,
    TokenError,
    TransientError,
)
from fenxiang_sync.source.auth import Credentials, Style, Token, Tokens, acting_user_by_mobile, explained
from fenxiang_sync.source.codes import READ_CODES, Codes, codes_of, error_for
from fenxiang_sync.source.metering import Meter
from fenxiang_sync.source.pacing import Pace, Paces
from fenxiang_sync.source.protocol import Client, Page
from fenxiang_sync.source.query import SearchQuery, data_path
from fenxiang_sync.source.retries import READ_RETRIES, WRITE_RETRIES, Retries
from fenxiang_sync.source.wire import Sealed, Wire

log = logging.getLogger(__name__)

T = TypeVar("T")
Json = dict[str, Any]

OBJECT = "object_describe_api_name"
"""The field in which every record says of which object it is."""
OBJECT_LIST = "/cgi/crm/v2/object/list"
DESCRIBE = "/cgi/crm/v2/object/describe"
RENEWALS = 3
"""How often one call may renew its token; the token endpoint takes ten calls a minute from everybody together."""
FIRST_BACK_OFF_S = 2.5
LONGEST_BACK_OFF_S = 20.0
"""As long as the quota's window: after it, nothing that was called before counts."""


@dataclass(slots=True)
class Habits:
    """What was found out about this server, by object, so that it is found out once.

    `compares_by_length`, `sorts_by_length`: whether GT and LT on `_id`, or orders by it, put every shorter id first.
    `filters_first`: objects whose filters are known to apply before the limit. `between`: objects for which two
    filters on the stamp are not both honoured. `counts_hidden`: objects whose totals include what is never sent.
    """

    compares_by_length: dict[str, bool] = field(default_factory=dict)
    sorts_by_length: dict[str, bool] = field(default_factory=dict)
    filters_first: set[str] = field(default_factory=set)
    between: set[str] = field(default_factory=set)
    counts_hidden: set[str] = field(default_factory=set)


class FenxiangClient:
    """For the threads of one process. `calls` counts the requests made, by path."""

    def __init__(
        self,
        *,
        session: requests.Session,
        base_url: str,
        tokens: Tokens,
        credentials: Credentials,
        pace: Callable[[str], Pace] | None = None,
        timeout: tuple[float, float] = (10, 60),
        retries: Retries = READ_RETRIES,
        write_retries: Retries = WRITE_RETRIES,
        meter: Meter | None = None,
        codes: Codes = READ_CODES,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.calls: Counter[str] = Counter()
        self.habits = Habits()
        self._wire = Wire(session, base_url, connection=credentials.connection, timeout=timeout)
        self._tokens = tokens
        self._credentials = credentials
        self._pace = pace if pace is not None else Paces()
        self._retries = retries
        self._write_retries = write_retries
        self._meter = meter
        self._codes = codes
        self._now = now
        self._sleep = sleep
        self._acting_user = credentials.acting_user
        self._seen: tuple[datetime, float] | None = None
        self._counting = threading.Lock()
        self._looking_up = threading.Lock()

    @classmethod
    def of(cls, client: Client) -> Self:
        """The client, where only one of Fenxiang will do; raises `TypeError` for another source's."""
        if not isinstance(client, cls):
            raise TypeError(f"{type(client).__name__} is no client of Fenxiang, which this source is read by")
        return client

    def close(self) -> None:
        """Nothing more is asked for now: what the meter has counted is stored, turns that were booked ahead go back.

        They lapse by themselves in a few seconds where that fails, or was forgotten. The client may be used on.
        """
        if self._meter is not None:
            self._meter.close()
        with suppress(FenxiangSyncError):
            if isinstance(self._pace, Paces):
                self._pace.leave()

    def call(self, path: str, body: Json) -> Json:
        """The answer of a reading call whose errorCode is 0. `body` is without credentials."""
        return self._asked(path, body, _as_it_is)

    def write(self, path: str, body: Json, *, twice: bool) -> Json:
        """The answer of a writing call whose errorCode is 0. `twice`: made a second time it leaves the same state.

        Raises `RecordError` where this record is refused, `AnswerLostError` where it may be written: one that must not
        be made twice is not made again in place once it has gone out.
        """
        try:
            return self._asked(path, body, _as_it_is, retries=self._write_retries, twice=twice)
        except RefusedError as error:
            if error.code is not None:
                raise
            lost = AnswerLostError(str(error), over=True)  # an answer that could not be read to its end
        raise lost

    def query(self, query: SearchQuery) -> Page:
        """The page. One of another object is no answer and is asked for again: each record is asked whose it is."""
        if OBJECT in query.projection or not query.projection:
            return self._asked(query.path, query.body(), partial(_page, query.object_name))
        asking = replace(query, projection=(*query.projection, OBJECT))
        page = self._asked(asking.path, asking.body(), partial(_page, query.object_name))
        for record in page.records:
            record.pop(OBJECT, None)
        return page

    def get(self, object_name: str, record_id: str, *, since_ms: int = 0) -> Json | None:
        """The whole record, or None where the server answers without one. A refusal of the id is a `RefusedError`, also
        with code 50009: it stands for a time-out and for a record that the acting user has no right to.

        One of another id or object, or older than `since_ms`, is no answer and is asked for again."""
        body = {"data": {"dataObjectApiName": object_name, "objectDataId": record_id}}
        return self._asked(data_path(object_name, "get"), body, partial(_record, object_name, record_id, since_ms))

    def objects(self) -> list[Json]:
        """The objects that the app may use (``describeApiName``, ``describeDisplayName``, ``isActive`` …)."""
        return self._asked(OBJECT_LIST, {}, _objects)

    def describe(self, object_name: str) -> Json:
        """The object's description: ``fields`` by API name, each with ``type``, ``label`` …"""
        body = {"includeDetail": False, "data": {"apiName": object_name}}
        return self._asked(DESCRIBE, body, partial(_description, object_name))

    def tenant(self) -> str:
        """The corpId (body style) or ea (header style) that the token is for."""
        return self._tokens.token().tenant

    def acting_user(self) -> str:
        """The employee whose data permission the reads have; looked up by mobile once where no id was given."""
        with self._looking_up:
            if not self._acting_user:
                self._acting_user = acting_user_by_mobile(self._call_as_nobody, self._credentials)
            return self._acting_user

    def server_time(self) -> datetime:
        """The server's time by the Date header of its last answer; up to about 1 s behind it, never ahead."""
        if self._seen is None:
            self.objects()
        if self._seen is None:
            raise SetupError(f"{self._wire.host} sends no Date header, so its time is unknown; a proxy may remove it")
        date, received = self._seen
        return date + timedelta(seconds=max(0.0, self._now() - received))

    def skew(self) -> timedelta:
        """How far the server's clock is ahead of ours (negative: behind), to about 1 s."""
        return self.server_time() - datetime.fromtimestamp(self._now(), UTC)

    def _call_as_nobody(self, path: str, body: Json) -> Json:
        return self._asked(path, body, _as_it_is, acting=False)

    def _asked(
        self,
        path: str,
        body: Json,
        read: Callable[[str, Json], T],
        *,
        acting: bool = True,
        retries: Retries | None = None,
        twice: bool = True,
    ) -> T:
        """Ask, and again in place where that may help; every attempt waits for its turn."""
        user = self.acting_user() if acting else ""
        for attempt in (retries or self._retries).attempts(self._sleep, _tell, twice=twice):
            with attempt, self._slowing_down(path, attempt.retry_state.attempt_number):
                return read(path, self._with_token(path, body, user))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _with_token(self, path: str, body: Json, user: str) -> Json:
        """Ask with the token that all share, and with another where it is refused.

        The other may be one that somebody had stored before, and be refused as well. One that the endpoint gives out
        again is tried once more and no further.
        """
        token = self._tokens.token()
        for _ in range(RENEWALS):
            try:
                return self._once(path, body, user, token)
            except TokenError:
                log.info("%s refused the token; another is used", path)
            refused, token = token, self._tokens.renew(token)
            if token.value == refused.value:
                break
        return self._once(path, body, user, token)

    def _once(self, path: str, body: Json, user: str, token: Token) -> Json:
        if self._meter is not None:
            self._meter.count()
        with self._pace(path).turn():
            with self._counting:
                self.calls[path] += 1
            received = self._wire.post(self._sealed(path, body, user, token))
        if received.date is not None:
            self._seen = received.date, self._now()
        codes = codes_of(path, self._codes)
        error = error_for(path, received.payload, codes, secrets=(token.value, *self._credentials.secrets))
        if error is not None:
            raise explained(error, self._credentials)
        return received.payload

    def _sealed(self, path: str, body: Json, user: str, token: Token) -> Sealed:
        """The request with its credentials in the one style of the connection, never in both."""
        if self._credentials.style is Style.HEADER:
            who = {"x-fs-userid": user} if user else {}
            return Sealed(path, body, {"authorization": f"Bearer {token.value}", "x-fs-ea": token.tenant, **who})
        who = {"currentOpenUserId": user} if user else {}
        return Sealed(path, {"corpAccessToken": token.value, "corpId": token.tenant, **who, **body})

    @contextmanager
    def _slowing_down(self, path: str, attempt: int) -> Iterator[None]:
        """Where the call is refused as one too many, nobody calls for a while: after the last attempt, too."""
        try:
            yield
        except ThrottledError:
            self._pace(path).back_off(min(FIRST_BACK_OFF_S * 2 ** (attempt - 1), LONGEST_BACK_OFF_S))
            raise


def _tell(error: TransientError, attempt: int) -> None:
    log.warning("%s (attempt %d); trying again", error, attempt)


def _as_it_is(path: str, payload: Json) -> Json:  # noqa: ARG001
    return payload


def _page(object_name: str, path: str, payload: Json) -> Page:
    """The page of an answer. Where there is no list of records it is an error: never an empty page."""
    data = payload.get("data")
    records = data.get("dataList") if isinstance(data, Mapping) else None
    if not isinstance(data, Mapping) or not isinstance(records, list):
        what = "data.dataList" if isinstance(data, Mapping) else "data"
        raise TransientError(f"{path} answered errorCode 0 without a usable {what}; that is no empty page")
    odd = [record for record in records if not isinstance(record, dict)]
    if odd:
        raise TransientError(f"{path} answered {len(odd)} records that are no objects (a {type(odd[0]).__name__})")
    others = {each for record in records if (each := record.get(OBJECT, object_name)) != object_name}
    if others:
        raise TransientError(f"{path} answered with records of {others.pop()!r} where {object_name} was asked for")
    return Page(
        records=records,
        total=_whole(data.get("total")),
        limit=_whole(data.get("limit")),
        offset=_whole(data.get("offset")),
    )


def _record(object_name: str, record_id: str, since_ms: int, path: str, payload: Json) -> Json | None:
    """The record of an answer, None where it has none."""
    record = payload.get("data")
    if not isinstance(record, dict) or not record:
        return None
    came = record.get("_id"), record.get(OBJECT, object_name)
    if came != (record_id, object_name):
        raise TransientError(f"{path} answered with {came[1]} {came[0]} where {object_name} {record_id} was asked for")
    stamp = record.get("last_modified_time")
    if since_ms and (type(stamp) is not int or stamp < since_ms):
        raise TransientError(
            f"{path} answered with {object_name} {record_id} as of {stamp!r}, older than the query that listed it"
        )
    return record


def _objects(path: str, payload: Json) -> list[Json]:
    data = payload.get("data")
    found = data.get("objects") if isinstance(data, Mapping) else payload.get("objects")
    if not isinstance(found, list):
        raise RefusedError(f"{path} answered without a list of objects")
    return [each for each in found if isinstance(each, dict)]


def _description(object_name: str, path: str, payload: Json) -> Json:
    data = payload.get("data")
    found = data.get("describe") if isinstance(data, Mapping) else None
    if not isinstance(found, dict):
        raise RefusedError(f"{path} answered without a description")
    if found.get("api_name", object_name) != object_name:
        raise TransientError(f"{path} described {str(found['api_name'])[:100]!r} when it was asked for {object_name!r}")
    return found


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None

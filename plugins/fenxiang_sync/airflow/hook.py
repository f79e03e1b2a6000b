"""FenxiangHook: Fenxiang CRM through an Airflow connection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import requests
from airflow.providers.http.hooks.http import HttpHook
from airflow.sdk import Connection
from airflow.sdk.configuration import conf
from airflow.sdk.log import mask_secret

from fenxiang_sync.airflow.connections import Place, base_url, find, need, positive
from fenxiang_sync.airflow.notes import CallNote
from fenxiang_sync.airflow.reach import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, no_auth
from fenxiang_sync.airflow.settings import Settings
from fenxiang_sync.airflow.tokens import SharedTokenStore
from fenxiang_sync.errors import FenxiangSyncError, SetupError
from fenxiang_sync.hub import DayCalls, Hub
from fenxiang_sync.source import (
    Credentials,
    FenxiangClient,
    Filter,
    MemoryTokenStore,
    Meter,
    Pace,
    Paces,
    Page,
    SharedPace,
    Style,
    Tokens,
    TokenStore,
    pages,
)
from fenxiang_sync.source.allowance import Quota
from fenxiang_sync.source.retries import ONCE, READ_RETRIES, TOKEN_RETRIES
from fenxiang_sync.window import Window


class FenxiangHook(HttpHook):
    """A client of Fenxiang CRM (纷享销客), made from a connection of type ``fenxiang``.

    URL, TLS, proxy and time-outs come from the connection as in Airflow's ``HttpHook``; unlike there, neither login
    and password nor extras become headers: they are Fenxiang's credentials, and go into the token call alone.

    In any task of any DAG::

        @task(pool=pool_name("fenxiang", "AccountObj"))
        def newest_accounts(data_interval_start=None, data_interval_end=None):
            hook = FenxiangHook("fenxiang")
            for page in hook.pages("AccountObj", data_interval_start, data_interval_end, ["name", "owner"]):
                for record in page.records:
                    print(record["_id"], record["name"])

    :param fenxiang_conn_id: the connection: host, login = appId, password = appSecret; extra ``permanent_code``,
        ``style`` (``body``, ``header``), ``open_user_id`` or ``mobile`` (body style), ``employee_id`` (header style),
        ``calls``, ``per_seconds`` and ``share`` of the rate limit, ``day_quota`` and ``day_limit`` of calls a day,
        ``timeout``, ``proxy``, ``verify``, ``cert``.
    """

    conn_name_attr = "fenxiang_conn_id"
    default_conn_name = "fenxiang"
    conn_type = "fenxiang"
    hook_name = "Fenxiang CRM (纷享销客)"
    default_host = "https://open.fxiaoke.com"

    def __init__(self, fenxiang_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(method="POST", http_conn_id=fenxiang_conn_id, **kwargs)
        self.fenxiang_conn_id = fenxiang_conn_id

    def client(self, *, patient: bool = True) -> FenxiangClient:
        """A client with the shared token and the connection's pace. It is for the threads of one task.

        One that is not patient gives up at the first trouble: for somebody who waits for the answer.
        """
        connection = self.get_connection(self.fenxiang_conn_id)
        credentials = _credentials(connection)
        extra, name = connection.extra_dejson, connection.conn_id
        session = self.get_conn()
        timeout = (CONNECT_TIMEOUT_S, positive(extra, "timeout", READ_TIMEOUT_S, name))
        quota = _quota(connection)
        tokens = Tokens(
            session=session,
            base_url=self.base_url,
            credentials=credentials,
            store=self._token_store(credentials),
            retries=TOKEN_RETRIES if patient else ONCE,
        )
        return FenxiangClient(
            session=session,
            base_url=self.base_url,
            tokens=tokens,
            credentials=credentials,
            pace=self._paces(credentials, quota),
            timeout=timeout,
            retries=READ_RETRIES if patient else ONCE,
            meter=self._meter(connection, limited=patient),
        )

    def quota(self) -> Quota:
        """How many calls in how many seconds this Airflow may make to one interface."""
        return Quota.part(*_quota(self.get_connection(self.fenxiang_conn_id)))

    def objects(self) -> list[dict[str, Any]]:
        """The CRM objects that the app may use, as Fenxiang lists them."""
        with closing(self.client()) as client:
            return client.objects()

    def describe(self, object_name: str) -> dict[str, Any]:
        """The description of an object: its fields with their types."""
        with closing(self.client()) as client:
            return client.describe(object_name)

    def pages(
        self,
        object_name: str,
        since: datetime,
        until: datetime,
        projection: Sequence[str],
        *,
        filters: Sequence[Filter] = (),
        page_size: int = 100,
    ) -> Iterator[Page]:
        """Every record of ``[since, until)`` by ``last_modified_time``, page by page, complete while others edit.

        `projection` names the fields to read; ``_id`` and ``last_modified_time`` always come along.
        """
        with closing(self.client()) as client:
            yield from pages(
                client,
                object_name=object_name,
                window=Window.between(since, until),
                projection=projection,
                filters=filters,
                page_size=page_size,
            )

    def test_connection(self) -> tuple[bool, str]:
        """Get a token, find the acting user, list the objects: whether that works, and a sentence about it."""
        try:
            return True, self._tested()
        except FenxiangSyncError as error:
            return False, str(error)

    def _tested(self) -> str:
        with closing(self.client(patient=False)) as client:
            objects = client.objects()
            return (
                f"{urlsplit(self.base_url).netloc} answers for tenant {client.tenant()} as {client.acting_user()}: "
                f"{len(objects)} objects; {_clock(client.skew().total_seconds())}{_shown_secret()}"
            )

    @classmethod
    def get_connection(cls, conn_id: str) -> Connection:
        return need(conn_id, cls.conn_type)

    def _token_store(self, credentials: Credentials) -> TokenStore:
        if Place.here() is Place.APART:
            return MemoryTokenStore()
        return SharedTokenStore(
            base_url=self.base_url, credentials=credentials, hub_url=lambda: Settings.load().hub_url()
        )

    def _paces(self, credentials: Credentials, quota: tuple[int, float, float]) -> Paces:
        """One pace for all processes, where there is a hub to keep it in."""
        if Place.here() is Place.APART:
            return Paces(partial(Pace, *quota))
        note = CallNote(self.base_url, credentials, hub_url=lambda: Settings.load().hub_url())
        return Paces(shared=lambda path: SharedPace(*quota, path=path, revise=note.revise))

    def _meter(self, connection: Connection, *, limited: bool) -> Meter | None:
        """Counts the calls of the day in the hub. A connection test that has no hub counts nothing, and none is held
        up by the limit."""
        if Place.here() is Place.APART:
            return None
        extra, name = connection.extra_dejson, str(connection.conn_id)
        app = f"{urlsplit(self.base_url).netloc}/{(connection.login or '').strip()}"

        def add(day: str, calls: int) -> int:
            with Hub.connect(Settings.load().hub_url()) as hub:
                made = DayCalls(app=app, day=day, connection=name, calls=calls)
                return hub.add_calls(made, now=datetime.now(UTC))

        limit = maybe_whole(extra, "day_limit", name) if limited else None
        return Meter(add, connection=name, quota=maybe_whole(extra, "day_quota", name), limit=limit)

    def _set_base_url(self, connection: Connection) -> None:
        self.base_url = base_url(connection, self.default_host)
        self._base_url_initialized = True

    def _configure_session_from_auth(self, session: requests.Session, connection: Connection) -> requests.Session:  # noqa: ARG002
        session.auth = no_auth  # HttpHook would send appId and appSecret with every call
        return session

    def _configure_session_from_extra(
        self, session: requests.Session, connection: Connection, extra_options: dict[str, Any]
    ) -> requests.Session:
        headers = dict(session.headers)
        session = super()._configure_session_from_extra(session, connection, extra_options)
        session.headers.clear()
        session.headers.update(headers)  # HttpHook sends what is left of the extras: permanent_code and all
        if isinstance(session.proxies, str):
            session.proxies = {"http": session.proxies, "https": session.proxies}
        return session


def _credentials(connection: Connection) -> Credentials:
    """What the connection says of who calls; raises `SetupError` naming the field that is missing or odd."""
    extra = connection.extra_dejson
    if not isinstance(extra, Mapping):
        raise SetupError(f"Connection {connection.conn_id!r}: extra is no JSON object; use the fields of its form")
    for secret in (connection.password, extra.get("permanent_code")):
        if secret:
            mask_secret(str(secret))
    try:
        style = Style(str(extra.get("style") or Style.BODY).strip().lower())
    except ValueError:
        known = " or ".join(Style)
        raise SetupError(
            f"Connection {connection.conn_id!r}: extra style is {extra['style']!r}; give {known}"
        ) from None
    acting_user = extra.get("employee_id") if style is Style.HEADER else extra.get("open_user_id")
    return Credentials(
        app_id=(connection.login or "").strip(),
        app_secret=(connection.password or "").strip(),
        permanent_code=str(extra.get("permanent_code") or "").strip(),
        style=style,
        acting_user=str(acting_user or "").strip(),
        mobile=str(extra.get("mobile") or "").strip(),
        connection=str(connection.conn_id),
    )


def _whole(extra: Mapping[str, Any], name: str, default: int, conn_id: str | None) -> int:
    value = positive(extra, name, default, conn_id)
    if value != int(value):
        raise SetupError(f"Connection {conn_id!r}: extra {name} is {extra[name]!r}; give a whole number")
    return int(value)


def _quota(connection: Connection) -> tuple[int, float, float]:
    """Calls, seconds and share of the rate limit, as the connection has them."""
    extra, name = connection.extra_dejson, connection.conn_id
    return (
        _whole(extra, "calls", 100, name),
        positive(extra, "per_seconds", 20.0, name),
        positive(extra, "share", 1.0, name, most=1.0),
    )


def maybe_whole(extra: Mapping[str, Any], name: str, conn_id: str | None) -> int | None:
    """A whole number above 0 from a connection's extra, None where it is not there; raises `SetupError`."""
    return _whole(extra, name, 0, conn_id) or None


def day_quota(conn_id: str) -> int | None:
    """How many calls a day were bought, by the connection; None where that is not known. Raises `SetupError`."""
    connection = find(conn_id)
    return maybe_whole(connection.extra_dejson, "day_quota", conn_id) if connection else None


def _clock(skew_s: float) -> str:
    """A server's clock comes in whole seconds, so less than two is no difference."""
    if abs(skew_s) < 2:
        return "its clock agrees with ours"
    return f"its clock is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} ours"


def _shown_secret() -> str:
    """Airflow hides extras by their names, and takes `permanent_code` for none of a secret unless it is told."""
    names = conf.get("core", "sensitive_var_conn_names", fallback="")
    if "permanent_code" in names:
        return ""
    return (
        ". The API shows permanent_code in clear to who may read connections: "
        "set AIRFLOW__CORE__SENSITIVE_VAR_CONN_NAMES=permanent_code"
    )

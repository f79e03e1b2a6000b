"""Reach: what targets may use of Airflow: its connections, and sessions with each connection's TLS, proxy, time-out."""

from __future__ import annotations

import time
from typing import Any

import requests
from airflow.sdk import Connection, ObjectStoragePath
from airflow.sdk.log import mask_secret
from requests.adapters import HTTPAdapter

from fenxiang_sync.airflow.connections import base_url, need, positive
from fenxiang_sync.airflow.databases import make_database
from fenxiang_sync.errors import SetupError
from fenxiang_sync.source.writer import FenxiangWriter
from fenxiang_sync.targets.crm import Crm
from fenxiang_sync.targets.protocol import Endpoint, Reach

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
_STORAGES = {"s3": "aws", "s3a": "aws", "gs": "google_cloud_platform", "abfs": "adls", "abfss": "adls"}
"""The type of the connection that a message proposes, by the scheme of a URL."""


def make_reach() -> Reach:
    """The reach of one task. A session treats each URL as the connection says that it belongs to."""
    routes: dict[str, Route] = {}

    def endpoint(conn_id: str) -> Endpoint:
        connection = need(conn_id, "http")
        found = _endpoint(connection)
        routes[found.url] = Route(connection)
        return found

    def session() -> requests.Session:
        made = requests.Session()
        made.auth = no_auth
        adapter = _RoutedAdapter(routes)
        made.mount("https://", adapter)
        made.mount("http://", adapter)
        return made

    return Reach(
        endpoint=endpoint,
        session=session,
        sleep=time.sleep,
        now=time.time,
        storage=_storage,
        database=make_database,
        crm=_crm,
    )


def no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """An auth that adds nothing. Without one, requests looks into ~/.netrc and replaces the Authorization header."""
    return request


class Route:
    """How calls of one connection travel: its extras ``timeout``, ``connect_timeout``, ``proxy`` or ``proxies``,
    ``verify`` and ``cert``.
    """

    def __init__(self, connection: Connection) -> None:
        extra: dict[str, Any] = connection.extra_dejson
        name = connection.conn_id
        self.timeout = (
            positive(extra, "connect_timeout", CONNECT_TIMEOUT_S, name),
            positive(extra, "timeout", READ_TIMEOUT_S, name),
        )
        proxy = extra.get("proxies") or extra.get("proxy") or {}
        self.proxies: dict[str, str] = {"http": proxy, "https": proxy} if isinstance(proxy, str) else dict(proxy)
        self.verify: bool | str | None = extra.get("verify")
        cert = extra.get("cert")
        self.cert: Any = tuple(cert) if isinstance(cert, list) else cert  # a list is no key of a pool


class _RoutedAdapter(HTTPAdapter):
    """Sends each request as the connection wants it whose URL it begins with."""

    def __init__(self, routes: dict[str, Route]) -> None:
        super().__init__()
        self._routes = routes

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        route = self._route(request.url or "")
        if route is None:
            timeout = timeout or (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)
            return super().send(request, stream, timeout, verify, cert, proxies)
        return super().send(
            request,
            stream,
            timeout or route.timeout,
            verify if route.verify is None else route.verify,
            cert or route.cert,
            {**(proxies or {}), **route.proxies},
        )

    def _route(self, url: str) -> Route | None:
        fitting = [start for start in self._routes if url == start or url.startswith((f"{start}/", f"{start}?"))]
        return self._routes[max(fitting, key=len)] if fitting else None


def _storage(url: str, conn_id: str | None) -> Any:
    if conn_id is not None:
        need(conn_id, _STORAGES.get(url.partition("://")[0], "generic"))
    try:
        folder = ObjectStoragePath(url, conn_id=conn_id)
        _ = folder.fs
    except (ImportError, ValueError) as error:
        raise SetupError(
            f"{url!r} cannot be opened: {error}. The driver of a storage comes with its provider, for example "
            "apache-airflow-providers-amazon[s3fs] for s3://"
        ) from error
    return folder


def _crm(conn_id: str) -> Crm:
    # The http provider behind it costs 0.4 s to import, and the hook imports this module.
    from fenxiang_sync.airflow.hook import FenxiangHook

    return FenxiangWriter(FenxiangHook(conn_id).client())


def _endpoint(connection: Connection) -> Endpoint:
    if connection.password:
        mask_secret(connection.password)
    return Endpoint(
        conn_id=str(connection.conn_id),
        url=base_url(connection),
        login=connection.login or "",
        password=connection.password or "",
        extra=connection.extra_dejson,
    )

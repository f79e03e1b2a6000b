"""A plain client of the simulator for its own tests: no retries, no paging, every answer as it came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import requests

from fenxiang_simulator import Simulator

APP = {"appId": "FSAID_demo001", "appSecret": "demo-secret", "permanentCode": "demo-perm"}
ADMIN = "FSUID_demo0000000000000000000000001"
PRESET, CUSTOM = "/cgi/crm/v2", "/cgi/crm/custom/v2"
BODY_TOKEN, HEADER_TOKEN = "/cgi/corpAccessToken/get/V2", "/oauth2.0/token"


class Api:
    """Calls in one of the two styles; the token is fetched at the first call."""

    def __init__(self, simulator: Simulator, *, style: str = "body", user: str | None = None) -> None:
        self.simulator = simulator
        self.session = requests.Session()
        self.session.trust_env = False
        self.style = style
        self.user = user or (ADMIN if style == "body" else "1000")
        self._token: str | None = None

    def post(self, path: str, body: Any = None, **more: Any) -> requests.Response:
        return self.session.post(self.simulator.url + path, json=body, allow_redirects=False, timeout=10, **more)

    def token_call(self, path: str = BODY_TOKEN, **changes: Any) -> dict[str, Any]:
        grant = {"grantType": "app_secret"} if path == HEADER_TOKEN else {}
        return self.post(path, {**APP, **grant, **changes}).json()

    @property
    def token(self) -> str:
        if self._token is None:
            path, key = (BODY_TOKEN, "corpAccessToken") if self.style == "body" else (HEADER_TOKEN, "accessToken")
            self._token = str(self.token_call(path)[key])
        return self._token

    def send(self, path: str, body: dict[str, Any]) -> requests.Response:
        """A business call with credentials."""
        if self.style == "body":
            return self.post(
                path, {"corpAccessToken": self.token, "corpId": "FSCID_demo", "currentOpenUserId": self.user, **body}
            )
        headers = {"authorization": f"Bearer {self.token}", "x-fs-ea": "demoea", "x-fs-userid": self.user}
        return self.post(path, body, headers=headers)

    def call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        response = self.send(path, body)
        assert response.status_code == 200
        return response.json()

    def query(
        self,
        name: str,
        *filters: tuple[str, str, Sequence[Any]],
        orders: Sequence[tuple[str, bool]] = (),
        fields: Sequence[str] = (),
        action: str = "query",
        top: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
        **info: Any,
    ) -> dict[str, Any]:
        """A whole answer of data/query."""
        base = CUSTOM if name.endswith("__c") else PRESET
        search = {
            "limit": 100,
            "offset": 0,
            "filters": [{"field_name": f, "operator": o, "field_values": list(v)} for f, o, v in filters],
            "orders": [{"fieldName": field, "isAsc": ascending} for field, ascending in orders],
            **({"fieldProjection": list(fields)} if fields else {}),
            **info,
        }
        body = {**(top or {}), "data": {"dataObjectApiName": name, "search_query_info": search, **(data or {})}}
        return self.call(f"{base}/data/{action}", body)

    def rows(self, name: str, *filters: tuple[str, str, Sequence[Any]], **more: Any) -> list[dict[str, Any]]:
        answer = self.query(name, *filters, **more)
        assert answer["errorCode"] == 0, answer
        return list(answer["data"]["dataList"])

    def everything(self, name: str, *filters: tuple[str, str, Sequence[Any]], fields: Sequence[str] = ()) -> list[Any]:
        """Every row that matches, by keyset on `_id`."""
        rows: list[Any] = []
        while True:
            after = [("_id", "GT", [rows[-1]["_id"]])] if rows else []
            page = self.rows(name, *filters, *after, orders=[("_id", True)], fields=fields)
            if not page:
                return rows
            rows += page

"""What Airflow is told of this distribution: connection types with their forms, and the configuration section.

Airflow calls `get_provider_info` while it starts, so nothing here imports Airflow.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fenxiang_sync.airflow.settings import OPTIONS, SECTION

DISTRIBUTION = "airflow-provider-fenxiang"


def get_provider_info() -> dict[str, Any]:
    """The entry point ``apache_airflow_provider``."""
    return {
        "package-name": DISTRIBUTION,
        "name": "Fenxiang CRM (纷享销客)",
        "description": "Copies Fenxiang CRM objects to where they are needed, with proof that nothing was missed.",
        "versions": [_version()],
        "connection-types": [_FENXIANG, _QEASY],
        "config": {
            SECTION: {
                "description": "What a deployment of airflow-provider-fenxiang sets.",
                "options": {
                    option.name: {
                        "description": option.description,
                        "version_added": "0.1.0",
                        "type": option.type,
                        "example": option.example,
                        "default": option.default,
                    }
                    for option in OPTIONS
                },
            }
        },
    }


def _version() -> str:
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "0"


def _field(label: str, description: str, **schema: Any) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": schema}


_TRANSPORT = {
    "timeout": _field(
        "Read time-out (读取超时), seconds",
        "How long to wait for an answer. Default 60.",
        type=["number", "null"],
        minimum=1,
        maximum=600,
    ),
    "proxy": _field(
        "Proxy (代理)",
        "URL of an HTTP proxy for this connection, for example http://proxy:3128. Empty: what the environment says.",
        type=["string", "null"],
    ),
    "verify": _field(
        "Verify TLS (校验证书)",
        "Leave on. For a CA of your own, write the path of its bundle on the workers into the JSON of Extra.",
        type=["boolean", "null"],
        default=True,
    ),
}

_FENXIANG: dict[str, Any] = {
    "connection-type": "fenxiang",
    "hook-class-name": "fenxiang_sync.airflow.hook.FenxiangHook",
    "hook-name": "Fenxiang CRM (纷享销客)",
    "ui-field-behaviour": {
        "hidden-fields": [],
        "relabeling": {
            "host": "Host (接口地址)",
            "schema": "Scheme (协议)",
            "port": "Port (端口)",
            "login": "App ID (appId)",
            "password": "App Secret (appSecret)",
        },
        "placeholders": {"host": "https://open.fxiaoke.com", "schema": "https", "login": "FSAID_…"},
    },
    "conn-fields": {
        "permanent_code": _field(
            "Permanent code (永久授权码)",
            "permanentCode of the self-built app.",
            type="string",
            format="password",
        ),
        "style": _field(
            "Call style (调用方式)",
            "body: token, corpId and user in the request body. header: Bearer token and x-fs-… headers. "
            "User ids in the data differ (FSUID_… or 1000), so do not change it later.",
            type="string",
            enum=["body", "header"],
            default="body",
        ),
        "open_user_id": _field(
            "Acting user, body style (操作人 openUserId)",
            "FSUID_… of the user whose rights every read has; best a CRM administrator.",
            type=["string", "null"],
        ),
        "mobile": _field(
            "…or their mobile number (操作人手机号)",
            "Body style: looks up the acting user where openUserId is empty.",
            type=["string", "null"],
        ),
        "employee_id": _field(
            "Acting user, header style (员工ID)",
            "CRM employee id, sent as x-fs-userid; the administrator's is 1000.",
            type=["string", "null"],
        ),
        "calls": _field(
            "Calls (调用次数上限)",
            "How many calls each interface allows in the seconds below. Default 100.",
            type=["integer", "null"],
            minimum=1,
            maximum=100_000,
        ),
        "per_seconds": _field(
            "Per seconds (限频窗口，秒)",
            "The length of the rate limit's window. Default 20.",
            type=["number", "null"],
            minimum=1,
            maximum=86_400,
        ),
        "share": _field(
            "Share of the quota (配额占比)",
            "Part of that rate which this Airflow uses, above 0 to 1. Default 1.",
            type=["number", "null"],
            minimum=0.01,
            maximum=1,
        ),
        "day_quota": _field(
            "Calls a day (每日调用配额)",
            "How many calls a day were bought. With it, a warning is logged at 80 %. Empty: unknown.",
            type=["integer", "null"],
            minimum=1,
        ),
        "day_limit": _field(
            "Stop at calls a day (每日调用上限)",
            "After so many calls a day runs fail instead of calling on. Empty: never.",
            type=["integer", "null"],
            minimum=1,
        ),
        **_TRANSPORT,
    },
}

_QEASY: dict[str, Any] = {
    "connection-type": "qeasy",
    "hook-class-name": "fenxiang_sync.airflow.qeasy.QeasyHook",
    "hook-name": "Qeasy (轻易云)",
    "ui-field-behaviour": {
        "hidden-fields": [],
        "relabeling": {
            "host": "Host (接口地址)",
            "schema": "Scheme (协议)",
            "port": "Port (端口)",
            "login": "App key (app_key)",
            "password": "App secret (app_secret)",
        },
        "placeholders": {"host": "https://api.qeasy.cloud", "schema": "https"},
    },
    # Extra `token_in` is no field: Airflow hides whatever has "token" in its name, the default of a choice included.
    "conn-fields": _TRANSPORT,
}

"""Envelope: how every answer of the API is wrapped, and the errors that become one."""

from __future__ import annotations

import itertools
from typing import Any

_traces = itertools.count()


class ApiError(Exception):
    """A refusal: HTTP 200 with this `code` as errorCode and `message` as errorMessage."""

    def __init__(self, code: int, message: str, description: str | None = None) -> None:
        super().__init__(f"{message} (errorCode {code})")
        self.code = code
        self.message = message
        self.description = description


def trace_id(ea: str = "null", user: str = "-1000") -> str:
    return f"E-O.{ea}.{user}-{next(_traces):06d}"


def good(trace: str, **payload: Any) -> dict[str, Any]:
    return {"traceId": trace, "errorCode": 0, "errorMessage": "OK", "errorDescription": "success", **payload}


def bad(trace: str, error: ApiError) -> dict[str, Any]:
    body: dict[str, Any] = {"traceId": trace, "errorMessage": error.message, "errorCode": error.code}
    if error.description is not None:
        body["errorDescription"] = error.description
    return body

"""Codes: what an errorCode means for a run.

HTTP is 200 also for errors; only ``errorCode == 0`` is a success, and messages change without notice, so nothing
branches on one (vendor documentation). A code that the table does not know is refused: a swallowed error would turn a
cut-off pull into a success.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from fenxiang_sync.errors import (
    AnswerLostError,
    FenxiangSyncError,
    QuotaError,
    RecordError,
    RefusedError,
    ThrottledError,
    TokenError,
    TransientError,
)

Codes = Mapping[int | None, Callable[..., FenxiangSyncError]]
"""What each code means; None: every other one, a `RefusedError` where nothing is said."""

READ_CODES: Codes = {
    -1: TransientError,  # 系统繁忙
    -2: TransientError,  # 系统错误
    50009: TransientError,  # 服务异常; on writes it may be a business refusal, on reads it is not
    14001: ThrottledError,  # 接口调用超过限制
    30004: ThrottledError,  # 秒频次超限
    20005: TokenError,  # accessToken不存在或者已经过期
    20016: TokenError,  # corpAccessToken不存在或者已经过期
    30002: QuotaError,  # 当天访问频次超限（0点重新统计）
    30003: QuotaError,  # 客户没有购买openapi配额
}
"""The codes of reading calls that are not plainly refused."""

APP_CODES = frozenset((15003, 20014, 20020, 20021, 20022, 20023))
"""Of what the app may do, whatever it asks for (vendor documentation)."""
RIGHTS = 50009
"""Of `get`: the acting user has no right to the record, or it took too long; the code does not say which."""
GET_CODES: Codes = {code: error for code, error in READ_CODES.items() if code != RIGHTS}
"""The same for reading one record by id, where 50009 may be a matter of rights."""

_BUSY = partial(AnswerLostError, over=True)
_OF_THE_CALL = (
    *(code for code in (*range(10001, 10016), *range(11001, 11019)) if code not in (11008, 11009)),
    *(12002, 20006, 20010, 20015, 20017, *APP_CODES - {20014}),
)
"""Credentials and what the app may do: the next record would be refused as well. Not people and departments (11008,
11009, 20012, 20014, 30007, 30027): they may be values of the record, a look-up by the same user has just passed."""

WRITE_CODES: Codes = {
    **READ_CODES,
    **dict.fromkeys(_OF_THE_CALL, RefusedError),
    -1: _BUSY,
    -2: _BUSY,
    50009: RecordError,  # a business refusal, or a time-out after all: who writes looks
    None: RecordError,
}
"""The codes of writing calls: what is not about the call is about the record, business codes of 9 digits too. Whether a
server that says it is busy has written is not documented."""

WRITES = frozenset(("create", "update", "invalid", "delete", "recover"))
"""The actions that write, the last word of their paths."""


def codes_of(path: str, reading: Codes = READ_CODES) -> Codes:
    """What codes mean in an answer of `path`.

    >>> codes_of("/cgi/crm/v2/data/create") is WRITE_CODES, codes_of("/cgi/crm/v2/data/query") is READ_CODES
    (True, True)
    """
    action = path.rpartition("/")[2]
    return GET_CODES if path.endswith("/data/get") else WRITE_CODES if action in WRITES else reading


_TRACE = re.compile(r" \(traceId [^)]*\)")

_WAY_OUT = {
    10013: "an offset over 10,000, or no token in the body",
    15003: "allow the app this interface in the Fenxiang admin console",
    20012: "check extra open_user_id of the Fenxiang connection",
    20014: "the app may not see this employee; widen its range in the Fenxiang admin console",
    20017: "the call carried no usable corpId or token",
    20020: "the app may not read this company; check its authorisation in the Fenxiang admin console",
    20021: "the app is disabled for this company; enable it in the Fenxiang admin console",
    20022: "the company has not authorised the app; do so in the Fenxiang admin console",
    30002: "the calls of the day are spent; they are counted anew at 0:00",
    30003: "no Open API quota pack was bought; ask Fenxiang for one",
    30027: "check the acting user of the Fenxiang connection",
}


def code_of(payload: Mapping[str, Any]) -> int | str | None:
    """The errorCode: a number, also where it came as text of digits; other text as it is; None where there is none.

    >>> code_of({"errorCode": 0}), code_of({"errorCode": "30004"}), code_of({"errorCode": "E1"}), code_of({})
    (0, 30004, 'E1', None)
    """
    code = payload.get("errorCode")
    if code is None or (isinstance(code, int) and not isinstance(code, bool)):
        return code
    text = str(code).strip()
    return int(text) if text.removeprefix("-").isascii() and text.removeprefix("-").isdigit() else text


def error_for(
    path: str, payload: Mapping[str, Any], codes: Codes = READ_CODES, *, secrets: Sequence[str] = ()
) -> FenxiangSyncError | None:
    """The error that the answer of `path` means; None for a success. `secrets` are taken out of what it quotes."""
    code = code_of(payload)
    if code == 0:
        return None
    if code is None:
        return AnswerLostError(f"{path} answered JSON without an errorCode; is this host Fenxiang's?")
    told = f"{path} answered errorCode {_quoted(code, secrets)}: {_quoted(_message(payload), secrets)}"
    told += f" (traceId {_quoted(payload.get('traceId') or 'none', secrets)})"
    otherwise = codes.get(None, RefusedError)
    if not isinstance(code, int):
        return otherwise(told, code=_quoted(code, secrets))
    hint = f". Way out: {_WAY_OUT[code]}" if code in _WAY_OUT else ""
    return codes.get(code, otherwise)(told + hint, code=code)


def untraced(said: str) -> str:
    """The same without the traceId, which is another for each call.

    >>> untraced("/data/create answered errorCode 7: no (traceId E-O.1-2)")
    '/data/create answered errorCode 7: no'
    """
    return _TRACE.sub("", said)


def _message(payload: Mapping[str, Any]) -> str:
    parts = [str(payload[key]) for key in ("errorMessage", "errorDescription") if payload.get(key)]
    return " · ".join(dict.fromkeys(parts)) or "no message"


def _quoted(said: object, secrets: Sequence[str]) -> str:
    """What the server said, for people: without secrets, and not without end."""
    text = str(said)
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    return text[:300]

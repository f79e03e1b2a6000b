from __future__ import annotations

from typing import Any

import pytest

from fenxiang_sync.errors import AnswerLostError, QuotaError, RefusedError, ThrottledError, TokenError, TransientError
from fenxiang_sync.source.codes import READ_CODES, error_for


@pytest.mark.parametrize("code", [0, "0"])
def test_zero_is_a_success_also_as_text(code: Any) -> None:
    assert error_for("/x", {"errorCode": code}) is None


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (-1, TransientError),
        ("-1", TransientError),
        (-2, TransientError),
        (50009, TransientError),
        (30004, ThrottledError),
        (14001, ThrottledError),
        (20016, TokenError),
        (20005, TokenError),
        (30002, QuotaError),
        (30003, QuotaError),
        (10013, RefusedError),
        (201112011, RefusedError),
        (987654, RefusedError),
        ("E_BUSY", RefusedError),
        ("²", RefusedError),
        (True, RefusedError),
        (False, RefusedError),
        (0.0, RefusedError),
        ([], RefusedError),
        (None, AnswerLostError),
    ],
)
def test_each_code_means_one_class_and_an_unknown_one_is_refused(code: Any, kind: type[Exception]) -> None:
    assert type(error_for("/x", {"errorCode": code})) is kind


def test_an_answer_without_a_code_is_no_success() -> None:
    assert isinstance(error_for("/x", {"data": {"dataList": []}}), TransientError)


def test_the_text_has_path_code_message_and_trace_id() -> None:
    answer = {"errorCode": 77, "errorMessage": "参数错误", "errorDescription": "limit 不能超过100", "traceId": "E-O.1"}
    text = str(error_for("/cgi/crm/v2/data/query", answer))
    for part in ("/cgi/crm/v2/data/query", "77", "参数错误", "limit 不能超过100", "E-O.1"):
        assert part in text


def test_an_endless_message_is_cut() -> None:
    assert len(str(error_for("/x", {"errorCode": 77, "errorMessage": "x" * 100_000}))) < 500


def test_the_table_can_be_changed() -> None:
    codes = {**READ_CODES, 50009: RefusedError, 77: TransientError}
    assert type(error_for("/x", {"errorCode": 50009}, codes)) is RefusedError
    assert type(error_for("/x", {"errorCode": 77}, codes)) is TransientError

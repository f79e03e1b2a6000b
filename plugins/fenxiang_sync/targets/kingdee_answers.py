"""What Kingdee answers: ``Result.ResponseStatus`` with its errors and successes by place, and the rows of a query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from fenxiang_sync.rows import Row
from fenxiang_sync.targets.protocol import Answer, Delivery
from fenxiang_sync.targets.results import DELIVERED, UNTOLD, Answers, look, told


@dataclass(frozen=True)
class ByDIndex:
    """``SuccessEntitys`` and ``Errors`` name their row by its place, ``DIndex``. A success tells ``Id`` and
    ``Number``."""

    tells: ClassVar[Mapping[str, str]] = {"Id": "Id", "Number": "Number"}

    def read(self, payload: Any, rows: Sequence[Row]) -> Answers:
        status = status_of(payload)
        answers = [UNTOLD] * len(rows)
        if status.get("IsSuccess") is True:
            answers = [DELIVERED] * len(rows)
        for entry in entries_of(status, "SuccessEntitys"):
            _at(answers, entry, Answer(delivery=Delivery.DELIVERED, told=told(entry, self.tells)))
        for place, reason in refusals_of(status).items():
            if place < len(answers):
                answers[place] = Answer(delivery=Delivery.REFUSED, reason=reason)
        return answers


def rows_of(payload: Any) -> list[list[Any]] | None:
    """The rows of a query; None where it is no such answer. An error comes as a row of one object."""
    if not isinstance(payload, list) or any(not isinstance(row, list) or len(row) < 3 for row in payload):
        return None
    return payload


def status_of(payload: Any) -> Mapping[str, Any]:
    while isinstance(payload, list) and payload:
        payload = payload[0]
    status = look(payload, "Result.ResponseStatus")
    return status if isinstance(status, dict) else {}


def entries_of(status: Mapping[str, Any], name: str) -> list[Any]:
    entries = status.get(name)
    return entries if isinstance(entries, list) else []


def refusals_of(status: Mapping[str, Any]) -> dict[int, str]:
    """The messages for each place that errors name; none where one of them names no place: it is about all."""
    said: dict[int, list[str]] = {}
    for entry in entries_of(status, "Errors"):
        place = look(entry, "DIndex")
        if not isinstance(place, int) or place < 0:
            return {}
        where = look(entry, "FieldName")
        said.setdefault(place, []).append(
            f"{where}: {look(entry, 'Message')}" if where else str(look(entry, "Message"))
        )
    return {place: "; ".join(reasons) for place, reasons in said.items()}


def _at(answers: list[Answer], entry: Any, answer: Answer) -> None:
    place = look(entry, "DIndex")
    if isinstance(place, int) and 0 <= place < len(answers):
        answers[place] = answer

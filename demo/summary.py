"""What the runs of the demo report, as a table for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from zoneinfo import ZoneInfo

from fenxiang_sync.hub import DeadLetter

ZONE = ZoneInfo("Asia/Shanghai")
HEADINGS = ("pipeline", f"window ({ZONE})", "read", "delivered", "unchanged", "filtered", "dead letters", "seconds")
FIRST_NUMBER = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The numbers of one run: records, as its task `verify` returned them, and seconds from start to end."""

    pipeline: str
    since: datetime
    until: datetime
    read: int
    delivered: int
    unchanged: int
    filtered: int
    dead_letters: int
    seconds: float

    @classmethod
    def of(cls, run: Mapping[str, Any], numbers: Mapping[str, Any]) -> Self:
        """`run` as the REST API gives it, `numbers` as `verify` returned them."""
        took = datetime.fromisoformat(run["end_date"]) - datetime.fromisoformat(run["start_date"])
        return cls(
            pipeline=run["dag_id"],
            since=datetime.fromisoformat(numbers["window"]["since"]),
            until=datetime.fromisoformat(numbers["window"]["until"]),
            read=numbers["read"],
            delivered=numbers["delivered"],
            unchanged=numbers["unchanged"],
            filtered=numbers["filtered"],
            dead_letters=numbers["dead_letters"],
            seconds=took.total_seconds(),
        )

    def cells(self) -> tuple[str, ...]:
        counts = (self.read, self.delivered, self.unchanged, self.filtered, self.dead_letters)
        window = f"{_minute(self.since)} … {_minute(self.until)}"
        return (self.pipeline, window, *(f"{count:,}" for count in counts), f"{self.seconds:.1f}")


def table(results: Sequence[Result]) -> str:
    """One line per pipeline under a heading, numbers to the right."""
    rows = [HEADINGS, *(result.cells() for result in results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [_line(row, widths) for row in rows]
    return "\n".join([lines[0], "  ".join("─" * width for width in widths), *lines[1:]])


def verdict(results: Sequence[Result]) -> str:
    """What became of everything that was read, in one or two sentences."""
    delivered = sum(result.delivered for result in results)
    dead_letters = sum(result.dead_letters for result in results)
    if delivered:
        said = f"{delivered:,} records were delivered, and verified against the CRM: none is missing."
    else:
        said = "Nothing changed: every record is at its target already, so nothing was sent again."
    if dead_letters:
        said += f"\n{dead_letters:,} fit no row of their target and wait as dead letters:"
    return said


def letter_lines(letters: Iterable[DeadLetter]) -> list[str]:
    """One line per dead letter: which record it is, and why it waits."""
    return [f"  {letter.pipeline} {letter.record_id}  {letter.reason}" for letter in letters]


def target_lines(report: Mapping[str, Any]) -> list[str]:
    """One line per simulated target: how many rows it took; `report` is the simulator's own, so not our count."""
    schemes = report["qeasy"]["schemes"]
    lines = [f"  Qeasy (轻易云) scheme {name}: {scheme['rows']:,} rows" for name, scheme in schemes.items()]
    if written := report["write"]["rows"]:
        lines.append(f"  POST /write: {written:,} rows")
    return lines or ["  nothing"]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.ljust(width) if column < FIRST_NUMBER else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def _minute(moment: datetime) -> str:
    return moment.astimezone(ZONE).strftime("%Y-%m-%d %H:%M")

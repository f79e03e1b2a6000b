"""What the demo says of its runs."""

from __future__ import annotations

from datetime import UTC, datetime

from demo.summary import Result, letter_lines, table, target_lines, verdict
from fenxiang_sync.hub import DeadLetter


def result(pipeline: str = "warehouse", **numbers: int) -> Result:
    counts = {"read": 0, "delivered": 0, "unchanged": 0, "filtered": 0, "dead_letters": 0, **numbers}
    since, until = datetime(2025, 12, 31, 16, tzinfo=UTC), datetime(2026, 11, 22, 22, 40, tzinfo=UTC)
    return Result(pipeline=pipeline, since=since, until=until, seconds=6.25, **counts)


def test_a_result_takes_the_numbers_of_verify_and_the_seconds_of_the_run() -> None:
    run = {"dag_id": "account", "start_date": "2026-11-22T10:00:00Z", "end_date": "2026-11-22T10:00:07.500000Z"}
    numbers = {
        "window": {"since": "2026-01-01T00:00:00+00:00", "until": "2026-11-22T10:00:00+00:00"},
        "read": 5, "delivered": 3, "unchanged": 1, "stale": 0, "filtered": 1, "in_doubt": 0, "dead_letters": 0,
        "requests": 9, "seconds": 2.0,
    }  # fmt: skip

    made = Result.of(run, numbers)

    assert (made.pipeline, made.read, made.delivered, made.unchanged, made.filtered) == ("account", 5, 3, 1, 1)
    assert made.seconds == 7.5
    assert made.since == datetime(2026, 1, 1, tzinfo=UTC)


def test_the_table_has_one_aligned_line_per_pipeline_in_shanghai_time() -> None:
    results = [result(read=1200, delivered=1198, dead_letters=2), result("inventory_report", read=9, unchanged=9)]

    assert table(results).splitlines() == [
        "pipeline          window (Asia/Shanghai)                read  delivered  unchanged  filtered  dead letters"
        "  seconds",
        "────────────────  ───────────────────────────────────  ─────  ─────────  ─────────  ────────  ────────────"
        "  ───────",
        "warehouse         2026-01-01 00:00 … 2026-11-23 06:40  1,200      1,198          0         0             2"
        "      6.2",
        "inventory_report  2026-01-01 00:00 … 2026-11-23 06:40      9          0          9         0             0"
        "      6.2",
    ]


def test_the_verdict_of_a_first_run_counts_what_was_delivered() -> None:
    assert verdict([result(read=10, delivered=10), result(read=5, delivered=5)]).startswith("15 records were delivered")


def test_the_verdict_of_a_second_run_says_that_nothing_changed() -> None:
    assert verdict([result(read=10, unchanged=10), result(read=5, unchanged=5)]).startswith("Nothing changed")


def test_the_verdict_never_hides_a_dead_letter() -> None:
    assert "2 fit no row" in verdict([result(read=10, delivered=8, dead_letters=2)])
    assert "2 fit no row" in verdict([result(read=10, unchanged=8, dead_letters=2)])


def test_a_dead_letter_is_told_with_its_record_and_its_reason() -> None:
    letter = DeadLetter(
        pipeline="warehouse",
        run="r",
        stage="transform",
        error="RecordError",
        reason="id ← warehouseId: …",
        record_id="67b",
    )

    assert letter_lines([letter]) == ["  warehouse 67b  id ← warehouseId: …"]


def test_the_rows_are_those_that_the_targets_counted() -> None:
    report = {"qeasy": {"schemes": {"customers": {"rows": 1200}}}, "write": {"rows": 57}}

    assert target_lines(report) == ["  Qeasy (轻易云) scheme customers: 1,200 rows", "  POST /write: 57 rows"]
    assert target_lines({"qeasy": {"schemes": {}}, "write": {"rows": 0}}) == ["  nothing"]

"""Rows a second into a table through SqlTable, beside the plain driver doing the same upsert.

Run: ``python -m benchmarks targets [ROWS]``. Six-column rows in batches of 1,000, a transaction each, first into an
empty table, then all of them again with newer content. The plain driver is given finished tuples and the fastest way it
has: psycopg COPY into a temporary table and INSERT … ON CONFLICT, PyMySQL executemany with ON DUPLICATE KEY UPDATE,
sqlite3 executemany with ON CONFLICT; no guard, no bookkeeping, no checks, no isolation. Both write to the same server
in the same run, so the ratio says what SqlTable costs; rates depend on the machine.
"""

from __future__ import annotations

import gc
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest

from fenxiang_sync import Field, Pipeline, Source, SqlTable, decimal, instant, integer, text
from fenxiang_sync.rows import Row
from fenxiang_sync.targets.protocol import Delivery, Sender
from tests.sql_fixtures import Place, place

ROWS = 100_000
BATCH = 1_000

FIELDS = [
    Field("_id", convert=text),
    Field("name", convert=text),
    Field("amount", "money.amount", convert=decimal(scale=2)),
    Field("stock", convert=integer),
    Field("city", convert=text),
    Field("changed", convert=instant()),
]
COLUMNS = ("_id", "name", "money_amount", "stock", "city", "changed")


@dataclass(frozen=True)
class Plain:
    """The plain driver: makes its table, and upserts one batch of tuples."""

    make: str
    upsert: Callable[[Any, list[tuple[Any, ...]]], None]
    connect: Callable[[Place], Any]


def rows(count: int, modified_ms: int) -> list[Row]:
    return [
        Row(
            id=f"65aa{number:020x}",
            source_id=f"65aa{number:020x}",
            number=f"WH{number}",
            modified_ms=modified_ms,
            version=1,
            content={
                "_id": f"65aa{number:020x}",
                "name": f"主仓库 Main Warehouse {number}",
                "money": {"amount": Decimal(number * 100 + modified_ms) / 100},
                "stock": number,
                "city": "深圳",
                "changed": "2026-10-01T12:00:00.123+00:00",
            },
            hash=f"{number + modified_ms:032x}",
        )
        for number in range(count)
    ]


def tuples(batch: list[Row], zone: str) -> list[tuple[Any, ...]]:
    return [
        (
            row.id, row.content["name"], str(row.content["money"]["amount"]), row.content["stock"],
            row.content["city"], row.content["changed"].removesuffix(zone),
        )
        for row in batch
    ]  # fmt: skip


def with_psycopg(connection: Any, batch: list[tuple[Any, ...]]) -> None:
    changes = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[1:])
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE incoming (LIKE plain) ON COMMIT DROP")
        with cursor.copy("COPY incoming FROM STDIN") as copy:
            for row in batch:
                copy.write_row(row)
        cursor.execute(f"INSERT INTO plain SELECT * FROM incoming ON CONFLICT (_id) DO UPDATE SET {changes}")


def with_pymysql(connection: Any, batch: list[tuple[Any, ...]]) -> None:
    changes = ", ".join(f"{name} = VALUES({name})" for name in COLUMNS[1:])
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO plain VALUES (%s, %s, %s, %s, %s, %s) ON DUPLICATE KEY UPDATE {changes}", batch
        )
    connection.commit()


def with_sqlite3(connection: Any, batch: list[tuple[Any, ...]]) -> None:
    changes = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[1:])
    with connection:
        connection.executemany(
            f"INSERT INTO plain VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (_id) DO UPDATE SET {changes}", batch
        )


PLAIN = {
    "postgresql": Plain(
        "CREATE TABLE plain (_id text PRIMARY KEY, name text, money_amount numeric(38, 2), stock bigint, city text, "
        "changed timestamptz)",
        with_psycopg,
        lambda where: psycopg.connect(where.plain_dsn, autocommit=True),
    ),
    "mysql": Plain(
        "CREATE TABLE plain (_id varchar(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PRIMARY KEY, name longtext, "
        "money_amount decimal(38, 2), stock bigint, city longtext, changed datetime(6))",
        with_pymysql,
        lambda where: pymysql.connect(**where.plain_words),
    ),
    "sqlite": Plain(
        "CREATE TABLE plain (_id text PRIMARY KEY, name text, money_amount text, stock integer, city text, "
        "changed text)",
        with_sqlite3,
        lambda where: sqlite3.connect(where.url.database or ""),
    ),
}


@contextmanager
def plainly(kind: str, where: Place) -> Iterator[Callable[[list[Row]], None]]:
    """Upserts a batch of rows with the plain driver."""
    plain = PLAIN[kind]
    connection = plain.connect(where)
    cursor = connection.cursor()
    cursor.execute(plain.make)
    connection.commit()
    zone = "+00:00" if kind == "mysql" else ""
    try:
        yield lambda batch: plain.upsert(connection, tuples(batch, zone))
    finally:
        connection.close()


def through(sender: Sender, batch: list[Row]) -> None:
    answers = sender.send(batch)
    assert all(answer.delivery is Delivery.DELIVERED for answer in answers), answers[0]


def seconds(ways: Sequence[Callable[[list[Row]], None]], all_rows: list[Row]) -> list[float]:
    """What each way takes for all rows: batch by batch in turns, so that other work on the machine slows both."""
    spent = [0.0] * len(ways)
    gc.collect()
    for start in range(0, len(all_rows), BATCH):
        batch = all_rows[start : start + BATCH]
        for at, send in enumerate(ways):
            started = time.perf_counter()
            send(batch)
            spent[at] += time.perf_counter() - started
    return spent


def measure(kind: str, count: int) -> None:
    with tempfile.TemporaryDirectory() as folder, place(kind, Path(folder)) as where, plainly(kind, where) as plain:
        target = Pipeline(
            name="bench",
            source=Source(object="AccountObj"),
            fields=FIELDS,
            target=SqlTable(connection="w", table="ours"),
        ).target
        print(f"\n{kind}, {count:,} rows in batches of {BATCH:,}: rows a second, and the ratio of the times")
        with target.open(where.reach) as sender:
            for name, modified_ms in (("insert", 1), ("update", 2)):
                all_rows = rows(count, modified_ms)
                driver, ours = seconds([plain, partial(through, sender)], all_rows)
                print(
                    f"  {name}  SqlTable {count / ours:>9,.0f}   driver {count / driver:>9,.0f}   {ours / driver:.2f}"
                )


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    for kind in PLAIN:
        try:
            measure(kind, count)
        except pytest.skip.Exception as skipped:
            print(f"\n{kind}: {skipped}")


if __name__ == "__main__":
    main()

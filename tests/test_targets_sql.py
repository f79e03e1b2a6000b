"""SqlTable against real databases: what was sent is stored, the newest version stands, a bad row stands alone."""

from __future__ import annotations

import itertools
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from fenxiang_sync.columns import Column, Kind
from fenxiang_sync.errors import DeclarationError, SetupError, TransientError
from fenxiang_sync.rows import DeletePolicy, Row
from fenxiang_sync.targets.protocol import Answer, Checking, Delivery, Fitting, Holder, Removal, Remover, Target
from fenxiang_sync.targets.sql import Numeric, SqlTable, Varchar
from fenxiang_sync.targets.sql.dialects import offline
from fenxiang_sync.targets.sql.mysql import MySQL
from tests.sql_fixtures import COLUMNS, DATABASES, DRIVERS, MARIADB, PSYCOPG2, Place, place, row, table

D, R, S, AGAIN = Delivery.DELIVERED, Delivery.REFUSED, Delivery.STALE, Delivery.AGAIN
SHARED = settings(max_examples=15)


@pytest.fixture(params=DATABASES)
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with place(request.param, tmp_path) as made:
        yield made


def send(target: SqlTable, where: Place, rows: Sequence[Row]) -> list[Delivery]:
    return [answer.delivery for answer in answers(target, where, rows)]


def answers(target: SqlTable, where: Place, rows: Sequence[Row]) -> Sequence[Answer]:
    with target.open(where.reach) as sender:
        return sender.send(rows)


def held(where: Place, *columns: str, of: str = "account") -> list[tuple[Any, ...]]:
    return where.ask(f"SELECT {', '.join(columns)} FROM {of} ORDER BY 1")


def removal(row_id: str, modified_ms: int = 1, version: int = 1) -> Removal:
    return Removal(
        id=row_id, source_id="", number=None, modified_ms=modified_ms, version=version, content={}, why="voided"
    )


def remove(target: SqlTable, where: Place, policy: DeletePolicy, *removals: Removal) -> list[Delivery]:
    with target.open(where.reach) as sender:
        assert isinstance(sender, Remover)
        return [answer.delivery for answer in sender.remove(removals, policy=policy)]


def count(target: SqlTable, where: Place) -> int:
    with target.open(where.reach) as sender:
        return int(sender.count())  # type: ignore[attr-defined]


def holds(target: SqlTable, where: Place, rows: Sequence[Row]) -> list[bool | None]:
    with target.open(where.reach) as sender:
        assert isinstance(sender, Holder)
        assert sender.sample is None
        return list(sender.holds(rows, since=0.0))


class TestDeclaring:
    def test_it_is_a_target_that_fits_and_can_be_checked(self) -> None:
        target = SqlTable(connection="warehouse", table="crm.account")
        assert isinstance(target, Target)
        assert isinstance(target, Fitting)
        assert isinstance(target, Checking)
        assert target.describe() == "SQL table crm.account (connection warehouse)"
        assert target.connections == ("warehouse",)

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ({"table": "a.b.c"}, "give 'table' or 'schema.table'; a name with dots needs schema="),
            ({"table": ""}, "table='': give a name"),
            ({"table": "crm."}, "give 'table' or 'schema.table'"),
            ({"connection": ""}, "connection='': give a name"),
            ({"batch_rows": 0}, "batch_rows=0: give a number from 1 to 10000"),
            ({"key_length": 1_000}, "key_length=1000: give a number from 1 to 768"),
            ({"create": "yes"}, "create='yes': give True or False"),
            ({"types": {"amount": "NUMERIC(18, 2)"}}, 'as in {"amount": Numeric(18, 2)}'),
            ({"columns": ["amount"]}, 'as in {"money.amount": "amount"}'),
            ({"columns": {"name": "a\0b"}}, "give a name"),
            ({"own": "north"}, "own='north': give a dict of columns and texts or whole numbers"),
            ({"own": {"tenant": None}}, 'as in {"tenant": "north"}'),
        ],
    )
    def test_what_cannot_be_meant_is_told_when_it_is_built(self, words: dict[str, Any], said: str) -> None:
        with pytest.raises(DeclarationError) as raised:
            SqlTable(**{"connection": "warehouse", "table": "account", **words})
        assert said in str(raised.value)

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ({"columns": {"money.amont": "amount"}}, "did you mean 'money.amount'?"),
            ({"columns": {"name": "COUNT"}}, "the column 'count' would hold the path 'name' and the path 'count'"),
            ({"columns": {"name": "fx_version"}}, "'fx_version' would hold the path 'name' and the bookkeeping"),
            ({"types": {"amount": Numeric(18, 2)}}, "did you mean 'money_amount'?"),
            ({"own": {"nam": "x"}}, "own names 'nam', which is not a column of the pipeline; did you mean 'name'?"),
            ({"own": {"name": 5}}, "own: 'name' is text, and 5 is not"),
            ({"own": {"count": "5"}}, "own: 'count' is integer, and '5' is not"),
            (
                {"types": {"name": Numeric(18, 2)}},
                "'name' is text, and Numeric(precision=18, scale=2) is for decimal()",
            ),
            ({"types": {"count": Varchar(10)}}, "'count' is integer, and Varchar(length=10) is for text"),
            ({"types": {"money_amount": Numeric(18, 1)}}, "has 2 decimals, and Numeric(precision=18, scale=1) holds 1"),
        ],
    )
    def test_what_does_not_fit_the_columns_is_told_by_the_pipeline(self, words: dict[str, Any], said: str) -> None:
        with pytest.raises(DeclarationError) as raised:
            table(**words)
        assert said in str(raised.value)

    @pytest.mark.parametrize(("precision", "scale"), [(0, 0), (66, 2), (10, 11), (10, -1), ("18", 2)])
    def test_a_number_of_no_digits_or_of_too_many_is_refused(self, precision: Any, scale: Any) -> None:
        with pytest.raises(DeclarationError):
            Numeric(precision, scale)

    def test_one_that_no_pipeline_has_fitted_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(DeclarationError, match="has no columns yet"):
            SqlTable(connection="warehouse", table="account").ddl("sqlite")

    def test_a_name_that_the_database_would_cut_is_refused(self) -> None:
        with place("postgresql", Path()) as where, pytest.raises(SetupError, match="longer than the 63 bytes"):
            send(table("客" * 22), where, [])

    def test_mysql_names_the_new_row_and_mariadb_calls_it_by_a_function(self) -> None:
        form = table()._layout().form
        ends = {}
        for name in ("mysql", "mariadb"):
            dialect = offline(name)
            assert isinstance(dialect, MySQL)
            ends[name] = dialect.upsert("`account`", form)[2]
        assert ends["mysql"].startswith(" AS incoming ON DUPLICATE KEY UPDATE ")
        assert "VALUES(" not in ends["mysql"]
        assert "incoming" not in ends["mariadb"]
        assert ends["mysql"].replace(" AS incoming", "").count("incoming.") == ends["mariadb"].count("VALUES(")


KINDS = (
    Column(path="_id", kind=Kind.JSON),
    Column(path="text", kind=Kind.TEXT),
    Column(path="whole", kind=Kind.INTEGER),
    Column(path="money", kind=Kind.DECIMAL, scale=2),
    Column(path="rate", kind=Kind.DECIMAL, scale=10),
    Column(path="exact", kind=Kind.DECIMAL),
    Column(path="yes", kind=Kind.BOOLEAN),
    Column(path="at", kind=Kind.INSTANT),
    Column(path="day", kind=Kind.DAY),
    Column(path="list", kind=Kind.JSON),
)
FULL = {
    "text": "深圳永安\t能源\\N\n'; DROP TABLE account; -- 😀 %s %(a)s ?",
    "whole": -(2**63),
    "money": Decimal("99999999999999999999.99"),
    "rate": Decimal("0.0000000001"),
    "exact": Decimal("12345678901234567890.123456789012345678901234567890"),
    "yes": True,
    "at": "2026-01-10T20:39:05.978001+08:00",
    "day": "2026-02-28",
    "list": {"标签": ["a\\", 'b"', None, True], "amount": Decimal("0.10"), "大": 2**60},
}


class TestTypes:
    @pytest.mark.parametrize("kind", DRIVERS)
    def test_every_value_is_there_exactly(self, kind: str, tmp_path: Path) -> None:
        with place(kind, tmp_path) as where:
            target = table("account", *KINDS)
            long = "很长的文字" * 200_000
            assert send(target, where, [row("full", **FULL), row("long", **{**FULL, "text": long})]) == [D, D]
            (found,) = where.ask("SELECT * FROM account WHERE _id = 'full'")
            _, text_, whole, money, rate, exact, yes, at, day, listed, *_ = found
            assert (text_, whole, bool(yes)) == (FULL["text"], FULL["whole"], True)
            assert [Decimal(money), Decimal(rate), Decimal(exact)] == [FULL["money"], FULL["rate"], FULL["exact"]]
            assert str(money) == "99999999999999999999.99"
            moment = datetime.fromisoformat(at) if isinstance(at, str) else at
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
            assert moment == datetime.fromisoformat(FULL["at"])
            assert day in (date(2026, 2, 28), "2026-02-28")
            as_text = "list::text" if where.kind == "postgresql" else "list"
            assert '"amount":0.10' in where.ask(f"SELECT {as_text} FROM account")[0][0].replace(": ", ":")
            assert listed if isinstance(listed, str) else listed["标签"] == ["a\\", 'b"', None, True]
            assert where.ask("SELECT text FROM account WHERE _id = 'long'") == [(long,)]

    def test_what_was_emptied_is_null(self, where: Place) -> None:
        target = table("account", *KINDS)
        empty = dict.fromkeys(FULL)
        assert send(target, where, [row("a", **FULL)]) == [D]
        assert send(target, where, [row("a", 2, **empty), row("b", **empty)]) == [D, D]
        names = [column.path for column in KINDS[1:]]
        assert held(where, *names) == [(None,) * len(names)] * 2

    def test_false_zero_and_empty_text_are_not_null(self, where: Place) -> None:
        target = table("account", *KINDS)
        assert send(target, where, [row("a", **{**FULL, "text": "", "whole": 0, "money": 0, "yes": False})]) == [D]
        ((text_, whole, money, yes),) = held(where, "text", "whole", "money", "yes")
        assert (text_, whole, Decimal(money), bool(yes)) == ("", 0, 0, False)
        assert None not in (whole, money, yes)

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ({"text": 5}, "column 'text': 5 is no text"),
            ({"text": "\ud800"}, "column 'text': 'utf-8' codec can't encode"),
            ({"whole": "12"}, "column 'whole': '12' is no whole number"),
            ({"whole": 2**63}, "does not fit in 64 bits"),
            ({"whole": True}, "column 'whole': True is no whole number"),
            ({"money": "1.00"}, "column 'money': '1.00' is no number"),
            ({"money": Decimal("0.125")}, "column 'money': 0.125 has more than the 2 decimals of the column"),
            ({"yes": 1}, "column 'yes': 1 is not true or false"),
            ({"at": "2026-01-10T20:39:05"}, "has no offset, so it could be meant anywhere"),
            ({"at": "gestern", "day": "2026-02-30"}, "'gestern' is no moment; column 'day': '2026-02-30' is no day"),
        ],
    )
    def test_a_value_that_is_of_another_kind_is_refused_by_column_and_value(
        self, content: dict[str, Any], said: str, where: Place
    ) -> None:
        found = answers(table("account", *KINDS), where, [row("a", **FULL), row("b", **{**FULL, **content})])
        assert [answer.delivery for answer in found] == [D, R]
        assert said in found[1].reason

    def test_money_that_the_column_would_round_is_refused(self, where: Place) -> None:
        target = table("account", *KINDS, types={"exact": Numeric(6, 2), "text": Varchar(3)})
        fitting = {**FULL, "text": "客户😀", "exact": Decimal("9999.9900")}
        found = answers(
            target,
            where,
            [
                row("a", **fitting),
                row("b", **{**fitting, "exact": Decimal("0.001")}),
                row("c", **{**fitting, "exact": 10**4}),
            ],
        )
        if where.kind == "sqlite":  # its columns hold any number of digits
            assert [answer.delivery for answer in found] == [D, D, D]
            return
        assert [answer.delivery for answer in found] == [D, R, R]
        assert "more than the 2 decimals" in found[1].reason
        assert "more than the 4 digits of the column before the point" in found[2].reason
        (longer,) = answers(target, where, [row("d", **{**fitting, "text": "四个字母"})])
        assert longer.reason == "column 'text': it has 4 characters, and the column holds 3"

    def test_a_whole_number_may_be_the_id(self, where: Place) -> None:
        target = table("account", Column(path="_id", kind=Kind.INTEGER), Column(path="name", kind=Kind.TEXT))
        rows = [row(str(number), name="x") for number in (10, 9, 2**62)]
        assert send(target, where, rows) == [D, D, D]
        assert holds(target, where, [*rows, row("7", name="x")]) == [True, True, True, False]
        assert remove(target, where, DeletePolicy.DELETE, removal("9")) == [D]
        assert held(where, "_id") == [(10,), (2**62,)]

    def test_ids_that_differ_in_case_or_blanks_are_two(self, where: Place) -> None:
        ids = ["a", "A", "a ", "á"]
        assert send(table(), where, [row(each) for each in ids]) == [D] * 4
        assert sorted(each for (each,) in held(where, "_id")) == sorted(ids)


STAMPS = st.lists(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(0, 2)), min_size=1, max_size=8),
    min_size=1,
    max_size=5,
)


class TestGuard:
    @pytest.mark.parametrize("kind", DRIVERS)
    def test_whatever_the_order_the_newest_version_stands(self, kind: str, tmp_path: Path) -> None:
        with place(kind, tmp_path) as where, table().open(where.reach) as sender:

            @SHARED
            @given(batches=STAMPS)
            def check(batches: list[list[tuple[int, int, int]]]) -> None:
                prefix = uuid.uuid4().hex
                newest: dict[str, tuple[int, int]] = {}
                for batch in batches:
                    rows = [row(f"{prefix}-{number}", at, version) for number, at, version in batch]
                    assert {answer.delivery for answer in sender.send(rows)} <= {D, S}
                    for each in rows:
                        newest[each.id] = max(newest.get(each.id, (0, 0)), (each.modified_ms, each.version))
                with where.engine.connect() as connection:
                    found = connection.execute(
                        text("SELECT _id, fx_modified_ms, fx_version, count FROM account WHERE _id LIKE :like"),
                        {"like": f"{prefix}%"},
                    ).all()
                assert {each[0]: (each[1], each[2]) for each in found} == newest
                assert all(each[1] == each[3] for each in found), "a column of another version than its stamp"

            check()

    def test_an_older_version_is_stale_and_an_equal_one_is_taken(self, where: Place) -> None:
        target = table()
        assert send(target, where, [row("a", 5, 2)]) == [D]
        assert send(target, where, [row("a", 5, 1)]) == [S]
        assert send(target, where, [row("a", 4, 9)]) == [S]
        assert send(target, where, [row("a", 5, 2, name="again", money={"amount": None}, count=0)]) == [D]
        assert send(target, where, [row("a", 6, 1), row("a", 7, 1), row("a", 5, 9), row("b")]) == [S, D, S, D]
        assert held(where, "_id", "fx_modified_ms", "fx_version", "count") == [("a", 7, 1, 7), ("b", 1, 1, 1)]

    def test_rows_that_somebody_else_put_there_are_older(self, where: Place) -> None:
        target = table()
        where.run(
            "CREATE TABLE account (_id VARCHAR(64)"
            + (" COLLATE utf8mb4_bin" if where.kind == "mysql" else "")
            + " PRIMARY KEY, name TEXT)",
            "INSERT INTO account VALUES ('a', 'by hand'), ('b', 'by hand')",
        )
        assert send(target, where, [row("a", -5, 0)]) == [D]
        assert held(where, "name", "fx_modified_ms") == [("by hand", None), ("name of a", -5)]
        assert remove(target, where, DeletePolicy.FLAG, removal("b")) == [D]
        assert count(target, where) == 1

    def test_a_shared_table_is_counted_for_the_rows_of_each_pipeline_alone(self, where: Place) -> None:
        columns = (Column(path="_id", kind=Kind.TEXT), Column(path="tenant", kind=Kind.TEXT))
        north, south = (table("account", *columns, own={"tenant": each}) for each in ("north", "south"))
        send(north, where, [row("north-1", tenant="north"), row("north-2", tenant="north")])
        send(south, where, [row("south-1", tenant="south")])
        assert remove(north, where, DeletePolicy.FLAG, removal("north-1")) == [D]
        assert [count(each, where) for each in (north, south, table("account", *columns))] == [1, 1, 2]

    def test_loads_at_the_same_time_do_not_stand_in_each_others_way(self, where: Place) -> None:
        target, ids = table(), [f"r{number:03}" for number in range(60)]
        send(target, where, [])

        def load(seed: int) -> set[Delivery]:
            chance = random.Random(seed)
            told: set[Delivery] = set()
            with target.open(where.reach) as sender:
                for _ in range(12):
                    rows = [row(each, chance.randrange(50), seed) for each in chance.sample(ids, 40)]
                    sent.extend(rows)
                    told.update(answer.delivery for answer in sender.send(rows))
            return told

        sent: list[Row] = []
        with ThreadPoolExecutor(3) as pool:
            assert set().union(*pool.map(load, range(3))) <= {D, S}
        newest: dict[str, tuple[int, int]] = {}
        for each in sent:
            newest[each.id] = max(newest.get(each.id, (0, 0)), (each.modified_ms, each.version))
        assert {key: (at, version) for key, at, version in held(where, "_id", "fx_modified_ms", "fx_version")} == newest


class TestIsolation:
    @pytest.mark.parametrize("kind", DATABASES)
    def test_bad_rows_anywhere_are_refused_alone(self, kind: str, tmp_path: Path) -> None:
        with place(kind, tmp_path) as where:
            send(table(), where, [])
            where.run("DROP TABLE account", checked(where))
            with table().open(where.reach) as sender:

                @SHARED
                @given(bad=st.sets(st.integers(0, 16)))
                def check(bad: set[int]) -> None:
                    prefix = uuid.uuid4().hex
                    rows = [
                        row(f"{prefix}-{number:02}", count=-1 if number in bad else 1, name="x", money={"amount": 1})
                        for number in range(17)
                    ]
                    told = sender.send(rows)
                    assert [answer.delivery for answer in told] == [R if n in bad else D for n in range(17)]
                    assert all("not_negative" in told[n].reason for n in bad), told
                    found = where.ask("SELECT _id FROM account WHERE _id LIKE :like", like=f"{prefix}%")
                    assert {each for (each,) in found} == {rows[n].id for n in range(17) if n not in bad}

                check()

    @pytest.mark.parametrize("kind", [PSYCOPG2, "postgresql+psycopg"])
    @pytest.mark.postgres
    def test_text_that_postgresql_cannot_store_is_refused_alone(self, kind: str, tmp_path: Path) -> None:
        columns = (*COLUMNS, Column(path="list", kind=Kind.JSON))
        plain = {"name": "x", "money": {"amount": 1}, "count": 1, "list": None}
        with place(kind, tmp_path) as where:
            found = answers(
                table("account", *columns),
                where,
                [row("a", **plain), row("b", **{**plain, "name": "a\0b"}), row("c", **{**plain, "list": ["a\0b"]})],
            )
            assert [answer.delivery for answer in found] == [D, R, R]
            assert [answer.code for answer in found] == [None, "22021", "22P05"]

    def test_a_constraint_that_waits_for_the_end_of_the_transaction_names_its_row(self) -> None:
        with place("postgresql", Path()) as where:
            send(table(), where, [])
            where.run(
                "CREATE TABLE names (name text PRIMARY KEY)", "INSERT INTO names VALUES ('good')",
                "ALTER TABLE account ADD FOREIGN KEY (name) REFERENCES names DEFERRABLE INITIALLY DEFERRED",
            )  # fmt: skip
            rows = [row(each, name=name, money={"amount": 1}, count=1) for each, name in (("a", "good"), ("b", "bad"))]
            assert send(table(), where, rows) == [D, R]

    def test_a_unique_value_of_another_row_refuses_the_row_and_leaves_the_other(self, where: Place) -> None:
        target = table(types={"name": Varchar(50)})
        send(target, where, [])
        where.run("CREATE UNIQUE INDEX one_name ON account (name)")
        first, second, third = (row(each, name=each.upper(), money={"amount": 1}, count=1) for each in "abc")
        assert send(target, where, [first, second]) == [D, D]
        thief = row("d", 9, name="A", money={"amount": 66}, count=66)
        renamed = row("b", 9, name="A", money={"amount": 77}, count=77)
        assert send(target, where, [thief, renamed, third]) == [R, R, D]
        assert held(where, "_id", "name", "count") == [("a", "A", 1), ("b", "B", 1), ("c", "C", 1)]

    def test_a_row_larger_than_the_server_takes_is_refused_and_a_batch_larger_is_cut(self) -> None:
        with place("mysql", Path()) as where, table().open(where.reach) as sender:
            packet = where.ask("SELECT @@max_allowed_packet")[0][0]
            huge = row("huge", name="x" * packet, money={"amount": 1}, count=1)
            large = [row(f"r{n}", name="\\" * (packet // 5), money={"amount": 1}, count=1) for n in range(4)]
            told = sender.send([large[0], huge, *large[1:]])
            assert [answer.delivery for answer in told] == [D, R, D, D, D]
            assert "max_allowed_packet" in told[1].reason
            assert where.ask("SELECT COUNT(*), MIN(LENGTH(name)) FROM account") == [(4, packet // 5)]


def checked(where: Place) -> str:
    """The table as `table()` makes it, with a constraint of the user's own."""
    names = {"sqlite": "sqlite", "postgresql": "postgresql", "mysql": "mariadb"}
    made = table().ddl(names[where.kind])
    head, _, tail = made.rpartition("PRIMARY KEY")
    return f"{head}CONSTRAINT not_negative CHECK (count >= 0), PRIMARY KEY{tail}"


class TestRemoving:
    def test_a_flagged_row_stays_with_its_time_and_is_plain_again_when_it_is_delivered(self, where: Place) -> None:
        target = table()
        send(target, where, [row("a"), row("b")])
        assert remove(target, where, DeletePolicy.FLAG, removal("a"), removal("never")) == [D, D]
        ((since,),) = where.ask("SELECT fx_removed_at FROM account WHERE _id = 'a'")
        assert str(since)[:4] == str(datetime.now(UTC).year)
        assert holds(target, where, [row("a"), row("b")]) == [False, True]
        assert count(target, where) == 1
        assert remove(target, where, DeletePolicy.FLAG, removal("a")) == [D]
        assert where.ask("SELECT fx_removed_at FROM account WHERE _id = 'a'") == [(since,)], "the first time counts"
        assert send(target, where, [row("a")]) == [D]
        assert held(where, "_id", "fx_removed_at") == [("a", None), ("b", None)]

    def test_a_deleted_row_is_gone_and_a_newer_one_is_left(self, where: Place) -> None:
        target = table()
        send(target, where, [row("a", 5), row("b", 5)])
        for policy in (DeletePolicy.FLAG, DeletePolicy.DELETE):
            assert remove(target, where, policy, removal("a", 4)) == [AGAIN]
        assert remove(target, where, DeletePolicy.DELETE, removal("b", 5), removal("a", 9), removal("c")) == [D, D, D]
        assert held(where, "_id") == []

    def test_a_row_that_others_refer_to_is_refused_alone(self) -> None:
        with place("postgresql", Path()) as where:
            target = table()
            send(target, where, [row("a"), row("b"), row("c")])
            where.run("CREATE TABLE other (of text REFERENCES account)", "INSERT INTO other VALUES ('b')")
            gone = [removal(each) for each in "abc"]
            assert remove(target, where, DeletePolicy.DELETE, *gone) == [D, R, D]
            assert held(where, "_id") == [("b",)]

    def test_a_row_is_held_by_its_content_or_where_a_newer_one_is_there(self, where: Place) -> None:
        target = table()
        first, second = (
            row("a", 5, name="one", money={"amount": 1}, count=1),
            row("a", 6, name="two", money={"amount": 1}, count=1),
        )
        send(target, where, [first])
        assert holds(target, where, [first]) == [True]
        assert holds(target, where, [second]) == [False]
        send(target, where, [second])
        assert holds(target, where, [first, second]) == [True, True]


def numbers(where: Place) -> str:
    """A column of exact numbers with two decimals, as an older declaration made it."""
    return "TEXT" if where.kind == "sqlite" else "NUMERIC(38, 2)"


class TestSchema:
    def test_a_new_column_is_added_and_filled_as_rows_come(self, where: Place) -> None:
        send(table(), where, [row("a")])
        wider = table("account", *COLUMNS, Column(path="城市", kind=Kind.TEXT, required=True))
        assert send(wider, where, [row("b", 城市="深圳", name="x", money={"amount": None}, count=1)]) == [D]
        assert held(where, "_id", "城市") == [("a", None), ("b", "深圳")]

    def test_columns_of_others_are_left_alone(self, where: Place) -> None:
        send(table(), where, [row("a")])
        where.run("ALTER TABLE account ADD COLUMN remark VARCHAR(20) DEFAULT 'none' NOT NULL")
        where.run("UPDATE account SET remark = 'mine'")
        assert send(table(), where, [row("a", 2), row("b")]) == [D, D]
        assert held(where, "_id", "remark") == [("a", "mine"), ("b", "none")]

    @pytest.mark.parametrize(
        ("columns", "problem"),
        [
            ("_id {key} PRIMARY KEY, count INTEGER", {"sqlite": None, "": "column 'count' is INTEGER"}),
            ("_id {key} PRIMARY KEY, money_amount NUMERIC(10, 1)", {"": "'money_amount' is"}),
            ("_id {key} PRIMARY KEY, money_amount FLOAT", {"": "a decimal with 2 decimals"}),
            ("_id {key} PRIMARY KEY, name INTEGER", {"": "which does not hold every value of a text"}),
            ("_id {key}", {"": "has no unique index of its own"}),
            ("_id {key}, name VARCHAR(9), PRIMARY KEY (_id, name)", {"": "has no unique index of its own"}),
            ("_id {key} PRIMARY KEY, other VARCHAR(9) NOT NULL", {"": "column 'other' is NOT NULL, has no default"}),
            (
                "_id {key} PRIMARY KEY, name VARCHAR(9) NOT NULL",
                {"": "column 'name' is NOT NULL, and the field may be"},
            ),
        ],
    )
    def test_a_table_that_cannot_take_the_rows_is_refused_with_the_way_out(
        self, columns: str, problem: dict[str, str | None], where: Place
    ) -> None:
        key = "VARCHAR(64) COLLATE utf8mb4_bin" if where.kind == "mysql" else "VARCHAR(64)"
        where.run(f"CREATE TABLE account ({columns.format(key=key)})")
        said = problem.get(where.kind, problem[""])
        if said is None:
            assert send(table(), where, [row("a")]) == [D]
            return
        target = table()
        for ask in (lambda: target.check(where.reach), lambda: send(target, where, [row("a")])):
            with pytest.raises(SetupError) as raised:
                ask()
            if where.kind == "mysql":
                said = said.replace("INTEGER", "INT")
            assert said in str(raised.value).replace("INTEGER(11)", "INT")
            assert "Table account of the" in str(raised.value)

    def test_a_narrower_text_is_the_users_own_choice(self, where: Place) -> None:
        key = "VARCHAR(64) COLLATE utf8mb4_bin" if where.kind == "mysql" else "VARCHAR(64)"
        where.run(f"CREATE TABLE account (_id {key} PRIMARY KEY, name VARCHAR(5))")
        rows = [row(each, name=each, money={"amount": 1}, count=1) for each in ("short", "longer")]
        assert send(table(), where, rows) == [D, D if where.kind == "sqlite" else R]

    def test_ids_of_a_collation_that_ignores_case_would_be_one(self) -> None:
        with place("mysql", Path()) as where:
            where.run("CREATE TABLE account (_id VARCHAR(64) COLLATE utf8mb4_general_ci PRIMARY KEY)")
            with pytest.raises(SetupError, match="ids that differ in case are the same"):
                send(table(), where, [])

    def test_without_create_the_statement_is_told_and_nothing_is_made(self, where: Place) -> None:
        target = table(create=False)
        with pytest.raises(SetupError, match="CREATE TABLE") as raised:
            send(target, where, [])
        _, _, ddl = str(raised.value).partition("\n")
        where.run(ddl)
        assert send(target, where, [row("a")]) == [D]
        wider = table("account", *COLUMNS, Column(path="city", kind=Kind.TEXT), create=False)
        for ask in (lambda: wider.check(where.reach), lambda: send(wider, where, [])):
            with pytest.raises(SetupError, match="lacks the columns 'city'") as raised:
                ask()
        _, _, ddl = str(raised.value).partition("\n")
        where.run(ddl)
        assert send(wider, where, [row("b", city="x", name="x", money={"amount": 1}, count=1)]) == [D]

    def test_checking_makes_nothing(self, where: Place) -> None:
        table().check(where.reach)
        with pytest.raises(Exception, match="account"):
            held(where, "_id")

    def test_tasks_that_make_the_table_at_once_all_find_it(self, where: Place) -> None:
        start = threading.Barrier(4)

        def load(number: int) -> list[Delivery]:
            start.wait()
            return send(table(), where, [row(f"r{number}")])

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(load, range(4))) == [[D]] * 4

        def widen(number: int) -> list[Delivery]:
            start.wait()
            wider = table("account", *COLUMNS, Column(path="city", kind=Kind.TEXT))
            return send(wider, where, [row(f"r{number}", 2, city="x", name="x", money={"amount": 1}, count=1)])

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(widen, range(4))) == [[D]] * 4

    def test_who_may_not_make_it_is_given_the_statement_for_who_may(self) -> None:
        with place("postgresql", Path()) as where:
            role = f"{where.schema}_role"
            where.run(f"CREATE ROLE {role} LOGIN", f"GRANT USAGE ON SCHEMA {where.schema} TO {role}")
            try:
                poor = Place(where.url.set(username=role), schema=where.schema)
                with pytest.raises(SetupError, match="permission denied for schema") as raised:
                    send(table(), poor, [])
                _, _, ddl = str(raised.value).partition("\n")
                where.run(ddl, f"GRANT SELECT, INSERT, UPDATE, DELETE ON account TO {role}")
                assert send(table(), poor, [row("a")]) == [D]
                assert remove(table(), poor, DeletePolicy.DELETE, removal("a")) == [D]
                where.run(f"REVOKE INSERT ON account FROM {role}")
                with pytest.raises(SetupError, match="permission denied for table account"):
                    send(table(), poor, [row("b")])
            finally:
                where.run(f"DROP OWNED BY {role}", f"DROP ROLE {role}")

    @pytest.mark.parametrize("kind", [PSYCOPG2, MARIADB])
    def test_a_schema_is_part_of_the_name(self, kind: str, tmp_path: Path) -> None:
        with place(kind, tmp_path) as where, place(kind, tmp_path) as other:
            assert send(table(f"{other.schema}.account"), where, [row("a")]) == [D]
            assert held(other, "_id") == [("a",)]
            with pytest.raises(SetupError, match="nowhere"):
                send(table("nowhere.account"), where, [row("a")])


NASTY = [
    'a"b',
    "a`b",
    "select",
    "with space",
    "客户 名称",
    "100%s",
    "%(x)s",
    "semi;--",
    "que?stion",
    "back\\slash",
    ":bind",
]


class TestQuoting:
    @pytest.mark.parametrize("kind", DRIVERS)
    def test_any_name_is_a_name(self, kind: str, tmp_path: Path) -> None:
        columns = [Column(path="_id", kind=Kind.TEXT)]
        columns += [Column(path=f"p{at}", kind=Kind.TEXT) for at in range(len(NASTY))]
        names = {"_id": 'the `id"%', **{f"p{at}": name for at, name in enumerate(NASTY)}}
        content = {f"p{at}": f"{name}'); DROP TABLE x; --" for at, name in enumerate(NASTY)}
        with place(kind, tmp_path) as where:
            target = table(
                '客户 "`; DROP %s', *columns[:-1], columns=dict(list(names.items())[:-1]), removed_column='re"mo`ved%'
            )
            assert send(target, where, [row("a'b\"", **content), row("b", **content)]) == [D, D]
            wider = table('客户 "`; DROP %s', *columns, columns=names, removed_column='re"mo`ved%')
            assert send(wider, where, [row("a'b\"", 2, **content)]) == [D]
            assert send(wider, where, [row("a'b\"", 1, **content)]) == [S]
            assert holds(wider, where, [row("a'b\"", 2, **content)]) == [True]
            assert remove(wider, where, DeletePolicy.FLAG, removal("b")) == [D]
            assert remove(wider, where, DeletePolicy.DELETE, removal("b")) == [D]
            assert count(wider, where) == 1
            with where.engine.connect() as connection:
                name = connection.dialect.identifier_preparer.quote_identifier('客户 "`; DROP %s')
                (found,) = connection.exec_driver_sql(f"SELECT * FROM {name} WHERE 1 = 1", ()).mappings()
            assert {found[name] for name in NASTY} == set(content.values())


class TestLosing:
    @pytest.mark.parametrize("kind", [PSYCOPG2, "postgresql+psycopg", MARIADB])
    def test_a_connection_that_is_killed_in_the_middle_is_made_again(self, kind: str, tmp_path: Path) -> None:
        with place(kind, tmp_path) as where, table().open(where.reach) as sender:
            sender.send([row("a")])
            with ThreadPoolExecutor(1) as pool, where.engine.connect() as holder, where.engine.connect() as killer:
                holder.execute(text("UPDATE account SET name = 'locked' WHERE _id = 'a'"))
                sending = pool.submit(sender.send, [row("a", 2), row("b")])
                number = _wait_until_it_waits(killer, sending.done, where)
                killer.execute(
                    text(f"SELECT pg_terminate_backend({number})" if where.kind == "postgresql" else f"KILL {number}")
                )
                holder.rollback()
                assert [answer.delivery for answer in sending.result(30)] == [D, D]
            assert where.slept, "it was not tried again"
            assert held(where, "_id", "count") == [("a", 2), ("b", 1)]

    @pytest.mark.parametrize("kind", [PSYCOPG2, "postgresql+psycopg", MARIADB])
    def test_a_deadlock_is_tried_again(self, kind: str, tmp_path: Path) -> None:
        with place(kind, tmp_path) as where, table().open(where.reach) as sender:
            sender.send([row(each) for each in ["a", "b", *(f"c{number}" for number in range(50))]])
            with ThreadPoolExecutor(1) as pool, where.engine.connect() as other, where.engine.connect() as look:
                # The database ends the one that notices first (PostgreSQL), or that has written less.
                if where.kind == "postgresql":
                    other.execute(text("SET deadlock_timeout = '1h'"))
                other.execute(text("UPDATE account SET name = 'by hand' WHERE _id >= 'b'"))
                sending = pool.submit(sender.send, [row("b", 2), row("a", 2)])
                _wait_until_it_waits(look, sending.done, where)
                other.execute(text("UPDATE account SET name = 'by hand' WHERE _id = 'a'"))
                other.commit()
                assert [answer.delivery for answer in sending.result(30)] == [D, D]
            assert where.slept, "there was no deadlock"
            assert where.ask("SELECT COUNT(*) FROM account WHERE name = 'by hand'") == [(50,)]

    @pytest.mark.parametrize("kind", [PSYCOPG2, MARIADB])
    def test_a_server_that_is_not_there_is_worth_another_try_and_tells_no_password(
        self, kind: str, tmp_path: Path
    ) -> None:
        with place(kind, tmp_path) as where:
            where.url = where.url.set(port=9, password="canary-password")
            with pytest.raises(TransientError) as raised:
                send(table(), where, [])
            assert "connection warehouse" in str(raised.value)
            error: BaseException | None = raised.value
            while error is not None:
                assert "canary-password" not in f"{error} {error!r}"
                error = error.__cause__ or error.__context__

    def test_a_wrong_login_or_database_is_for_a_person(self) -> None:
        for kind, words in itertools.product(
            ("postgresql", "mysql"), ({"database": "nowhere"}, {"username": "nobody"})
        ):
            with place(kind, Path()) as where:
                where.url = where.url.set(password="canary-password", **words)
                with pytest.raises(SetupError, match="Check the connection") as raised:
                    send(table(), where, [])
                assert "canary-password" not in str(raised.value)

    def test_a_table_that_somebody_drops_meanwhile_is_made_by_the_next_try(self, where: Place) -> None:
        with table().open(where.reach) as sender:
            where.run("DROP TABLE account")
            with pytest.raises(TransientError):
                sender.send([row("a")])
        assert send(table(), where, [row("a")]) == [D]


def _waiting(look: Any, where: Place) -> list[int]:
    """The connections that wait for a lock of this place's table, by the look of another connection."""
    ask = (
        "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%fx_batch%' "
        f"AND pid IN (SELECT pid FROM pg_locks WHERE relation = '{where.schema}.account'\\:\\:regclass)"
        if where.kind == "postgresql"
        else "SELECT p.id FROM information_schema.processlist p JOIN information_schema.innodb_trx t "
        f"ON t.trx_mysql_thread_id = p.id WHERE p.db = '{where.schema}' AND t.trx_state = 'LOCK WAIT'"
    )
    look.rollback()
    return [number for (number,) in look.execute(text(ask)).all()]


def _wait_until_it_waits(look: Any, done: Callable[[], bool], where: Place) -> int:
    while not done():
        for number in _waiting(look, where):
            return number
        time.sleep(0.15)  # InnoDB's view of its transactions is not renewed while it is read every 0.1 s
    raise AssertionError("it ended without waiting")

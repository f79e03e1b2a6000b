"""Expressions of Qeasy (`_function`) as Python functions: what MySQL gives, exactly, and errors that are told."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine

from fenxiang_sync.convert import as_is
from fenxiang_sync.errors import RecordError
from fenxiang_sync.qeasy import mysql
from fenxiang_sync.qeasy.expressions import parsed, value_map
from fenxiang_sync.qeasy.functions import Function, function
from tests.hub_fixtures import run_at_server
from tests.qeasy_fixtures import imported, node, scheme
from tests.sql_fixtures import MYSQL

RECORD: dict[str, Any] = {
    "name": "SO-0007", "kind": "2", "price": "10.10", "quantity": 3, "ms": 1696161600000, "remark": " 急 ", "zero": 0,
}  # fmt: skip


def made(said: str, cast: str = "") -> Function:
    return function(f"_function {said}", "computed", lambda reference: reference.name, cast=cast, taken=set())


def value(said: str, cast: str = "", **record: Any) -> Any:
    """What the function of an expression gives for the record, as a row has it."""
    found = made(said, cast)
    assert not found.outside, found.outside
    names: dict[str, Any] = {"Any": Any, "Decimal": Decimal, "mysql": mysql}
    exec("\n".join(found.lines), names)
    given = {**RECORD, **record}
    return as_is(names[found.name](*(given.get(path) for path in found.reads)))


EXPRESSIONS: list[tuple[str, Any]] = [
    ("{{price}} * {{quantity}}", Decimal("30.30")),
    ("ROUND({{price}} / {{quantity}}, 2)", Decimal("3.37")),
    ("{{quantity}} / 7", Decimal("0.4286")),
    ("{{quantity}} / {{zero}}", None),
    ("{{price}} - 0.1 + 2 * {{quantity}}", Decimal("16.00")),
    ("{{quantity}} DIV 2", 1),
    ("-{{quantity}} % 2", Decimal(-1)),
    ("{{price}} + {{absent}}", None),
    ("'{{absent}}' + 1", Decimal(1)),
    ("CEIL({{price}})", Decimal(11)),
    ("TRUNCATE({{price}}, 1)", Decimal("10.1")),
    ("ABS(0 - {{quantity}})", Decimal(3)),
    ("CONCAT(LEFT('{{name}}', 2), '/', RIGHT('{{name}}', 4))", "SO/0007"),
    ("CONCAT('{{name}}', {{absent}})", None),
    ("CONCAT('{{name}}', '{{absent}}')", "SO-0007"),
    ("CONCAT_WS('-', '{{name}}', {{absent}}, {{kind}})", "SO-0007-2"),
    ("'{{name}}:{{kind}}'", "SO-0007:2"),
    ("SUBSTRING('{{name}}', 4)", "0007"),
    ("SUBSTRING('{{name}}', -2, 1)", "0"),
    ("MID('{{name}}', 1, 2)", "SO"),
    ("SUBSTRING_INDEX('{{name}}', '-', -1)", "0007"),
    ("LOCATE('-', '{{name}}')", 3),
    ("INSTR('{{name}}', 'x')", 0),
    ("REPLACE('{{name}}', '-', '')", "SO0007"),
    ("TRIM('{{remark}}')", "急"),
    ("TRIM(LEADING 'S' FROM '{{name}}')", "O-0007"),
    ("UPPER(LOWER('{{name}}'))", "SO-0007"),
    ("LENGTH(TRIM('{{remark}}'))", 3),
    ("CHAR_LENGTH(TRIM('{{remark}}'))", 1),
    ("LPAD({{kind}}, 3, '0')", "002"),
    ("IFNULL({{absent}}, 'none')", "none"),
    ("COALESCE({{absent}}, {{kind}}, 'x')", "2"),
    ("NULLIF({{kind}}, '2')", None),
    ("FROM_UNIXTIME({{ms}} / 1000, '%Y年%m月%d日 %H:%i')", "2023年10月01日 20:00"),
    ("FROM_UNIXTIME({{ms}} / 1000)", "2023-10-01 20:00:00"),
    ("DATE_FORMAT(FROM_UNIXTIME({{ms}} / 1000), '%y%c%e')", "23101"),
    ("UNIX_TIMESTAMP(FROM_UNIXTIME({{ms}} / 1000, '%Y-%m-%d %H:%i:%s'))", 1696161600),
    ("CASE '{{kind}}' WHEN '1' THEN 'A' WHEN '2' THEN 'B' ELSE 'C' END", "B"),
    ("CASE '{{absent}}' WHEN '1' THEN 'A' ELSE 'C' END", "C"),
    ("CASE WHEN {{quantity}} > 5 THEN 'many' WHEN {{quantity}} >= 3 THEN 'some' END", "some"),
    ("CASE WHEN {{absent}} > 5 THEN 'many' END", None),
    ("IF({{quantity}} > 2 AND '{{kind}}' <> '1', 'yes', 'no')", "yes"),
    ("IF({{absent}}, 'yes', 'no')", "no"),
    ("IF('{{name}}' LIKE 'SO%', 1, 0)", 1),
    ("IF('{{name}}' NOT LIKE 'SO%', 1, 0)", 0),
    ("IF({{kind}} IN ('1', '2'), 'in', 'out')", "in"),
    ("IF({{kind}} NOT IN ('1', '3'), 'out', 'in')", "out"),
    ("IF({{price}} BETWEEN 10 AND 11, 'in', 'out')", "in"),
    ("IF({{absent}} IS NULL, 'none', 'some')", "none"),
    ("CONCAT('x', CASE WHEN {{quantity}} = 3 THEN IF({{kind}} = '2', 'two', 'other') ELSE 'n' END)", "xtwo"),
    ("CAST({{price}} AS CHAR)", "10.10"),
    ("CAST({{price}} AS DECIMAL(10, 1))", Decimal("10.1")),
    ("{{price}} > 2.50", 1),
    ("{{price}} > {{kind}}", 1),
    ("{{price}} > '2.5'", 1),
    ("'{{price}}' > '2.5'", 0),
    ("IFNULL({{absent}}, {{price}}) < {{kind}}", 0),
    ("{{price}} IN ('10.1', 'x')", 1),
    ("{{price}} IN (10.1, '5')", 1),
    ("{{price}} BETWEEN {{kind}} AND {{ms}}", 1),
    ("NULLIF({{price}}, 10.1)", None),
    ("NULLIF({{price}}, '')", "10.10"),
    ("CASE {{price}} WHEN 10.1 THEN 'same' ELSE 'other' END", "same"),
    ("CASE {{absent}} WHEN '' THEN 'none' ELSE 'null' END", "null"),
    ("{{quantity}} / 7 * 7", Decimal("3.0000")),
    ("1 / {{quantity}} * 1000", Decimal("333.3333")),
    ("-(1 / {{quantity}}) * 1000", Decimal("-333.3333")),
    ("ABS(1 / {{quantity}}) * 1000 - 0.1", Decimal("333.2333")),
    ("1 / {{quantity}} / 1000", Decimal("0.00033333")),
    ("MOD(10, 1 / {{quantity}} * 10)", Decimal("0.0000")),
    ("ROUND({{price}} / 1.13 * 1000, 2)", Decimal("8938.05")),
    ("CONCAT(2 / {{quantity}} * {{quantity}}, '')", "2.0000"),
    ("CONCAT({{zero}} / 7 / 7, '')", "0.00000000"),
    ("CONCAT(ROUND({{quantity}}, 2), '')", "3"),
    ("CAST('{{kind}}.7' AS SIGNED)", Decimal(2)),
    ("CAST({{kind}} + 0.7 AS SIGNED)", Decimal(3)),
    ("CAST('{{name}}' AS CHAR(2))", "SO"),
    ("DATE_FORMAT('{{absent}}', '%Y')", None),
    ("UNIX_TIMESTAMP('{{absent}}')", None),
    ("DATE_FORMAT(FROM_UNIXTIME({{ms}} / 1000), '%y%%')", "23%"),
    ("CONCAT(UPPER('ß'), '{{kind}}')", "ß2"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "expected"), EXPRESSIONS)
def test_an_expression_gives_what_mysql_gives(said: str, expected: Any) -> None:
    assert (value(said), type(value(said))) == (expected, type(expected))


@pytest.mark.mysql
def test_a_database_gives_the_same() -> None:
    """Each expression as Qeasy would send it: the values written into its text."""

    def written(said: str) -> str:
        def plain(found: re.Match[str]) -> str:
            value = RECORD.get(found[1])
            return "NULL" if value is None else str(value)

        in_quotes = re.sub(r"'[^']*'", lambda text: re.sub(r"{{absent}}", "", text[0]), said)
        return re.sub(r"{{(\w+)}}", plain, in_quotes)

    run_at_server(MYSQL, "FENXIANG_TEST_MYSQL", "SELECT 1")
    engine = create_engine(MYSQL)
    with engine.connect() as connection:
        connection.exec_driver_sql("SET time_zone = '+08:00'")
        for said, expected in EXPRESSIONS:
            statement = f"SELECT {written(said)}"
            found = connection.exec_driver_sql(statement, execution_options={"no_parameters": True}).scalar()
            if isinstance(expected, Decimal) or isinstance(found, Decimal | float):
                assert Decimal(str(found)) == Decimal(expected), said
            else:
                assert (None if found is None else str(found)) == (None if expected is None else str(expected)), said
    engine.dispose()


def test_a_number_in_quotes_is_divided_as_finely_as_the_database_divides_one() -> None:
    assert value("'{{price}}' / 3") == pytest.approx(Decimal("3.3666666666666667"), abs=Decimal("1e-15"))
    assert value("ROUND('{{price}}' + 0, 2) / 7") == pytest.approx(Decimal("1.4428571428571428"), abs=Decimal("1e-15"))


def test_a_sum_of_many_fields_is_worked_out() -> None:
    assert value(" + ".join(["{{quantity}}"] * 60)) == 180


def test_marks_of_comments_in_a_text_are_letters() -> None:
    assert value("CONCAT('--', '{{kind}}', '#/*')") == "--2#/*"


@settings(max_examples=200, deadline=None)
@given(text=st.text("ab%_\n", max_size=8), pattern=st.text("ab%_\\\n", max_size=6))
def test_a_pattern_means_what_it_says_letter_by_letter(text: str, pattern: str) -> None:
    def holds(said: str, wanted: str) -> bool:
        if not wanted:
            return not said
        if wanted[0] == "%":
            return holds(said, wanted[1:]) or (bool(said) and holds(said[1:], wanted))
        if wanted[0] == "\\" and len(wanted) > 1:
            return said[:1] == wanted[1] and holds(said[1:], wanted[2:])
        return bool(said) and wanted[0] in ("_", said[0]) and holds(said[1:], wanted[1:])

    assert mysql.like(text, pattern) == holds(text, pattern)


def test_a_pattern_of_many_parts_ends_on_a_long_text() -> None:
    assert mysql.like("a" * 5_000, "%a" * 50 + "%b") == 0
    assert mysql.like("a" * 5_000, "%a" * 50 + "%") == 1


def test_only_the_branch_that_is_taken_is_worked_out() -> None:
    said = "CONCAT('n', CASE WHEN '{{kind}}' = '2' THEN '-' ELSE {{name}} * 2 END)"
    assert value(said) == "n-"
    with pytest.raises(ValueError, match="not a number"):
        value(said, kind="1")


def test_a_value_is_of_the_type_that_its_node_wants() -> None:
    assert value("{{price}} * 10", cast="as_whole") == 101
    assert value("{{quantity}}", cast="text") == "3"
    assert value("'{{price}}'", cast="as_number") == Decimal("10.10")
    with pytest.raises(ValueError, match="whole number"):
        value("{{price}}", cast="as_whole")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("SOUNDEX({{name}})", "SOUNDEX is not known"),
        ("SUM({{price}})", "SUM is not known"),
        ("NOW()", "NOW is not known"),
        ("{{CURRENT_TIME}} - 600", "differs in each run"),
        ("{{name|date}}", "the pipe |date"),
        ("name + {{price}}", "'name' is neither a text in quotes nor a field"),
        ("'{{name}}", "cannot be read|can be read"),
        ("", "can be read|not one expression"),
        ("1; DROP TABLE x", "not one expression"),
        ("{{name}} FROM customers", "not one expression"),
        ("DISTINCT {{name}}", "not one expression"),
        ("(SELECT 1)", "SUBQUERY is not known"),
        ("1 + 1", "reads no field"),
        ("FROM_UNIXTIME({{ms}}, '%M')", "the format %M"),
        ("'{{name}}' LIKE 'a!%' ESCAPE '!'", "ESCAPE is not known"),
        ("CONCAT(_findCollection find a from b where c={{d}} _endFind, 'x')", "look-up"),
        ("(" * 600 + "{{name}}" + ")" * 600, "can be read"),
        ("NOT " * 900 + "{{name}}", "can be read|too deep"),
        (" + ".join(["{{price}}"] * 200), "too deep"),
        ("ABS(" * 90 + "{{price}}" + ")" * 90, "can be read|too deep"),
        ("'" + "x" * 5_000 + "'", "4,000 are read"),
        ("{{name}} + 1e9999999", "no plain number"),
        ("{{quantity}}--{{price}}", "a comment"),
        ("{{quantity}} # + {{price}}", "a comment"),
        ("{{quantity}} /* + {{price}} */", "a comment"),
    ],
)
def test_what_is_not_taken_over_rejects_and_says_what_to_do(said: str, why: str) -> None:
    found = made(said)
    assert re.search(why, found.outside), found.outside
    names: dict[str, Any] = {"Any": Any, "Decimal": Decimal, "mysql": mysql}
    exec("\n".join(found.lines), names)
    with pytest.raises(ValueError, match=r"was not taken over .*; write this function"):
        names[found.name](None)


PIECES = [
    "{{a}}", "'{{a}}'", "(", ")", "CASE", "WHEN", "THEN", "END", "1", "+", "'x'", "IF(", ",", "NOT", "%", "LIKE", "{a}",
    '"', "LPAD(", "DATE_FORMAT(", "TRIM(", "CAST(", "AS CHAR", "LOCATE(", "FROM", "IN", "IS NULL", "ROUND(", "LEFT(",
    "-",
]  # fmt: skip


@settings(max_examples=300)
@given(said=st.text(max_size=40) | st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join))
def test_whatever_is_written_becomes_one_function_and_nothing_else(said: str) -> None:
    found = made(said)
    names: dict[str, Any] = {"Any": Any, "Decimal": Decimal, "mysql": mysql}
    exec("\n".join(found.lines), names)
    assert set(names) - {"Any", "Decimal", "mysql", "__builtins__"} == {
        line.partition("(")[0].removeprefix("def ") for line in found.lines if line.startswith("def ")
    }


def test_an_expression_that_maps_the_values_of_a_field_is_known_as_one() -> None:
    found = value_map(parsed("IF('{{kind}}' = '1', '是', '否')"))
    assert found is not None
    assert (found.reference.name, found.becomes, found.otherwise) == ("kind", {"1": "是"}, "否")
    assert value_map(parsed("CASE WHEN '{{a}}' = '1' THEN 'x' WHEN '{{b}}' = '2' THEN 'y' END")) is None
    assert value_map(parsed("CASE '{{a}}' WHEN '1' THEN '{{b}}' END")) is None


@pytest.mark.parametrize(
    ("said", "values"),
    [
        ("CASE '{{kind}}' WHEN '' THEN 'none' WHEN '1' THEN 'one' END", {None: "none", "1": "one", "7": None}),
        ("CASE '{{kind}}' WHEN '' THEN 'none' WHEN '1' THEN 'one' ELSE '?' END", {None: "none", "1": "one", "7": "?"}),
        ("CASE {{kind}} WHEN '' THEN 'none' WHEN '1' THEN 'one' ELSE '?' END", {None: "?", "1": "one", "7": "?"}),
        ("CASE WHEN {{kind}} = '' THEN 'none' WHEN {{kind}} = '1' THEN 'one' END", {None: None, "1": "one", "7": None}),
    ],
)
def test_what_is_absent_and_what_is_in_no_case_are_told_apart(said: str, values: dict[Any, Any]) -> None:
    pipeline = imported(scheme(node("_id"), node("out", f"_function {said}"))).declared()
    for kind, expected in values.items():
        (row,) = pipeline.rows({"_id": "1", "last_modified_time": 1_790_000_001_456, "kind": kind})
        assert row.content["out"] == expected, kind


@pytest.mark.parametrize("type", ["int", "number"])
def test_an_empty_text_is_no_number_that_is_written(type: str) -> None:
    said = "_function IF({{quantity}} > 0, {{quantity}}, '')"
    pipeline = imported(scheme(node("_id"), node("out", said, type))).declared()
    for quantity, expected in ((3, 3), (0, None), (-1, None)):
        (row,) = pipeline.rows({"_id": "1", "last_modified_time": 1_790_000_001_456, "quantity": quantity})
        assert row.content["out"] == expected, quantity


def test_functions_and_templates_of_a_scheme_are_called_for_each_record() -> None:
    nodes = [
        node("_id"),
        node("total", "_function {{price}} * {{quantity}}", "number", is_required=True),
        node("count", "_function {{quantity}} + 1", "int"),
        node("title", "{{name}} ({{kind}}{{absent}})"),
        node("broken", "_function SOUNDEX({{name}})"),
    ]
    whole = imported(scheme(*nodes[:-1])).declared()
    (row,) = whole.rows({"_id": "1", "last_modified_time": 1_790_000_001_456, **RECORD})
    assert row.content == {"_id": "1", "total": Decimal("30.30"), "count": 4, "title": "SO-0007 (2)"}
    with pytest.raises(RecordError, match="SOUNDEX is not known"):
        imported(scheme(*nodes)).declared().rows({"_id": "1", "last_modified_time": 1_790_000_001_456, **RECORD})

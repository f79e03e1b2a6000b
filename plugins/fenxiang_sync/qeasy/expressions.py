"""Expressions: the text behind ``_function``, and the SQL of a target, as the tree of a parser; and what can be told of
a tree without a function: a value map, a time, a sum, the columns of an INSERT.

What stands in quotes is text, and a field that is absent is "" there; without quotes it is the field's value, null
where it is absent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from fenxiang_sync.dagfile import one_line, quoted
from fenxiang_sync.errors import SetupError
from fenxiang_sync.qeasy import mysql
from fenxiang_sync.qeasy.references import REFERENCE, Reference

_PREFIX = re.compile(r"\s*_function\s+", re.IGNORECASE)
_LONGEST = 4_000
_OPEN, _CLOSE, PERCENT = "\ue000", "\ue001", "\ue002"
"""Marks around a reference in a text, and a % in one: the parser would write the format of a time as Python's."""
_COMMENTS = ("--", "#", "/*")
MARK = re.compile(f"{_OPEN}(\\d+){_CLOSE}")


class OutsideError(ValueError):
    """An expression that is not taken over; the text says what of it."""


def is_function(said: object) -> bool:
    """Whether a value is an expression."""
    return isinstance(said, str) and _PREFIX.match(said) is not None


@dataclass(frozen=True, slots=True)
class Parsed:
    """An expression: its tree, in which ``fx0`` is the first reference."""

    said: str
    tree: Any
    references: Sequence[Reference]


@dataclass(frozen=True, slots=True)
class ValueMap:
    """An expression that maps the values of one field: `becomes` by text, `otherwise` for the others. `in_quotes` is
    whether a field that is absent is the empty text."""

    reference: Reference
    in_quotes: bool
    becomes: Mapping[str, str | int | Decimal | None]
    otherwise: str | int | Decimal | None


def parsed(said: str) -> Parsed:
    """The tree of an expression; raises `OutsideError` for what cannot be read as one of MySQL."""
    glot = parser()
    if len(said) > _LONGEST:
        raise OutsideError(f"has {len(said):,} letters, and {_LONGEST:,} are read")
    if "_findCollection" in said:
        raise OutsideError("has a look-up (_findCollection) within it")
    if any(mark in said for mark in (_OPEN, _CLOSE, PERCENT)):
        raise OutsideError("has letters of a private use")
    marked, references = _marked(_PREFIX.sub("", said, count=1))
    try:
        found = glot.parse(f"SELECT {marked}", read="mysql")
    except (glot.errors.SqlglotError, RecursionError, ValueError) as error:
        raise OutsideError(f"is no expression of MySQL that can be read ({type(error).__name__})") from None
    select = found[0] if len(found) == 1 else None
    if not isinstance(select, glot.exp.Select) or len(select.expressions) != 1 or flags(select, "expressions"):
        raise OutsideError("is not one expression")
    return Parsed(said, select.expressions[0], references)


def linear(said: str) -> tuple[str, Decimal, Decimal]:
    """Variable, factor and offset of an expression like ``({{LAST_SYNC_TIME}} - 600) * 1000``; raises `OutsideError`
    for any other."""
    whole = parsed(said)
    if len({each.name for each in whole.references}) != 1:
        raise OutsideError("has not one variable")
    try:
        factor, offset = _terms(whole.tree)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise OutsideError(str(error)) from None
    return whole.references[0].name, factor, offset


def _terms(node: Any) -> tuple[Decimal, Decimal]:
    """How often the variable is in a sum, and what is added to that."""
    exp = parser().exp
    if isinstance(node, exp.Paren | exp.UnixToTime):
        return _terms(node.this)
    if isinstance(node, exp.Column) or (isinstance(node, exp.Literal) and MARK.fullmatch(node.this)):
        return Decimal(1), Decimal(0)
    if isinstance(node, exp.Literal):
        return Decimal(0), mysql.number(node.this) or Decimal(0)
    if isinstance(node, exp.Neg):
        factor, offset = _terms(node.this)
        return -factor, -offset
    if isinstance(node, exp.Add | exp.Sub | exp.Mul | exp.Div):
        return _combined(node, *_terms(node.this), *_terms(node.expression))
    raise OutsideError("is no sum of a variable and a number")


def _combined(node: Any, a: Decimal, b: Decimal, c: Decimal, d: Decimal) -> tuple[Decimal, Decimal]:
    """The terms of two terms, (a, b) and (c, d), that are added, subtracted, multiplied or divided."""
    exp = parser().exp
    if isinstance(node, exp.Add):
        return a + c, b + d
    if isinstance(node, exp.Sub):
        return a - c, b - d
    if c == 0 and isinstance(node, exp.Div):
        return a / d, b / d
    if isinstance(node, exp.Mul) and (a == 0 or c == 0):
        return a * d + b * c, b * d
    raise OutsideError("is no sum of a variable and a number")


def value_map(whole: Parsed) -> ValueMap | None:
    """The expression as a map of one field's values, None where it is none."""
    exp = parser().exp
    tree, pairs = whole.tree, []
    if isinstance(tree, exp.If):
        tree = exp.Case(ifs=[tree], default=tree.args.get("false"))
    if not isinstance(tree, exp.Case):
        return None
    for each in tree.args["ifs"]:
        subject, key = tree.this, each.this
        if subject is None:
            if not isinstance(key, exp.EQ):
                return None
            subject, key = key.this, key.expression
        found = _reference(subject, whole)
        if found is None or not _is_plain(key) or not key.is_string or not _is_plain(each.args["true"]):
            return None
        pairs.append((found, isinstance(subject, exp.Literal), _said(key), _constant(each.args["true"])))
    otherwise = tree.args.get("default")
    if (otherwise is not None and not _is_plain(otherwise)) or len({pair[:2] for pair in pairs}) != 1:
        return None
    becomes: dict[str, Any] = {}
    for _, _, key, instead in pairs:
        becomes.setdefault(key, instead)
    return ValueMap(*pairs[0][:2], becomes, None if otherwise is None else _constant(otherwise))


def clock(whole: Parsed) -> tuple[Reference, str] | None:
    """Field and format of ``FROM_UNIXTIME({{field}} / 1000, '…')``, None for any other expression."""
    exp = parser().exp
    tree = whole.tree
    if not isinstance(tree, exp.UnixToTime) or not isinstance(tree.this, exp.Div):
        return None
    written = tree.args.get("format")
    found = _reference(tree.this.this, whole)
    thousand = tree.this.expression
    if found is None or not isinstance(thousand, exp.Literal) or thousand.this != "1000":
        return None
    if written is None:
        return found, "%Y-%m-%d %H:%i:%s"
    return (found, _said(written)) if isinstance(written, exp.Literal) and not MARK.search(written.this) else None


def inside(whole: Parsed) -> tuple[Reference, list[str]] | None:
    """Field and names of ``JSON_UNQUOTE(JSON_EXTRACT({{field}}, '$.a.b'))`` or ``{{field}} ->> '$.a.b'``, None for any
    other expression."""
    exp = parser().exp
    tree = whole.tree
    if isinstance(tree, exp.Anonymous) and tree.name.upper() == "JSON_UNQUOTE" and len(tree.expressions) == 1:
        tree = tree.expressions[0] if isinstance(tree.expressions[0], exp.JSONExtract) else None
    elif not isinstance(tree, exp.JSONExtractScalar):
        return None
    if tree is None or tree.args.get("expressions") or not isinstance(tree.expression, exp.JSONPath):
        return None
    found, (root, *keys) = _reference(tree.this, whole), tree.expression.expressions
    names = [each.this for each in keys if isinstance(each, exp.JSONPathKey) and isinstance(each.this, str)]
    if found is None or not isinstance(root, exp.JSONPathRoot) or not names or len(names) < len(keys):
        return None
    return None if any(MARK.search(name) or PERCENT in name for name in names) else (found, names)


def prefixed(whole: Parsed) -> tuple[str, Reference, bool] | None:
    """Text, field, and whether an absent field is the empty text, of ``CONCAT('north-', {{field}})``; None for any
    other expression."""
    exp = parser().exp
    tree = whole.tree
    if not isinstance(tree, exp.Concat) or len(tree.expressions) != 2:
        return None
    before, behind = tree.expressions
    found = _reference(behind, whole)
    if found is None or not isinstance(before, exp.Literal) or not before.is_string or MARK.search(before.this):
        return None
    said = _said(before)
    return (said, found, isinstance(behind, exp.Literal)) if said else None


@dataclass(frozen=True, slots=True)
class Inserted:
    """What an INSERT says: its table, and the parameter of each column; "" is the next one, None is no parameter.
    `condition` tells what it does beside that."""

    table: str
    columns: Mapping[str, str | None]
    condition: str = ""


def inserted(said: str) -> Inserted:
    """Table and columns of ``INSERT INTO …`` or ``REPLACE INTO …``; raises `OutsideError` for another statement."""
    glot = parser()
    if len(said) > 4 * _LONGEST:
        raise OutsideError(f"has {len(said):,} letters, and {4 * _LONGEST:,} are read")
    plain = re.sub(r"^\s*REPLACE\b", "INSERT", said, flags=re.IGNORECASE)
    try:
        found = glot.parse(plain, read="mysql")
    except (glot.errors.SqlglotError, RecursionError, ValueError) as error:
        raise OutsideError(f"is no SQL that can be read ({type(error).__name__})") from None
    exp = glot.exp
    insert = found[0] if len(found) == 1 else None
    if not isinstance(insert, exp.Insert) or not isinstance(insert.this, exp.Schema):
        raise OutsideError("is no INSERT INTO table (columns) VALUES (…)")
    rows = insert.expression.expressions if isinstance(insert.expression, exp.Values) else []
    columns = [each.name for each in insert.this.expressions]
    if len(rows) != 1 or len(rows[0].expressions) != len(columns) or len(set(columns)) != len(columns):
        raise OutsideError("has not one value for each column")
    where = insert.this.this
    parts = [part for part in (where.db, where.name) if part]
    if not parts or any("." in part for part in parts) or where.catalog:
        raise OutsideError("names its table in a way that is not known here")
    values = {column: _param(node) for column, node in zip(columns, rows[0].expressions, strict=True)}
    conflict = insert.args.get("conflict")
    updated = (
        {each.this.name for each in conflict.expressions if isinstance(each, exp.EQ)} if conflict else set(columns)
    )
    return Inserted(".".join(parts), values, "updates some columns only" if len(updated) < len(columns) - 1 else "")


def _param(node: Any) -> str | None:
    exp = parser().exp
    if isinstance(node, exp.Placeholder | exp.Parameter):
        return str(node.name or "")
    return None


def parser() -> Any:
    """The parser of SQL; raises `SetupError` where it is not installed."""
    try:
        import sqlglot
    except ModuleNotFoundError:
        raise SetupError(
            "the scheme has _function or SQL in it, and the parser for it is not installed here: "
            "pip install 'airflow-provider-fenxiang[qeasy]'"
        ) from None
    return sqlglot


def _marked(said: str) -> tuple[str, list[Reference]]:
    """The expression with a name of SQL in the place of each reference, and a mark where it stands in quotes."""
    made: list[str] = []
    references: list[Reference] = []
    quote, at = "", 0
    while at < len(said):
        letter = said[at]
        match = REFERENCE.match(said, at) if letter == "{" else None
        if match is not None:
            number = len(references)
            references.append(Reference.of(match))
            made.append(f"{_OPEN}{number}{_CLOSE}" if quote else f" fx{number} ")
            at = match.end()
            continue
        if quote and letter == "\\" and at + 1 < len(said):
            made.append(said[at : at + 2])
            at += 2
            continue
        if letter == quote:
            quote = ""
        elif not quote and letter in "'\"":
            quote = letter
        elif not quote and said.startswith(_COMMENTS, at):
            raise OutsideError(f"has a comment in it ({said[at : at + 2].strip()})")
        made.append(PERCENT if quote and letter == "%" else letter)
        at += 1
    return "".join(made), references


def _reference(node: Any, whole: Parsed) -> Reference | None:
    """The one reference that a node is, in quotes or not."""
    exp = parser().exp
    if isinstance(node, exp.Literal) and node.is_string:
        found = MARK.fullmatch(node.this)
    elif isinstance(node, exp.Column) and not node.table:
        found = re.fullmatch(r"fx(\d+)", node.name, re.ASCII)
    else:
        return None
    if found is None or int(found[1]) >= len(whole.references):
        return None
    reference = whole.references[int(found[1])]
    return None if reference.is_variable or reference.pipe else reference


def _said(node: Any) -> str:
    """The text of a constant."""
    return str(node.this).replace(PERCENT, "%")


def flags(node: Any, *known: str) -> list[str]:
    """What else a node says than what is known, so that nothing of it is overlooked."""
    return [key for key, found in node.args.items() if key not in known and found not in (None, [], False)]


def _is_plain(node: Any) -> bool:
    """Whether a node is a constant."""
    exp = parser().exp
    if isinstance(node, exp.Literal):
        return MARK.search(node.this) is None and (node.is_string or _isnumber_code(node.this))
    return isinstance(node, exp.Null)


def _constant(node: Any) -> str | int | Decimal | None:
    if not isinstance(node, parser().exp.Literal):
        return None
    if node.is_string:
        return _said(node)
    found = Decimal(node.this)
    return int(found) if found == found.to_integral_value() and "." not in node.this else found


def _isnumber_code(said: str) -> bool:
    return re.fullmatch(r"\d{1,40}(\.\d{1,40})?", said, re.ASCII) is not None


def number_code(said: str) -> str:
    """A number as Python text, exactly."""
    if not _isnumber_code(said):
        raise OutsideError(f"{one_line(said)[:40]} is no plain number")
    return str(int(said)) if "." not in said else f"Decimal({quoted(said)})"

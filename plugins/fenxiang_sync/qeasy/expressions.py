"""``_function``: an expression of MySQL becomes a Python function, or a value map where it is one.

What stands in quotes is text, and a field that is absent is "" there; without quotes it is the field's value, null
where it is absent. Each CASE within an expression becomes a function of its own, so that only the branch that is taken
is worked out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from fenxiang_sync.dagfile import Code, Part, call, folded, identifier, laid, names_in, one_line, quoted
from fenxiang_sync.errors import SetupError
from fenxiang_sync.qeasy import mysql
from fenxiang_sync.qeasy.references import REFERENCE, Reference

_PREFIX = re.compile(r"\s*_function\s+", re.IGNORECASE)
_LONGEST = 4_000
_OPEN, _CLOSE, _PERCENT = "\ue000", "\ue001", "\ue002"
"""Marks around a reference in a text, and a % in one: the parser would write the format of a time as Python's."""
_MARK = re.compile(f"{_OPEN}(\\d+){_CLOSE}")
_MOST_BRANCHES = 200


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
    """An expression that maps the values of one field: `becomes` by text, `otherwise` for the others."""

    reference: Reference
    becomes: Mapping[str, str | int | Decimal | None]
    otherwise: str | int | Decimal | None


@dataclass(slots=True)
class Function:
    """A Python function made of an expression. `reads` are the source fields of its arguments, `lines` its text."""

    name: str
    reads: list[str]
    lines: list[str]
    outside: str = ""


def parsed(said: str) -> Parsed:
    """The tree of an expression; raises `OutsideError` for what cannot be read as one of MySQL."""
    glot = _sqlglot()
    if len(said) > _LONGEST:
        raise OutsideError(f"has {len(said):,} letters, and {_LONGEST:,} are read")
    if "_findCollection" in said:
        raise OutsideError("has a look-up (_findCollection) within it")
    if any(mark in said for mark in (_OPEN, _CLOSE, _PERCENT)):
        raise OutsideError("has letters of a private use")
    marked, references = _marked(_PREFIX.sub("", said, count=1))
    try:
        found = glot.parse(f"SELECT {marked}", read="mysql")
    except (glot.errors.SqlglotError, RecursionError, ValueError) as error:
        raise OutsideError(f"is no expression of MySQL that can be read ({type(error).__name__})") from None
    select = found[0] if len(found) == 1 else None
    if not isinstance(select, glot.exp.Select) or len(select.expressions) != 1 or _flags(select, "expressions"):
        raise OutsideError("is not one expression")
    return Parsed(said, select.expressions[0], references)


def linear(said: str) -> tuple[str, Decimal, Decimal]:
    """Variable, factor and offset of an expression like ``({{LAST_SYNC_TIME}} - 600) * 1000``; raises `OutsideError`
    for any other."""
    whole = parsed(said)
    exp = _sqlglot().exp
    if len({each.name for each in whole.references}) != 1:
        raise OutsideError("has not one variable")

    def terms(node: Any) -> tuple[Decimal, Decimal]:
        if isinstance(node, exp.Paren):
            return terms(node.this)
        if isinstance(node, exp.UnixToTime):
            return terms(node.this)
        if isinstance(node, exp.Column):
            return Decimal(1), Decimal(0)
        if isinstance(node, exp.Literal):
            if _MARK.fullmatch(node.this):
                return Decimal(1), Decimal(0)
            return Decimal(0), mysql.number(node.this) or Decimal(0)
        if isinstance(node, exp.Neg):
            factor, offset = terms(node.this)
            return -factor, -offset
        if isinstance(node, exp.Add | exp.Sub):
            (a, b), (c, d) = terms(node.this), terms(node.expression)
            sign = 1 if isinstance(node, exp.Add) else -1
            return a + sign * c, b + sign * d
        if isinstance(node, exp.Mul | exp.Div):
            (a, b), (c, d) = terms(node.this), terms(node.expression)
            if c == 0 and d != 0:
                return (a * d, b * d) if isinstance(node, exp.Mul) else (a / d, b / d)
            if a == 0 and isinstance(node, exp.Mul):
                return c * b, d * b
        raise OutsideError("is no sum of a variable and a number")

    try:
        factor, offset = terms(whole.tree)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise OutsideError(str(error)) from None
    return whole.references[0].name, factor, offset


def value_map(whole: Parsed) -> ValueMap | None:
    """The expression as a map of one field's values, None where it is none."""
    exp = _sqlglot().exp
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
        pairs.append((found, _said(key), _constant(each.args["true"])))
    otherwise = tree.args.get("default")
    if (otherwise is not None and not _is_plain(otherwise)) or len({name for name, _, _ in pairs}) != 1:
        return None
    becomes: dict[str, Any] = {}
    for _, key, instead in pairs:
        becomes.setdefault(key, instead)
    return ValueMap(pairs[0][0], becomes, None if otherwise is None else _constant(otherwise))


def clock(whole: Parsed) -> tuple[Reference, str] | None:
    """Field and format of ``FROM_UNIXTIME({{field}} / 1000, '…')``, None for any other expression."""
    exp = _sqlglot().exp
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
    return (found, _said(written)) if isinstance(written, exp.Literal) and not _MARK.search(written.this) else None


@dataclass(frozen=True, slots=True)
class Inserted:
    """What an INSERT says: its table, and the parameter of each column; "" is the next one, None is no parameter.
    `condition` tells what it does beside that."""

    table: str
    columns: Mapping[str, str | None]
    condition: str = ""


def inserted(said: str) -> Inserted:
    """Table and columns of ``INSERT INTO …`` or ``REPLACE INTO …``; raises `OutsideError` for another statement."""
    glot = _sqlglot()
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
    exp = _sqlglot().exp
    if isinstance(node, exp.Placeholder | exp.Parameter):
        return str(node.name or "")
    return None


def function(
    said: str, wanted: str, resolve: Callable[[Reference], str], *, cast: str = "", taken: set[str]
) -> Function:
    """A Python function of an expression, `wanted` by name. `resolve` gives a reference's source field; raises
    `OutsideError` for one that is none. `cast` names the function of `mysql` that its value goes through. What is not
    taken over becomes a function that rejects each record, and says so. Its names are added to those `taken`.
    """
    name = identifier(wanted, taken, instead="computed")
    taken.add(name)
    try:
        return _Writer(parsed(said), name, resolve, taken).function(cast)
    except OutsideError as error:
        return rejecting(said, name, str(error))


def template(
    said: str, parts: Sequence[str | Reference], wanted: str, resolve: Callable[[Reference], str], taken: set[str]
) -> Function:
    """A Python function that puts a text together of plain parts and references."""
    name = identifier(wanted, taken, instead="text")
    taken.add(name)
    arguments = _Arguments(resolve)
    try:
        pieces = [each if isinstance(each, str) else arguments.of(each) for each in parts]
    except OutsideError as error:
        return rejecting(said, name, str(error))
    code = [quoted(piece) if isinstance(part, str) else call("mysql.filled", piece)
            for piece, part in zip(pieces, parts, strict=True)]  # fmt: skip
    lines = [*_head(name, arguments.names, said), *laid(call("mysql.concat", *code), indent=4, prefix="return ")]
    return Function(name, arguments.reads, lines)


def rejecting(said: str, name: str, why: str) -> Function:
    """A function in the place of an expression that was not taken over: it rejects each record."""
    message = f"{name}: what Qeasy worked out here was not taken over ({one_line(why)}); write this function"
    raised = laid(call("ValueError", quoted(message)), indent=4, prefix="raise ")
    return Function(name, ["_id"], [*_head(name, ["_id"], said), *raised], outside=one_line(why))


def _head(name: str, arguments: Sequence[str], said: str = "") -> list[str]:
    given = Code(f"def {name}(", tuple(("", f"{each}: Any") for each in arguments), ")")
    return [*laid(given, suffix=" -> Any:"), *(f"    # {line}" for line in folded(one_line(said), room=110) if line)]


def _returns(branches: Sequence[tuple[Part, Part]], last: Part) -> list[str]:
    lines: list[str] = []
    for when, then in branches:
        lines += [*laid(when, indent=4, prefix="if ", suffix=":"), *laid(then, indent=8, prefix="return ")]
    return [*lines, *laid(last, indent=4, prefix="return ")]


@dataclass(slots=True)
class _Arguments:
    """The arguments of a function: one for each source field that it reads."""

    resolve: Callable[[Reference], str]
    reads: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def of(self, reference: Reference) -> str:
        if reference.is_variable:
            raise OutsideError(f"reads {reference.name}, which differs in each run")
        if reference.pipe:
            raise OutsideError(f"has the pipe |{reference.pipe} in it")
        path = self.resolve(reference)
        if path not in self.reads:
            self.reads.append(path)
            self.names.append(identifier(path, {*self.names, "mysql"}))
        return self.names[self.reads.index(path)]


class _Writer:
    """The lines of a function, and of those for the CASEs within it."""

    def __init__(self, whole: Parsed, name: str, resolve: Callable[[Reference], str], taken: set[str]) -> None:
        self._exp = _sqlglot().exp
        self._whole = whole
        self._name = name
        self._taken = taken
        self._arguments = _Arguments(resolve)
        for reference in whole.references:
            self._arguments.of(reference)
        self._inner: list[str] = []
        self._writes = _writes()

    def function(self, cast: str) -> Function:
        try:
            branches, last = self._branches(self._whole.tree)
        except RecursionError:
            raise OutsideError("nests too deep") from None

        def wrap(part: Part) -> Part:
            return call(f"mysql.{cast}", part) if cast else part

        lines = _returns([(when, wrap(then)) for when, then in branches], wrap(last))
        used = self._used(lines)
        reads = [path for path, name in zip(self._arguments.reads, self._arguments.names, strict=True) if name in used]
        if not reads:
            raise OutsideError("reads no field")
        return Function(self._name, reads, [*self._inner, *_head(self._name, used, self._whole.said), *lines])

    def _branches(self, node: Any) -> tuple[list[tuple[Part, Part]], Part]:
        exp = self._exp
        while isinstance(node, exp.Paren):
            node = node.this
        if isinstance(node, exp.If):
            otherwise = node.args.get("false")
            return [(self._condition(node.this), self.part(node.args["true"]))], self._or_none(otherwise)
        if not isinstance(node, exp.Case):
            return [], self.part(node)
        if len(node.args["ifs"]) > _MOST_BRANCHES:
            raise OutsideError(f"has more than {_MOST_BRANCHES} branches")
        branches = [(self._when(node.this, each.this), self.part(each.args["true"])) for each in node.args["ifs"]]
        return branches, self._or_none(node.args.get("default"))

    def _when(self, subject: Any, key: Any) -> Part:
        return self._condition(key) if subject is None else call("mysql.equal", self.part(subject), self.part(key))

    def _condition(self, node: Any) -> Part:
        """What an `if` may ask: null does not hold, and a text counts as a number."""
        part = self.part(node)
        return part if isinstance(part, Code) and part.head in _TELLS else call("mysql.true", part)

    def _or_none(self, node: Any) -> Part:
        return "None" if node is None else self.part(node)

    def part(self, node: Any) -> Part:
        """Python text of a node."""
        exp = self._exp
        if isinstance(node, exp.Paren):
            return self.part(node.this)
        if isinstance(node, exp.Column):
            return self._arguments.of(self._column(node))
        if isinstance(node, exp.Literal):
            return self._text(node.this) if node.is_string else _number(node.this)
        if isinstance(node, exp.Null):
            return "None"
        if isinstance(node, exp.Boolean):
            return "1" if node.this else "0"
        if isinstance(node, exp.Case | exp.If):
            return self._case(node)
        if type(node) in self._writes:
            name, keys = self._writes[type(node)]
            return call(f"mysql.{name}", *self._given(node, keys))
        return self._special(node)

    def _given(self, node: Any, keys: str) -> list[Part]:
        """The arguments of a node by their keys: ``*`` is before one that is a list, ``?`` before one that may lack."""
        made: list[Part] = []
        used = [key.lstrip("*?") for key in keys.split()]
        for key, plain in zip(keys.split(), used, strict=True):
            found = node.args.get(plain)
            if key.startswith("*"):
                made += [self.part(each) for each in found or ()]
            elif found is not None:
                made.append(self.part(found))
            elif not key.startswith("?"):
                raise OutsideError(f"{node.key.upper()} has an argument too few")
        if _flags(node, *used, "safe", "typed", "coalesce"):
            raise OutsideError(f"{node.key.upper()} is written in a form that is not known here")
        return made

    def _special(self, node: Any) -> Part:
        exp = self._exp
        if isinstance(node, exp.Is) and isinstance(node.expression, exp.Null):
            return call("mysql.is_null", self.part(node.this))
        if isinstance(node, exp.GT | exp.GTE):
            name = "mysql.less" if isinstance(node, exp.GT) else "mysql.at_most"
            return call(name, self.part(node.expression), self.part(node.this))
        if isinstance(node, exp.Like):
            found = call("mysql.like", self.part(node.this), self.part(node.expression))
            return call("mysql.no", found) if node.args.get("negate") else found
        if isinstance(node, exp.Anonymous) and str(node.this).upper() in _BY_NAME:
            return call(f"mysql.{_BY_NAME[str(node.this).upper()]}", *map(self.part, node.expressions))
        if isinstance(node, exp.Trim):
            return self._trim(node)
        if isinstance(node, exp.Length):
            return call("mysql.length" if node.args.get("binary") else "mysql.char_length", self.part(node.this))
        if isinstance(node, exp.Pad):
            name = "mysql.lpad" if node.args.get("is_left") else "mysql.rpad"
            return call(name, self.part(node.this), self.part(node.expression), self.part(node.args["fill_pattern"]))
        if isinstance(node, exp.UnixToTime):
            return call("mysql.from_unixtime", self.part(node.this), *self._format(node.args.get("format")))
        if isinstance(node, exp.TimeToStr):
            inner = node.this.this if isinstance(node.this, exp.TsOrDsToTimestamp) else node.this
            return call("mysql.date_format", self.part(inner), *self._format(node.args.get("format")))
        if isinstance(node, exp.Cast):
            return self._cast(node)
        name = node.name if isinstance(node, exp.Anonymous) else node.key
        raise OutsideError(f"{one_line(str(name))[:40].upper()} is not known here")

    def _format(self, node: Any) -> list[Part]:
        if node is None:
            return []
        unknown = (
            [each for each in re.findall(f"{_PERCENT}(.)", node.this) if each not in mysql.TOKENS]
            if node.is_string
            else []
        )
        if unknown:
            raise OutsideError(f"the format %{one_line(unknown[0])} of a time is not known here")
        return [self.part(node)]

    def _trim(self, node: Any) -> Part:
        letters, side = node.args.get("expression"), node.args.get("position")
        if side is None:
            return call("mysql.trim", *map(self.part, [node.this, *([letters] if letters else [])]))
        return call(
            "mysql.trim", self.part(node.this), self.part(letters) if letters else '" "', quoted(str(side).upper())
        )

    def _cast(self, node: Any) -> Part:
        kind = node.to.this.value
        if kind in ("CHAR", "VARCHAR", "TEXT"):
            return call("mysql.text", self.part(node.this))
        if kind in ("BIGINT", "UBIGINT", "INT"):
            return call("mysql.rounded", self.part(node.this))
        if kind == "DECIMAL":
            scale = node.to.expressions[1].name if len(node.to.expressions) > 1 else "0"
            return call("mysql.rounded", self.part(node.this), *([_number(scale)] if scale != "0" else []))
        raise OutsideError(f"CAST to {kind} is not known here")

    def _case(self, node: Any) -> Part:
        branches, last = self._branches(node)
        name = identifier(f"{self._name}_case", self._taken)
        self._taken.add(name)
        lines = _returns(branches, last)
        used = self._used(lines)
        self._inner += [*_head(name, used), *lines, "", ""]
        return call(name, *used)

    def _used(self, lines: Sequence[str]) -> list[str]:
        """The arguments that lines of code name."""
        found = set().union(*(names_in(line, self._arguments.names) for line in lines))
        return [name for name in self._arguments.names if name in found]

    def _column(self, node: Any) -> Reference:
        found = re.fullmatch(r"fx(\d+)", node.name, re.ASCII)
        if found is None or node.table or int(found[1]) >= len(self._whole.references):
            raise OutsideError(f"{one_line(node.name)[:40]!r} is neither a text in quotes nor a field in braces")
        return self._whole.references[int(found[1])]

    def _text(self, said: str) -> Part:
        parts: list[Part] = []
        for at, piece in enumerate(_MARK.split(said)):
            if at % 2:
                parts.append(call("mysql.filled", self._arguments.of(self._whole.references[int(piece)])))
            elif piece:
                parts.append(quoted(piece.replace(_PERCENT, "%")))
        return '""' if not parts else parts[0] if len(parts) == 1 else call("mysql.concat", *parts)


def _sqlglot() -> Any:
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
    made, references, quote, at = [], [], "", 0
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
        made.append(_PERCENT if quote and letter == "%" else letter)
        at += 1
    return "".join(made), references


def _reference(node: Any, whole: Parsed) -> Reference | None:
    """The one reference that a node is, in quotes or not."""
    exp = _sqlglot().exp
    if isinstance(node, exp.Literal) and node.is_string:
        found = _MARK.fullmatch(node.this)
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
    return str(node.this).replace(_PERCENT, "%")


def _flags(node: Any, *known: str) -> list[str]:
    """What else a node says than what is known, so that nothing of it is overlooked."""
    return [key for key, found in node.args.items() if key not in known and found not in (None, [], False)]


def _is_plain(node: Any) -> bool:
    """Whether a node is a constant."""
    exp = _sqlglot().exp
    if isinstance(node, exp.Literal):
        return _MARK.search(node.this) is None and (node.is_string or _is_number(node.this))
    return isinstance(node, exp.Null)


def _constant(node: Any) -> str | int | Decimal | None:
    if not isinstance(node, _sqlglot().exp.Literal):
        return None
    if node.is_string:
        return _said(node)
    found = Decimal(node.this)
    return int(found) if found == found.to_integral_value() and "." not in node.this else found


def _is_number(said: str) -> bool:
    return re.fullmatch(r"\d{1,40}(\.\d{1,40})?", said, re.ASCII) is not None


def _number(said: str) -> str:
    """A number as Python text, exactly: what is not whole stays text, which `mysql` reads as a number."""
    if not _is_number(said):
        raise OutsideError(f"{one_line(said)[:40]} is no plain number")
    return str(int(said)) if "." not in said else quoted(said)


_BY_NAME = {"MID": "substring", "UNIX_TIMESTAMP": "unix_timestamp"}
_TELLS = tuple(
    f"mysql.{name}(" for name in (
        "equal", "unequal", "less", "at_most", "between", "among", "like", "is_null", "both", "either", "no",
    )
)  # fmt: skip


def _writes() -> dict[Any, tuple[str, str]]:
    """By the parser's class: the function of `mysql`, and which arguments it is given."""
    exp = _sqlglot().exp
    return {
        exp.Add: ("plus", "this expression"),
        exp.Sub: ("minus", "this expression"),
        exp.Mul: ("times", "this expression"),
        exp.Div: ("divided", "this expression"),
        exp.IntDiv: ("div", "this expression"),
        exp.Mod: ("mod", "this expression"),
        exp.Neg: ("negative", "this"),
        exp.Abs: ("absolute", "this"),
        exp.Round: ("rounded", "this ?decimals"),
        exp.Floor: ("floor", "this"),
        exp.Ceil: ("ceiling", "this"),
        exp.Trunc: ("truncated", "this decimals"),
        exp.Concat: ("concat", "*expressions"),
        exp.ConcatWs: ("concat_ws", "*expressions"),
        exp.Left: ("left", "this expression"),
        exp.Right: ("right", "this expression"),
        exp.Substring: ("substring", "this start ?length"),
        exp.SubstringIndex: ("substring_index", "this delimiter count"),
        exp.StrPosition: ("locate", "substr this ?position"),
        exp.Replace: ("replace", "this expression replacement"),
        exp.Upper: ("upper", "this"),
        exp.Lower: ("lower", "this"),
        exp.Coalesce: ("coalesce", "this *expressions"),
        exp.Nullif: ("nullif", "this expression"),
        exp.EQ: ("equal", "this expression"),
        exp.NEQ: ("unequal", "this expression"),
        exp.LT: ("less", "this expression"),
        exp.LTE: ("at_most", "this expression"),
        exp.Between: ("between", "this low high"),
        exp.In: ("among", "this *expressions"),
        exp.And: ("both", "this expression"),
        exp.Or: ("either", "this expression"),
        exp.Not: ("no", "this"),
    }

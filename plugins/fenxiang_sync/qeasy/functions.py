"""Functions: an expression becomes a Python function of the DAG file.

Each CASE within an expression becomes a function of its own, so that only the branch that is taken is worked out. What
is not taken over becomes a function that rejects each record and says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fenxiang_sync.dagfile import Code, Part, call, folded, identifier, laid, names_in, one_line, quoted
from fenxiang_sync.qeasy import mysql
from fenxiang_sync.qeasy.expressions import MARK, PERCENT, OutsideError, Parsed, flags, number_code, parsed, parser
from fenxiang_sync.qeasy.kinds import Kinds
from fenxiang_sync.qeasy.references import Reference

_MOST_BRANCHES = 200
_DEEPEST = 80
_SIDES = 2
_DECIMALS = "15"
"""How many more a division has where MySQL works with floating-point numbers."""


@dataclass(slots=True)
class Function:
    """A Python function made of an expression. `reads` are the source fields of its arguments, `lines` its text."""

    name: str
    reads: list[str]
    lines: list[str]
    outside: str = ""


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
        self._exp = parser().exp
        self._whole = whole
        self._name = name
        self._taken = taken
        self._arguments = _Arguments(resolve)
        for reference in whole.references:
            self._arguments.of(reference)
        self._inner: list[str] = []
        self._depth = 0
        self._writes = _writes()
        self._compares = _compares()
        self._kinds = Kinds()

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
        return self._condition(key) if subject is None else self._compared("equal", subject, key)

    def _condition(self, node: Any) -> Part:
        """What an `if` may ask: null does not hold, and a text counts as a number."""
        part = self.part(node)
        return part if isinstance(part, Code) and part.head in _TELLS else call("mysql.true", part)

    def _or_none(self, node: Any) -> Part:
        return "None" if node is None else self.part(node)

    def part(self, node: Any) -> Part:
        """Python text of a node."""
        if self._depth >= _DEEPEST:
            raise OutsideError(f"nests too deep: more than {_DEEPEST} operations within each other")
        self._depth += 1
        made = self._part(node)
        self._depth -= 1
        return made

    def _part(self, node: Any) -> Part:
        exp = self._exp
        if node is None:
            raise OutsideError("has an argument too few")
        if isinstance(node, exp.Paren):
            return self.part(node.this)
        if isinstance(node, exp.Column):
            return self._arguments.of(self._column(node))
        if isinstance(node, exp.Literal):
            return self._text(node.this) if node.is_string else number_code(node.this)
        if isinstance(node, exp.Null):
            return "None"
        if isinstance(node, exp.Boolean):
            return "1" if node.this else "0"
        if isinstance(node, exp.Case | exp.If):
            return self._case(node)
        if type(node) in self._writes:
            name, keys = self._writes[type(node)]
            return call(f"mysql.{name}", *map(self.part, self._given(node, keys)))
        if type(node) in self._compares:
            name, keys = self._compares[type(node)]
            return self._compared(name, *self._given(node, keys))
        return self._special(node)

    def _compared(self, name: str, *nodes: Any) -> Code:
        """A comparison. A field without quotes is a number in it where it can be one, as in MySQL's statement."""
        parts = [self.part(each) for each in nodes]
        texts = [each for each in nodes if not self._kinds.is_number(each)]
        if len(texts) < _SIDES or not any(map(self._kinds.is_bare, nodes)):
            return call(f"mysql.{name}", *parts)
        if name == "among":
            return call("mysql.among_bare", *parts)
        numbers = ("*", call("mysql.bare", *parts))
        return Code(f"mysql.{name}(", (("", parts[0]), numbers) if name == "nullif" else (numbers,), ")")

    def _given(self, node: Any, keys: str) -> list[Any]:
        """The arguments of a node by their keys: ``*`` is before one that is a list, ``?`` before one that may lack."""
        made: list[Any] = []
        used = [key.lstrip("*?") for key in keys.split()]
        for key, plain in zip(keys.split(), used, strict=True):
            found = node.args.get(plain)
            if key.startswith("*"):
                made += found or ()
            elif found is not None:
                made.append(found)
            elif not key.startswith("?"):
                raise OutsideError(f"{node.key.upper()} has an argument too few")
        if flags(node, *used, "safe", "typed", "coalesce"):
            raise OutsideError(f"{node.key.upper()} is written in a form that is not known here")
        return made

    def _special(self, node: Any) -> Part:
        exp = self._exp
        if isinstance(node, exp.Is) and isinstance(node.expression, exp.Null):
            return call("mysql.is_null", self.part(node.this))
        if isinstance(node, exp.Div):
            parts = map(self.part, self._given(node, "this expression"))
            return call("mysql.divided", *parts, *([_DECIMALS] if self._kinds.is_float(node) else []))
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
        if isinstance(node, exp.UnixToTime | exp.TimeToStr):
            return self._time(node)
        if isinstance(node, exp.Cast):
            return self._cast(node)
        name = node.name if isinstance(node, exp.Anonymous) else node.key
        raise OutsideError(f"{one_line(str(name))[:40].upper()} is not known here")

    def _time(self, node: Any) -> Part:
        exp = self._exp
        form = self._format(node.args.get("format"))
        if isinstance(node, exp.UnixToTime):
            return call("mysql.from_unixtime", self.part(node.this), *form)
        inner = node.this.this if isinstance(node.this, exp.TsOrDsToTimestamp) else node.this
        return call("mysql.date_format", self.part(inner), *form)

    def _format(self, node: Any) -> list[Part]:
        if node is None:
            return []
        unknown = (
            [each for each in re.findall(f"{PERCENT}(.)", node.this) if each not in {*mysql.TOKENS, PERCENT}]
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
            size = [number_code(each.name) for each in node.to.expressions]
            return call("mysql.left" if size else "mysql.text", self.part(node.this), *size)
        if kind in ("BIGINT", "UBIGINT", "INT"):
            if self._kinds.is_text(node.this):
                return call("mysql.truncated", self.part(node.this), "0")
            return call("mysql.rounded", self.part(node.this))
        if kind == "DECIMAL":
            scale = node.to.expressions[1].name if len(node.to.expressions) > 1 else "0"
            return call("mysql.rounded", self.part(node.this), *([number_code(scale)] if scale != "0" else []))
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
        for at, piece in enumerate(MARK.split(said)):
            if at % 2:
                parts.append(call("mysql.filled", self._arguments.of(self._whole.references[int(piece)])))
            elif piece:
                parts.append(quoted(piece.replace(PERCENT, "%")))
        return '""' if not parts else parts[0] if len(parts) == 1 else call("mysql.concat", *parts)


_BY_NAME = {"MID": "substring", "UNIX_TIMESTAMP": "unix_timestamp"}
_TELLS = tuple(
    f"mysql.{name}(" for name in (
        "equal", "unequal", "less", "at_most", "between", "among", "among_bare", "like", "is_null", "both",
        "either", "no",
    )
)  # fmt: skip


def _writes() -> dict[Any, tuple[str, str]]:
    """By the parser's class: the function of `mysql`, and which arguments it is given."""
    exp = parser().exp
    return {
        exp.Add: ("plus", "this expression"),
        exp.Sub: ("minus", "this expression"),
        exp.Mul: ("times", "this expression"),
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
        exp.And: ("both", "this expression"),
        exp.Or: ("either", "this expression"),
        exp.Not: ("no", "this"),
    }


def _compares() -> dict[Any, tuple[str, str]]:
    """By the parser's class of a comparison: the function of `mysql`, and which arguments it is given."""
    exp = parser().exp
    return {
        exp.Nullif: ("nullif", "this expression"),
        exp.EQ: ("equal", "this expression"),
        exp.NEQ: ("unequal", "this expression"),
        exp.LT: ("less", "this expression"),
        exp.LTE: ("at_most", "this expression"),
        exp.GT: ("less", "expression this"),
        exp.GTE: ("at_most", "expression this"),
        exp.Between: ("between", "this low high"),
        exp.In: ("among", "this *expressions"),
    }

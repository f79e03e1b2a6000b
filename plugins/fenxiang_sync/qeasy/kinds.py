"""Kinds: what MySQL takes a part of an expression for: a number, a text, or a field that stands without quotes, whose
text MySQL reads as whatever it looks like."""

from __future__ import annotations

from typing import Any

from fenxiang_sync.qeasy.expressions import parser


class Kinds:
    """Tells the kinds of a parser's nodes."""

    def __init__(self) -> None:
        exp = parser().exp
        self._exp = exp
        self._arithmetic = (
            exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.Neg, exp.Abs, exp.Round, exp.Floor, exp.Ceil,
            exp.Trunc,
        )  # fmt: skip
        self._counts = (exp.Length, exp.StrPosition)
        self._texts = (
            exp.Concat, exp.ConcatWs, exp.Left, exp.Right, exp.Substring, exp.SubstringIndex, exp.Replace, exp.Trim,
            exp.Pad, exp.Upper, exp.Lower, exp.UnixToTime, exp.TimeToStr,
        )  # fmt: skip

    def is_bare(self, node: Any) -> bool:
        """Whether it is, or may be, a field that stands without quotes."""
        return isinstance(node, self._exp.Column) or any(map(self.is_bare, self._choices(node)))

    def is_number(self, node: Any) -> bool:
        """Whether it is a number whatever its fields are."""
        if isinstance(node, self._exp.Literal):
            return not node.is_string
        choices = self._choices(node)
        return isinstance(node, (*self._arithmetic, *self._counts)) or (
            bool(choices) and all(map(self.is_number, choices))
        )

    def is_text(self, node: Any) -> bool:
        """Whether it is text whatever its fields are."""
        exp = self._exp
        if isinstance(node, exp.Literal):
            return bool(node.is_string)
        if isinstance(node, exp.Cast):
            return node.to.this.value in ("CHAR", "VARCHAR", "TEXT")
        if isinstance(node, exp.Anonymous):
            return str(node.this).upper() == "MID"
        return isinstance(node, self._texts) or any(map(self.is_text, self._choices(node)))

    def is_float(self, node: Any) -> bool:
        """Whether a text is worked with as a number, for which MySQL has floating-point numbers."""
        if isinstance(node, (self._exp.IntDiv, self._exp.Floor, self._exp.Ceil)):
            return False
        if isinstance(node, self._arithmetic):
            sides = [node.this, *([node.expression] if node.args.get("expression") is not None else [])]
            return any(map(self.is_float, sides))
        return self.is_text(node) or any(map(self.is_float, self._choices(node)))

    def _choices(self, node: Any) -> list[Any]:
        """The nodes of which one is the value of this one, none where it is no choice."""
        exp = self._exp
        if isinstance(node, exp.Paren | exp.Nullif):
            return [node.this]
        if isinstance(node, exp.Coalesce):
            return [node.this, *node.expressions]
        if isinstance(node, exp.If):
            return [node.args["true"], *_there(node.args.get("false"))]
        if isinstance(node, exp.Case):
            return [*(each.args["true"] for each in node.args["ifs"]), *_there(node.args.get("default"))]
        return []


def _there(node: Any) -> list[Any]:
    return [] if node is None else [node]

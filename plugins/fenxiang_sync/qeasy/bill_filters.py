"""Bill filters: the FilterString of a form becomes its stamp, the window of a run, and `where`."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from fenxiang_sync.condition import Logic
from fenxiang_sync.dagfile import flat
from fenxiang_sync.kingdee.query import among, literal, where_problems
from fenxiang_sync.qeasy.bounds import Bounds
from fenxiang_sync.qeasy.filter_strings import Bound, alternatives, bounds, conditions, moves
from fenxiang_sync.qeasy.metadata import Node, text_of
from fenxiang_sync.qeasy.queries import references_in
from fenxiang_sync.qeasy.reading import Form, Kept, Reading, is_field_key, is_own_key
from fenxiang_sync.qeasy.report import Report, shown
from fenxiang_sync.qeasy.variables import Anchor, Moment, moment

_STAMP = "FModifyDate"
_MORE = "more is read than Qeasy reads"
_SIGNS = {Logic.EQ: "=", Logic.GT: ">", Logic.EGT: ">=", Logic.LT: "<", Logic.ELT: "<="}
"""Comparisons that hold for no null, here as in SQL."""


class BillFilter:
    """Reads a FilterString into a `Form` and a `Reading`."""

    def __init__(self, node: Node, made: Reading, form: Form, report: Report) -> None:
        self._place = node.place
        self._said = text_of(node.value)
        self._made = made
        self._form = form
        self._report = report
        self._bounded: set[bool] = set()

    def read(self) -> None:
        if not self._said:
            return
        if self._said.startswith("_function"):
            self._none(f"is an expression: {_MORE}; write what it filters by into where=…")
            return
        parts = conditions(self._said)
        self._form.modified = _stamp(parts)
        if self._form.modified != _STAMP:
            self._report.changed(
                self._place,
                f"{self._form.modified} is the stamp (modified=…): as in Qeasy, a change that does not move it is not "
                f"read; without modified=… it is {_STAMP}, which each save moves",
            )
        self._where([part for part in parts if not (self._is_bound(part) or self._is_either(part) or self._left(part))])

    def _none(self, said: str) -> None:
        self._report.none(self._place, said)

    def _is_bound(self, part: str) -> bool:
        """Read a bound of the stamp that moves; whether it is one."""
        found = bounds(part)
        if not any(_in_motion(each) for each in found) or {each.key for each in found} != {self._form.modified}:
            return False
        for each in found:
            self._bound(each)
        return True

    def _is_either(self, part: str) -> bool:
        """Read a bound of the stamp or of another; whether it is such a one."""
        either = _either(part)
        if self._form.modified not in either or True in self._bounded:
            return False
        self._bound(either.pop(self._form.modified))
        for other in either:
            self._none(
                f"or {other}: one stamp makes a window. A document in which only {other} moves is found by "
                f"Reconcile(deep=True), or by a pipeline with modified={other!r}"
            )
        return True

    def _bound(self, bound: Bound) -> None:
        made = Bounds(self._made, self._report, bound.key)
        if bound.lower in self._bounded:
            self._none(f"a second bound of {bound.key}: {_MORE}")
        elif bound.lower:
            made.lower(self._place, moment(bound.value))
        else:
            made.upper(self._place, moment(bound.value), "Kingdee's")
        self._bounded.add(bound.lower)

    def _left(self, part: str) -> bool:
        """Tell of a condition that cannot stand in a declaration; whether it is one."""
        if references_in(part) and len(alternatives(part)) > 1:
            self._none(f"{shown(part)}: an OR with a variable in it; what moves {self._form.modified} is read")
        elif references_in(part) or moves(part):
            self._none(f"{shown(part)}: moves with time or reads a field: {_MORE}")
        else:
            return False
        return True

    def _where(self, parts: Sequence[str]) -> None:
        good = [part for part in parts if not list(where_problems(part))]
        for part in parts:
            if part not in good:
                self._none(f"{shown(part)}: {'; '.join(where_problems(part))}: {_MORE}")
        where = " and ".join(map(_beside, good) if len(good) > 1 else good)
        if wrong := list(where_problems(where)):
            self._none(f"{'; '.join(wrong)}: {_MORE}")
        elif where:
            self._form.where = where
            self._report.taken(self._place, f"where: {shown(where)}; what leaves it is found by the reconcile")


def narrow(made: Reading, form: Form, report: Report) -> None:
    """Move conditions that are on no field of the document itself into `where`: of a single list, all of which holds,
    and as far as SQL means the same. The others are told, and drop nothing."""
    sure = len(made.conditions) == 1
    for group in made.conditions:
        for each in list(group):
            key = made.aliases.get(each.field, each.field)
            if is_own_key(key) and not made.below(key):
                continue
            group.remove(each)
            if not (sure and _narrowed(form, key, each, report)):
                report.none(
                    "source.condition",
                    f"{shown(key)}: a condition is on a field of the document itself, so it drops nothing; write it "
                    "into where=…",
                )
    if not any(made.conditions):
        made.conditions = []


def _narrowed(form: Form, key: str, kept: Kept, report: Report) -> bool:
    """Put a condition into `where`; whether it could be."""
    said = _as_sql(key, kept) if is_field_key(key) else ""
    where = " and ".join(filter(None, (_beside(form.where), said)))
    if not said or list(where_problems(where)):
        return False
    form.where = where
    report.changed("source.condition", f"where: {shown(said)}; what leaves it is found by the reconcile")
    return True


def _as_sql(key: str, kept: Kept) -> str:
    """A condition as SQL, "" where that would mean something else, as of nulls."""
    try:
        given = ast.literal_eval(flat(kept.value or "None"))
    except ValueError:  # a moment or a number with decimals
        return ""
    values = given if isinstance(given, list) else [given]
    if not all(type(each) in (str, int) and "\0" not in str(each) for each in values):
        return ""
    if kept.logic is Logic.IN:
        return among(key, values)
    if kept.logic is Logic.BETWEEN:
        return f"{key} between {literal(values[0])} and {literal(values[1])}"
    return f"{key} {_SIGNS[kept.logic]} {literal(values[0])}" if kept.logic in _SIGNS else ""


def _beside(where: str) -> str:
    """A filter as it stands beside another condition."""
    return f"({where})" if where and len(conditions(f"{where} and x = 1")) == 1 else where


def ages(tree: Sequence[Node]) -> Iterator[Moment]:
    """The moments that filter strings of a tree ask for."""
    for node in tree:
        if node.field == "FilterString":
            for part in conditions(text_of(node.value)):
                both = [*bounds(part), *(each for said in alternatives(part) for each in bounds(said))]
                yield from (found for each in both if (found := moment(each.value)) is not None)


def _stamp(parts: Sequence[str]) -> str:
    """The key by which a scheme finds changes: that of a lower bound which moves with runs, else with time."""
    lower = [each for part in parts for each in bounds(part) if each.lower and is_own_key(each.key)]
    either = [each for part in parts for each in _either(part).values()]
    lower += sorted(either, key=lambda each: each.key != _STAMP)
    for anchor in (Anchor.LAST, Anchor.NOW):
        for each in lower:
            if (found := moment(each.value)) is not None and found.anchor is anchor:
                return each.key
    return _STAMP


def _either(part: str) -> dict[str, Bound]:
    """The lower bounds of which one must hold, by their keys; none where anything else is among them."""
    found = [bounds(each) for each in alternatives(part)]
    if not all(len(each) == 1 and each[0].lower and _in_motion(each[0]) and is_own_key(each[0].key) for each in found):
        return {}
    return {each[0].key: each[0] for each in found}


def _in_motion(bound: Bound) -> bool:
    """Whether a bound moves with runs or with time."""
    found = moment(bound.value)
    return found is not None and found.anchor is not Anchor.FIXED

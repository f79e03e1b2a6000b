"""Bill filters: the FilterString of a form becomes its stamp, the window of a run, and `where`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fenxiang_sync.kingdee.query import where_problems
from fenxiang_sync.qeasy.bounds import Bounds
from fenxiang_sync.qeasy.filter_strings import Bound, alternatives, bounds, conditions, moves
from fenxiang_sync.qeasy.metadata import Node, text_of
from fenxiang_sync.qeasy.queries import references_in
from fenxiang_sync.qeasy.reading import Form, Reading, is_own_key
from fenxiang_sync.qeasy.report import Report, shown
from fenxiang_sync.qeasy.variables import Anchor, Moment, moment

_STAMP = "FModifyDate"
_MORE = "more is read than Qeasy reads"


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
        where = " and ".join(f"({part})" if len(alternatives(part)) > 1 and len(good) > 1 else part for part in good)
        if wrong := list(where_problems(where)):
            self._none(f"{'; '.join(wrong)}: {_MORE}")
        elif where:
            self._form.where = where
            self._report.taken(self._place, f"where: {shown(where)}; what leaves it is found by the reconcile")


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

"""Queries: the filters of a request become the window of a run, its lookback, and filters of a source."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from fenxiang_sync.dagfile import call, quoted, value
from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.qeasy.bounds import Bounds
from fenxiang_sync.qeasy.metadata import Node, is_true, text_of
from fenxiang_sync.qeasy.reading import API_NAME, Reading
from fenxiang_sync.qeasy.references import Reference, pieces
from fenxiang_sync.qeasy.report import Report, shown
from fenxiang_sync.qeasy.variables import moment
from fenxiang_sync.source import Filter, Operator

_STAMP = "last_modified_time"
_BARE = re.compile(r'(?<!["\w]){{[\w.|]+}}\d*(?!["\w])')
"""A reference that stands in JSON without quotes."""


class Query:
    """Reads ``search_query_info`` into a `Reading`."""

    def __init__(self, made: Reading, report: Report) -> None:
        self._made = made
        self._report = report

    def read(self, query: Node) -> None:
        for node in self._inner(query):
            if node.field == "filters":
                found = list(self._flat_filters(node))
                either = any(_joined_by_or(each) for each in found)
                for each in found:
                    self._filter(each, either=either)
            elif node.field in ("offset", "limit"):
                self._report.changed(
                    node.place, "pages are read by _id at offset 0, 100 records each, so that none is lost between them"
                )
            elif node.field == "orders":
                self._report.changed(node.place, "pages are read in the order of _id")
            else:
                self._report.none(node.place, "no part of a query that is known here")

    def _flat_filters(self, filters: Node) -> Iterator[Node]:
        """The nodes that are filters; 条件1 is only the label of one."""
        if filters.child("field_name"):
            yield filters
            return
        inner = self._inner(filters)
        for each in inner:
            yield from self._flat_filters(each)
        if not inner and filters.field != "filters":
            self._report.unknown(filters.place, "is no filter: it has no field_name")

    def _inner(self, node: Node) -> Sequence[Node]:
        """The children of a node; those of its value where that is JSON, as it stands or as text."""
        given = node.value
        if node.children and given is not None:
            self._report.none(node.place, "has a value and children; the children are taken")
        if node.children or given is None:
            return node.children
        try:
            return _tree(node, json.loads(_BARE.sub(r'"\g<0>"', given)) if isinstance(given, str) else given)
        except (TypeError, ValueError, RecursionError):
            self._report.none(
                node.place,
                "is neither a tree nor JSON, so its filters are not known: more is read than in Qeasy; write filters=…",
            )
            return ()

    def _filter(self, node: Node, *, either: bool) -> None:
        report = self._report
        parts = {each.field: each for each in node.children}
        for name in parts.keys() - {"field_name", "operator", "field_values", "connector", "isObjectReference"}:
            report.unknown(f"{node.place}.{shown(name)}")
        name, operator = parts["field_name"].text, parts["operator"].text.upper() if "operator" in parts else ""
        values = parts.get("field_values")
        if name == _STAMP:
            self._bound(node, operator, values)
        elif either:
            report.none(
                node.place,
                f"the filter on {shown(name)} is one of several joined by OR, and filters must all hold here: more is "
                "read than Qeasy reads; write conditions=[[…], […]]",
            )
        elif "isObjectReference" in parts and is_true(parts["isObjectReference"].value):
            report.none(
                node.place,
                f"isObjectReference: {shown(name)} is compared by the name of what it refers to: more is read than "
                "Qeasy reads; write a Filter on its id",
            )
        elif name == "_id" or not API_NAME.fullmatch(name):
            report.none(
                node.place, f"a filter on {shown(name) or 'nothing'!r}: more is read than Qeasy reads; use conditions=…"
            )
        elif operator not in Operator.__members__:
            report.none(
                node.place, f"operator {shown(operator)!r} is unknown: more is read than Qeasy reads; write a Filter"
            )
        else:
            self._plain_filter(node, name, Operator[operator], values)

    def _plain_filter(self, node: Node, name: str, operator: Operator, values: Node | None) -> None:
        given = _values(values)
        if given is None:
            self._report.none(
                node.place, f"the filter on {name} moves with time or reads a field: more is read than Qeasy reads"
            )
            return
        try:
            Filter(name, operator, given)
        except DeclarationError as error:
            self._report.none(node.place, f"{error}: more is read than Qeasy reads")
            return
        parts = [
            quoted(name),
            f"Operator.{operator.name}",
            *([value(given[0])] if len(given) == 1 else [value(given)] if given else []),
        ]
        self._made.filters.append(call("Filter", *parts))
        self._report.taken(node.place, f"a Filter on {name}")

    def _bound(self, node: Node, operator: str, values: Node | None) -> None:
        """A bound of last_modified_time: the window, the lookback or the settle time."""
        made = Bounds(self._made, self._report, _STAMP)
        bounds = [moment(each) for each in texts_of(values)]
        if operator == "BETWEEN" and len(bounds) == 2:
            made.lower(node.place, bounds[0])
            made.upper(node.place, bounds[1], "the CRM's")
        elif operator in ("GTE", "GT") and len(bounds) == 1:
            made.lower(node.place, bounds[0])
        elif operator in ("LTE", "LT") and len(bounds) == 1:
            made.upper(node.place, bounds[0], "the CRM's")
        else:
            made.unread(node.place)


def _joined_by_or(node: Node) -> bool:
    connector = node.child("connector")
    return connector is not None and connector.text.upper() not in ("", "AND")


def _tree(above: Node, given: Any) -> tuple[Node, ...]:
    """The nodes of JSON; raises `TypeError` for what is no object or list of objects."""
    if isinstance(given, list):
        given = {f"条件{number}": each for number, each in enumerate(given, 1)}
        if not all(isinstance(each, dict) for each in given.values()):
            raise TypeError("a list of something else than objects")
    if not isinstance(given, dict):
        raise TypeError("a plain value")
    made = []
    for name, found in given.items():
        node = Node(place=f"{above.place}.{shown(name)}", field=name)
        inner = isinstance(found, dict) or (isinstance(found, list) and any(isinstance(each, dict) for each in found))
        made.append(replace(node, children=_tree(node, found)) if inner else replace(node, value=found))
    return tuple(made)


def references_in(said: str) -> list[Reference]:
    return [each for each in pieces(said) if not isinstance(each, str)]


def texts_of(node: Node | None) -> list[str]:
    if node is None:
        return []
    given = node.value if isinstance(node.value, list) else [node.value]
    texts = [text_of(each) for each in given if each is not None]
    parts = [
        part.strip() for each in texts for part in (each.split(",") if not each.startswith("_function") else [each])
    ]
    return parts + [text for child in node.children for text in texts_of(child)]


def all_texts(tree: Sequence[Node]) -> Iterator[str]:
    for node in tree:
        yield from texts_of(node)
        yield from all_texts(node.children)


def _values(node: Node | None) -> list[str] | None:
    """The values of a filter as text; None where they are not constant."""
    if node is None:
        return []
    separator = (node.params[0] if node.params else "") or ","
    given = node.value if isinstance(node.value, list) else [node.value]
    texts = [
        {True: "true", False: "false"}.get(each) if isinstance(each, bool) else text_of(each)
        for each in given
        if each is not None
    ]
    if any(each is None or references_in(each) or each.startswith(("_function", "_findCollection")) for each in texts):
        return None
    if node.parser == "StringToArray":
        texts = [part.strip() for each in texts if each for part in each.split(separator)]
    return [each for each in [*texts, *(inner for child in node.children for inner in _values(child) or [])] if each]

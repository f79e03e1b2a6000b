"""Metadata (元数据): a scheme's JSON, read with bounds into a `Scheme` of typed nodes.

What Qeasy exports is not known; people copy the source view (源码视图) of each side. So a file may hold one side, both
in a list, or an object with ``source`` and ``target`` (and ``strategy``), and two files may be given.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn

from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.qeasy.report import Report, shown

MOST_BYTES = 4 * 1024 * 1024
MOST_DEPTH = 40
MOST_VALUES = 100_000
_MOST_DIGITS = 40

_READS, _WRITES = "QUERY", "EXECUTE"
_NODE_KEYS = frozenset(
    ("field", "label", "type", "value", "describe", "is_required", "parser", "parent", "children", "default")
)
_STRATEGY_KEYS = frozenset(("strategy_id", "id", "name", "mode", "retry_times", "source", "target", "preconditions"))
_SIDE_OF_STRATEGY = frozenset(("platform", "crontab", "adapter", "connector"))

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node of a request or response tree. `place` is where it stands, for people; `value` is JSON, None for none."""

    place: str
    field: str
    label: str = ""
    type: str = ""
    value: Any = None
    required: bool = False
    parser: str = ""
    params: tuple[str, ...] = ()
    children: tuple[Node, ...] = ()

    @property
    def text(self) -> str:
        """The value where it is text, "" where it is none."""
        return self.value.strip() if isinstance(self.value, str) else ""

    def child(self, name: str) -> Node | None:
        """The first child of that name."""
        return next((each for each in self.children if each.field == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """The metadata of one side: its plain keys, and its trees by their name."""

    name: str
    keys: Object
    trees: Mapping[str, tuple[Node, ...]]

    @property
    def api(self) -> str:
        return text_of(self.keys.get("api"))

    def find(self, tree: str, name: str) -> Node | None:
        """The first node of a tree, at its top, of that name."""
        return next((each for each in self.trees.get(tree, ()) if each.field == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """A scheme: what it reads, and what it writes, None where the metadata has the source alone."""

    id: str = ""
    name: str = ""
    mode: str = ""
    retries: int = 0
    source_cron: str = ""
    target_cron: str = ""
    source_platform: str = ""
    target_platform: str = ""
    preconditions: tuple[str, ...] = ()
    source: Side
    target: Side | None = None


TREES = ("request", "otherRequest", "response", "otherResponse")


def read(contents: Sequence[bytes], report: Report) -> Scheme:
    """The scheme of one file, or of one for each side. Raises `DeclarationError` with a sentence for what is none."""
    documents = [_parsed(content, report) for content in contents]
    sides: dict[str, Object] = {}
    strategy: Object = {}
    for document in documents:
        for found, said in _parts(document, report):
            if found == "strategy":
                strategy = said
            elif found in sides:
                raise DeclarationError(
                    f"there are two {found} sides; give one scheme at a time, in one file or a file for each side"
                )
            else:
                sides[found] = said
    if "source" not in sides:
        raise DeclarationError(
            "this is the writing side (target) alone, and what is read is not in it; give the source's metadata as a "
            "second file"
        )
    target = _side("target", sides["target"], report) if "target" in sides else None
    return _scheme(strategy, _side("source", sides["source"], report), target, report)


def receiver(content: bytes) -> Side:
    """The target side of a scheme that another one calls back; raises `DeclarationError` where there is none."""
    unsaid = Report()
    for found, said in _parts(_parsed(content, unsaid), unsaid):
        if found == "target":
            return _side("target", said, unsaid)
    raise DeclarationError("there is no writing side (target) in it, and what a scheme does is said there")


def text_of(given: Any) -> str:
    """Text of a JSON value that is text or a number, "" for any other."""
    if isinstance(given, bool) or not isinstance(given, str | int | Decimal):
        return ""
    return str(given).strip()


def is_true(given: Any) -> bool | None:
    """True or False of what means it in metadata, None for anything else."""
    return {"true": True, "1": True, "false": False, "0": False}.get(str(given).strip().lower())


def _parsed(content: bytes, report: Report) -> Any:
    if len(content) > MOST_BYTES:
        _refuse(f"it has more than {MOST_BYTES:,} bytes; metadata of a scheme has some thousand")
    try:
        written = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _refuse(f"it is no UTF-8 text (byte {error.start:,}); save it as UTF-8")
    twice: list[str] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in found]
        twice.extend({name for name in names if names.count(name) > 1} if len(names) != len(set(names)) else ())
        return dict(found)

    try:
        document = json.loads(
            written, object_pairs_hook=pairs, parse_float=Decimal, parse_int=_whole, parse_constant=_no_number
        )
        json.dumps(document, ensure_ascii=False, default=str).encode()
    except RecursionError:
        _refuse(f"it nests deeper than {MOST_DEPTH} levels")
    except UnicodeEncodeError:
        _refuse("it has half a character in it (a lone surrogate such as \\ud800)")
    except ValueError as error:
        _refuse(f"it is no JSON: {shown(str(error))}. Copy all of the source view (源码视图), first brace to last")
    _bounded(document)
    for name in dict.fromkeys(twice):
        report.changed(name, "the key is there twice in one object; the last one counts, as JSON readers do")
    return document


def _whole(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _bounded(document: Any) -> None:
    """Refuse what is too deep or has too many values; with a stack, so that depth cannot hurt."""
    left, values = [(document, 1)], 0
    while left:
        found, depth = left.pop()
        values += 1
        if depth > MOST_DEPTH:
            _refuse(f"it nests deeper than {MOST_DEPTH} levels")
        if values > MOST_VALUES:
            _refuse(f"it has more than {MOST_VALUES:,} values")
        inner = found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
        left.extend((each, depth + 1) for each in inner)


def _refuse(why: str) -> NoReturn:
    raise DeclarationError(f"this is no metadata of a Qeasy scheme: {why}")


def _parts(document: Any, report: Report) -> Iterator[tuple[str, Object]]:
    """The sides of a document, and its strategy."""
    if isinstance(document, list):
        if not document:
            _refuse("the list is empty")
        for each in document:
            yield from _parts(each, report)
        return
    if not isinstance(document, dict):
        _refuse(f"it is {_kind(document)}, and an object with api and request is needed")
    if "source" in document or "target" in document:
        yield from _envelope(document, report)
    else:
        yield _which(document), document


def _envelope(document: Object, report: Report) -> Iterator[tuple[str, Object]]:
    for key, found in document.items():
        if key.startswith("_"):
            report.changed(key, "begins with _, so it is taken for a comment")
        elif key not in ("source", "target", "strategy"):
            report.unknown(key)
        elif isinstance(found, dict):
            yield key, found
        elif found is not None:
            _refuse(f"its {key} is {_kind(found)}, and an object is needed")


def _which(side: Object) -> str:
    said = f"{side.get('effect') or side.get('type') or ''}".upper()
    if said in (_READS, _WRITES):
        return "source" if said == _READS else "target"
    if "api" not in side:
        _refuse("it has neither source and target nor an api; copy the source view (源码视图) of a side")
    return "source" if "query" in text_of(side["api"]).lower() else "target"


def _scheme(strategy: Object, source: Side, target: Side | None, report: Report) -> Scheme:
    for key in strategy:
        if key not in _STRATEGY_KEYS:
            report.unknown(f"strategy.{key}")
    of_source, of_target = (_object(strategy.get(side)) for side in ("source", "target"))
    for name, side in (("source", of_source), ("target", of_target)):
        for key in side:
            if key not in _SIDE_OF_STRATEGY:
                report.unknown(f"strategy.{name}.{key}")
            elif key in ("adapter", "connector"):
                report.changed(f"strategy.{name}.{key}", "an Airflow connection takes its place: Admin, Connections")
    retries = text_of(strategy.get("retry_times"))
    if retries and not (retries.isascii() and retries.isdecimal()):
        report.unknown("strategy.retry_times", f"{shown(retries)!r} is no number of retries")
        retries = ""
    conditions = strategy.get("preconditions") or ()
    conditions = conditions if isinstance(conditions, list | tuple) else [conditions]
    return Scheme(
        id=text_of(strategy.get("strategy_id")) or text_of(strategy.get("id")),
        name=text_of(strategy.get("name")),
        mode=text_of(strategy.get("mode")),
        retries=int(retries[:3] or 0),
        source_cron=text_of(of_source.get("crontab")),
        target_cron=text_of(of_target.get("crontab")),
        source_platform=text_of(of_source.get("platform")),
        target_platform=text_of(of_target.get("platform")),
        preconditions=tuple(map(text_of, conditions)),
        source=source,
        target=target,
    )


def _object(given: Any) -> Object:
    return given if isinstance(given, dict) else {}


def _side(name: str, document: Object, report: Report) -> Side:
    trees = {}
    for tree in TREES:
        given = document.get(tree, document.get(f"{tree}Params"))
        if given is not None:
            trees[tree] = nodes(given, f"{name}.{tree}", report)
    keys = {key: found for key, found in document.items() if key.removesuffix("Params") not in TREES}
    return Side(name=name, keys=keys, trees=trees)


def nodes(given: Any, place: str, report: Report) -> tuple[Node, ...]:
    """The nodes of a list, as which a tree is written; what is none is told and left out."""
    if isinstance(given, dict):
        given = [
            {"field": key, **(found if isinstance(found, dict) else {"value": found})} for key, found in given.items()
        ]
        report.changed(place, "is an object, not a list of nodes; its keys are taken for the nodes' fields")
    if not isinstance(given, list):
        report.unknown(place, f"is {_kind(given)}, and a list of nodes is needed")
        return ()
    return tuple(node for at, each in enumerate(given) if (node := _node(each, place, at, report)) is not None)


def _node(given: Any, place: str, at: int, report: Report) -> Node | None:
    if not isinstance(given, dict):
        report.unknown(f"{place}[{at}]", f"is {_kind(given)}, and a node with field and value is needed")
        return None
    name = text_of(given.get("field"))
    here = f"{place}.{shown(name) or f'[{at}]'}"
    for key in given:
        if key not in _NODE_KEYS:
            report.unknown(f"{here}.{shown(key)}")
    if "default" in given:
        report.none(f"{here}.default", "no key of a node that is documented; write default=… on its Field")
    parser, params = _parser(given.get("parser"), here, report)
    value = given.get("value")
    return Node(
        place=here,
        field=name,
        label=text_of(given.get("label")),
        type=text_of(given.get("type")).lower(),
        value=None if value == "" and not parser else value,
        required=is_true(given.get("is_required")) is True,
        parser=parser,
        params=params,
        children=nodes(given["children"], here, report) if given.get("children") else (),
    )


def _parser(given: Any, place: str, report: Report) -> tuple[str, tuple[str, ...]]:
    """A parser's name and params. They are written as text, a list, or params1 and params2."""
    if given in (None, "", {}, []):
        return "", ()
    if isinstance(given, list) and len(given) == 1:
        given = given[0]
    if isinstance(given, str):
        given = {"name": given}
    if not isinstance(given, dict):
        report.unknown(f"{place}.parser", f"is {_kind(given)}, and a name with params is needed")
        return "", ()
    params: list[str] = []
    for key, found in given.items():
        if key in ("params", "params1", "params2"):
            several = found if isinstance(found, list) else found.values() if isinstance(found, dict) else [found]
            params += [each if isinstance(each, str) else text_of(each) for each in several if each is not None]
        elif key != "name":
            report.unknown(f"{place}.parser.{shown(key)}")
    return text_of(given.get("name")), tuple(params)


def _kind(given: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(given), "a number")

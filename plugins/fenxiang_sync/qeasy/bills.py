"""Bills: a source side that reads a form of Kingdee (金蝶云星空) by ``executeBillQuery``: form, keys, stamp, filter.

Its parameters (``FormId``, ``FieldKeys``, ``FilterString``, …) stand in ``otherRequest``, in older schemes in
``request``. Other nodes of ``request`` are what is read: the name that a row has for it, and the field key as its value
(``FUseOrgId_FNumber``: ``FUseOrgId.FNumber``).
"""

from __future__ import annotations

import re

from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.kingdee.query import MOST_ROWS, is_form
from fenxiang_sync.qeasy.bill_filters import BillFilter
from fenxiang_sync.qeasy.metadata import Node, Side, text_of
from fenxiang_sync.qeasy.queries import references_in
from fenxiang_sync.qeasy.reading import Form, Reading, is_field_key, is_own_key
from fenxiang_sync.qeasy.report import SECRET, Report, shown

_API = "executebillquery"
_ROWS = 2_000
_PARAMETERS = frozenset((
    "FormId", "FieldKeys", "FilterString", "OrderString", "TopRowCount", "Limit", "StartRow", "SubSystemId",
))  # fmt: skip


def is_bill_query(side: Side) -> bool:
    """Whether a side asks Kingdee for documents."""
    return side.api.lower() == _API


def form_of(side: Side) -> str:
    """The form that a source side reads; raises `DeclarationError` where it names none."""
    node = _parameter(side, "FormId")
    if node is None or not node.text:
        raise DeclarationError(
            f"the source reads {shown(side.api)!r} and names no form of Kingdee (FormId); copy all of the source view"
        )
    if not is_form(node.text):
        raise DeclarationError(f"FormId is {shown(node.text)!r}, which is no id of a form, as in 'BD_MATERIAL'")
    return node.text


class Bills:
    """Reads the source side into a `Reading` whose `form` is set."""

    def __init__(self, side: Side, made: Reading, form: Form, report: Report) -> None:
        self._side = side
        self._made = made
        self._form = form
        self._report = report

    def read(self) -> None:
        self._report.taken("source.api", f"{self._made.object}, a form of Kingdee (connection kingdee): KingdeeSource")
        self._keys()
        self._identity()
        for tree in ("request", "otherRequest"):
            for node in self._side.trees.get(tree, ()):
                self._parameter(node, tree)
        self._pages()
        for node in self._side.trees.get("otherResponse", ()):
            self._report.changed(node.place, "where things stand in Kingdee's answers is known here")

    # Keys

    def _keys(self) -> None:
        """What a row has, by its name there."""
        for node in self._side.trees.get("request", ()):
            if node.field in _PARAMETERS:
                continue
            key = node.text or node.field
            if SECRET.search(node.field) and key != node.field:
                self._report.none(node.place, "looks like a secret or a person; its value is not told")
            elif is_field_key(key) and re.fullmatch(r"\w+", node.field, re.ASCII):
                self._made.aliases[node.field] = key
                self._report.taken(node.place, f"the field key {key}, where a value of a row reads it")
            else:
                self._report.none(node.place, "is no field key of Kingdee, and no parameter that is known here")
        listed = _parameter(self._side, "FieldKeys")
        if not self._made.aliases and (listed is None or not _listed(listed)):
            self._report.changed(
                "source.request",
                "names no field keys, so the names that rows have are taken for them: a run says "
                "which of them Kingdee does not know",
            )
        if listed is None:
            return
        for key in dict.fromkeys(_listed(listed)):
            if is_field_key(key):
                self._made.aliases.setdefault(key.replace(".", "_"), key)
            else:
                self._report.none(listed.place, f"{shown(key)!r} is no field key of Kingdee; it is not asked for")
        self._report.changed(listed.place, "what is asked for follows from the fields of the declaration")

    def _identity(self) -> None:
        report, made, form = self._report, self._made, self._form
        number = self._named("number")
        made.number = number if is_own_key(number) and number != "name" else None
        if made.number:
            report.taken("source.number", f"{made.number}, which people search by")
        else:
            report.none("source.number", "is not the key of one field of the form; number=… takes one")
        key = self._named("id")
        if is_own_key(key):
            form.id = key
            report.taken("source.id", f"{key}, which documents are told apart by")
        else:
            report.none(
                "source.id", f"is not the key of one field of the form: id={form.id} is taken; check it before you run"
            )
        entries = [each for each in made.aliases.values() if re.search(r"_FEntryID$", each, re.ASCII | re.IGNORECASE)]
        if entries and form.id not in entries:
            report.none(
                "source.id",
                f"{entries[0]} is among the keys, which gives a row for each entry (分录): id={entries[0]!r} tells "
                f"them apart, {form.id} does not; a run that reads a field of an entry stops and says so",
            )

    def _named(self, key: str) -> str:
        """What `id` or `number` names, as a field key where it is the name of one."""
        said = text_of(self._side.keys.get(key))
        found = references_in(said)
        name = found[0].name if len(found) == 1 and said.strip("{} ") == found[0].name else said
        return self._made.aliases.get(name, name)

    # Parameters

    def _parameter(self, node: Node, tree: str) -> None:
        report = self._report
        if node.field == "FilterString":
            BillFilter(node, self._made, self._form, self._report).read()
        elif node.field == "OrderString" and node.value is not None:
            report.changed(node.place, f"pages are read in the order of {self._form.id}")
        elif node.field == "StartRow":
            report.changed(node.place, f"pages are read by {self._form.id}, so that none is lost between them")
        elif node.field == "TopRowCount" and text_of(node.value) not in ("", "0"):
            report.none(node.place, "only the first rows of all; here every document of the window is read")
        elif tree == "otherRequest" and node.field in ("beatFlat", "condition"):
            report.taken(node.place, "read as if it stood beside request")
        elif node.field == "SubSystemId" or (tree == "otherRequest" and node.field not in _PARAMETERS):
            report.none(node.place, "no parameter that is known here; its value is not told, since it may be secret")

    def _pages(self) -> None:
        """The rows of a page: a constant Limit, or the page size that its variable stands for."""
        limit, pages = _parameter(self._side, "Limit"), self._side.keys.get("pagination")
        size, place = text_of(pages.get("pageSize")) if isinstance(pages, dict) else "", "source.pagination"
        for key in pages if isinstance(pages, dict) else ():
            if key != "pageSize":
                self._report.unknown(f"{place}.{shown(key)}")
        if limit is not None and limit.value is not None and (not size or not references_in(text_of(limit.value))):
            size, place = text_of(limit.value), limit.place
        if not size:
            return
        if re.fullmatch(r"[1-9]\d{0,4}", size, re.ASCII) and int(size) <= MOST_ROWS:
            self._form.page_size = int(size)
            self._report.taken(place, f"page_size={size}; without it {_ROWS:,}, which takes fewer queries")
        else:
            self._report.changed(place, f"{shown(size)} is no number of rows that Kingdee gives; {_ROWS:,} a page")


def _parameter(side: Side, name: str) -> Node | None:
    return side.find("otherRequest", name) or side.find("request", name)


def _listed(node: Node) -> list[str]:
    """The values of a list, whether it is one, its text or its children."""
    given = node.value if isinstance(node.value, list) else [node.value]
    texts = [text_of(each) for each in given] + [text_of(child.value) or child.field for child in node.children]
    return [part.strip() for each in texts for part in each.split(",") if part.strip()]

"""KingdeeForm: the documents of one form in a window of their change stamp, by keyset on their id; an `Origin`.

Documents that are edited meanwhile leave the window and are in a later one. Only an empty page that came empty twice
ends a reading: a short one may be a clamped limit. Stamps are whole seconds, or fractions that a filter in whole
seconds cuts right: every record is held against the window here as well.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice, pairwise
from typing import Any

from fenxiang_sync.errors import DeclarationError, IncompleteError
from fenxiang_sync.kingdee.client import TRIES, KingdeeClient, QueryError
from fenxiang_sync.kingdee.query import BillQuery, LocalTime, among, literal
from fenxiang_sync.source.protocol import Page, Piece, Sighting, Slice
from fenxiang_sync.window import Window

log = logging.getLogger(__name__)

ID, STAMP = "_id", "last_modified_time"
IDS_A_CALL = 200
"""So many ids stand in one filter."""
SECOND_MS = 1000

Id = int | str


@dataclass(frozen=True, slots=True, kw_only=True)
class KingdeeForm:
    """`id` and `modified` are the keys of a document's id and change stamp, `where` a filter of one's own."""

    client: KingdeeClient
    name: str
    id: str
    modified: str
    time: LocalTime
    where: str
    page_size: int

    def pages(
        self, part: Slice, projection: Sequence[str], *, after: str | None = None, page_size: int | None = None
    ) -> Iterator[Page]:
        """See `Origin.pages`."""
        if part.window.empty:
            return
        limit = min(page_size or self.page_size, self.page_size)
        cursor: Id | None = self._id_of(part.above if after is None else after)
        upto = self._id_of(part.upto)
        empty = False
        while True:
            records = self._page(part.window, projection, cursor, upto, limit)
            if not records and empty:
                return
            empty = not records
            if records:
                cursor = records[-1].id
                inside = [each.values for each in records if each.values[STAMP] in part.window]
                yield Page(records=inside, outside=len(records) - len(inside))

    def sweep(self, part: Slice) -> Iterator[Sighting]:
        """See `Origin.sweep`."""
        for page in self.pages(part, ()):
            yield from map(_sighting, page.records)

    def count(self, window: Window) -> int | None:
        """See `Origin.count`: a bill query does not count."""
        return 0 if window.empty else None

    def cut(self, window: Window, *, most: int, pieces: int) -> Iterator[Piece]:
        """See `Origin.cut`. Costs one call for each piece: the stamp of the record that has `most` before it."""
        if window.empty or self._at_rank(window, 0) is None:
            return
        rest = window
        for _ in range(pieces):
            found = self._at_rank(rest, most)
            if found is None:
                break
            at = max(found // SECOND_MS * SECOND_MS, (rest.since_ms // SECOND_MS + 1) * SECOND_MS)
            if at >= rest.until_ms:
                break
            head, rest = Window(rest.since_ms, at), Window(at, rest.until_ms)
            if head.until_ms <= found:
                yield Piece(Slice(head), most)
            else:  # its one second holds more than a piece may
                yield from self._by_id(head, most)
        yield from self._by_id(rest, most) if rest.length_ms <= SECOND_MS else [Piece(Slice(rest), None)]

    def fetch(self, ids: Iterable[str], projection: Sequence[str], *, filtered: bool) -> Iterator[Page]:
        """See `Origin.fetch`."""
        remaining = iter(dict.fromkeys(ids))
        while batch := list(islice(remaining, IDS_A_CALL)):
            wanted = dict.fromkeys(batch)
            empty = 0
            while wanted and empty < 2:
                records = self._those(list(wanted), projection, filtered)
                empty = 0 if records else empty + 1
                for record in records:
                    del wanted[record[ID]]
                if records:
                    yield Page(records=records)

    def look(self, ids: Iterable[str], *, filtered: bool) -> Iterator[Sighting]:
        """See `Origin.look`."""
        for page in self.fetch(ids, (), filtered=filtered):
            yield from map(_sighting, page.records)

    def check(self, projection: Sequence[str]) -> None:
        """Ask for one document, so that Kingdee says of a field or a filter that it does not know; raises
        `DeclarationError` with its words. Says so where documents have no stamp: no window holds them."""
        keys = self._keys(projection)
        try:
            self.client.rows(BillQuery(form=self.name, keys=keys, where=self._own(), limit=1))
        except QueryError as error:
            where = f" where {self.where}" if self.where else ""
            raise DeclarationError(
                f"{error}. It asks for {', '.join(keys)}{where}: mend the declaration, or give the integration user "
                "the right to the form"
            ) from error
        if self._unstamped(keys[:2]):
            log.warning(
                "Form %s has documents without %s: no window ever holds them, so they are not read. Give them one at "
                "Kingdee, or read by another stamp (modified=)", self.name, self.modified,
            )  # fmt: skip

    def _unstamped(self, keys: Sequence[str]) -> bool:
        """Whether a document has no stamp."""
        where = (*self._own(), f"{self.modified} is null")
        try:
            return bool(self.client.rows(BillQuery(form=self.name, keys=keys, where=where, limit=1)))
        except QueryError as error:
            log.warning("Nobody knows whether form %s has documents without %s: %s", self.name, self.modified, error)
            return False

    # One page

    def _page(
        self, window: Window, projection: Sequence[str], cursor: Id | None, upto: Id | None, limit: int
    ) -> list[_Record]:
        """The page behind the cursor. One that is in no order, or came before, is asked for again."""
        beyond = () if cursor is None else (f"{self.id} > {literal(cursor)}",)
        below = () if upto is None else (f"{self.id} <= {literal(upto)}",)
        for _ in range(TRIES):
            found = self._ask(
                (*self._ends(window), *self._own(), *beyond, *below), projection, order=(self.id,), limit=limit
            )
            ids = [each.id for each in found]
            if _ascends(ids if cursor is None else [cursor, *ids]):
                return found
            self._told_twice(ids)
        raise IncompleteError(
            f"{self.name}, {window}: asked {TRIES} times for what comes after {cursor}, Kingdee sent ids that repeat "
            f"or are in no order ({ids[0]} … {ids[-1]}). Reading stopped, so that nothing is left out"
        )

    def _told_twice(self, ids: Sequence[Id]) -> None:
        """Raise `DeclarationError` where one id came in two rows of a page: a field is of an entry (分录)."""
        twice = next((one for one, other in pairwise(ids) if one == other), None)
        if twice is not None:
            raise DeclarationError(
                f"form {self.name}: Kingdee sent {self.id} {twice} in several rows: a field of the mapping is one of "
                "an entry (分录), and each entry gives a row. Leave it out, or give the entry's own key as id, as in "
                "id='FEntity_FEntryID'"
            )

    def _ask(
        self, where: Sequence[str], projection: Sequence[str], *, order: Sequence[str], limit: int, start: int = 0
    ) -> list[_Record]:
        keys = self._keys(projection)
        query = BillQuery(form=self.name, keys=keys, where=where, order=order, limit=limit, start=start)
        return [self._read(keys, row) for row in self.client.rows(query)]

    def _keys(self, projection: Sequence[str]) -> list[str]:
        """What is asked for: the id, the stamp, and what of a projection is not one of these by another name."""
        return list(dict.fromkeys((self.id, self.modified, *(key for key in projection if key not in (ID, STAMP)))))

    def _own(self) -> tuple[str, ...]:
        return (f"({self.where})",) if self.where.strip() else ()

    def _ends(self, window: Window) -> tuple[str, str]:
        """The window as a filter, in whole seconds: as wide or wider."""
        since, until = self.time.written(window.since_ms), self.time.written(window.until_ms, up=True)
        return f"{self.modified} >= {literal(since)}", f"{self.modified} < {literal(until)}"

    def _read(self, keys: Sequence[str], row: Sequence[Any]) -> _Record:
        """A row as a record; dotted keys become objects, as the paths of a mapping read them."""
        own, stamp = _own_id(row[0]), self.time.read(row[1])
        if own is None:
            raise IncompleteError(f"{self.name}: a row came with {self.id} {row[0]!r}, which is no id")
        if stamp is None:
            raise IncompleteError(
                f"{self.name}: {self.id} {own} came with {self.modified} {row[1]!r}, which is no moment; it has no "
                "place in a window"
            )
        values: dict[str, Any] = {ID: str(own), STAMP: stamp}
        for key, value in zip(keys, row, strict=True):
            *above, name = key.split(".")
            place = values
            for part in above:
                place = place.setdefault(part, {})
            place[name] = value
        return _Record(own, values)

    # Ids

    def _id_of(self, record_id: str | None) -> Id | None:
        """An id as Kingdee has it; None where its ids are numbers and this is none."""
        if record_id is None or not self._numeric:
            return record_id
        return int(record_id) if record_id.isdecimal() else None

    @property
    def _numeric(self) -> bool:
        """Whether ids are numbers; told by one document, true where there is none."""
        known, at = self.client.numeric, (self.name, self.id)
        if at not in known:
            rows = self.client.rows(BillQuery(form=self.name, keys=(self.id, self.modified), limit=1))
            if not rows:
                return True
            known[at] = isinstance(_own_id(rows[0][0]), int)
        return known[at]

    def _those(self, ids: Sequence[str], projection: Sequence[str], filtered: bool) -> list[dict[str, Any]]:
        """Some of these documents, each once; asked for again where it is the answer to another question."""
        named = [own for each in ids if (own := self._id_of(each)) is not None]
        if not named:
            return []
        where = (among(self.id, named), *(self._own() if filtered else ()))
        for _ in range(TRIES):
            found = self._ask(where, projection, order=(self.id,), limit=self.page_size)
            came = [each.values[ID] for each in found]
            self._told_twice(came)
            if set(came) <= set(ids) and len(set(came)) == len(came):
                return [each.values for each in found]
        raise IncompleteError(
            f"{self.name}: asked {TRIES} times for {len(ids)} documents by {self.id}, Kingdee sent others "
            f"(the first asked for is {ids[0]}, the first that came {came[0]})"
        )

    # Cuts

    def _at_rank(self, window: Window, rank: int) -> int | None:
        """The stamp of the document that has so many before it; None where there are not so many, twice."""
        where = (*self._ends(window), *self._own())
        for _ in range(2):
            if found := self._ask(where, (), order=(self.modified, self.id), limit=1, start=rank):
                return int(found[0].values[STAMP])
        return None

    def _by_id(self, window: Window, most: int) -> Iterator[Piece]:
        """One second, cut by id where ids are numbers: how a database sorts texts is its own affair."""
        cuts: list[Id] = []
        while self._numeric:
            beyond = (f"{self.id} > {literal(cuts[-1])}",) if cuts else ()
            where = (*self._ends(window), *self._own(), *beyond)
            found = self._ask(where, (), order=(self.id,), limit=1, start=most - 1)
            if not found or (cuts and not _ascends([cuts[-1], found[0].id])):
                break
            cuts.append(found[0].id)
        bounds = [None, *map(str, cuts), None]
        for above, upto in pairwise(bounds):
            yield Piece(Slice(window, above, upto, numbers=bool(cuts)), None if upto is None else most)


@dataclass(frozen=True, slots=True)
class _Record:
    """A record, and its id as Kingdee has it."""

    id: Id
    values: dict[str, Any]


def _sighting(record: dict[str, Any]) -> Sighting:
    return Sighting(record[ID], record[STAMP], None, None, None)


def _own_id(value: Any) -> Id | None:
    """An id as Kingdee sends it; None for what is none."""
    if isinstance(value, Decimal) and value == value.to_integral_value():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    return value if value != "" else None


def _ascends(ids: Sequence[Id]) -> bool:
    """Whether each id comes after the one before: as a number, or as databases sort texts, whatever the case of
    letters and without hyphens.

    >>> _ascends([99, 100]), _ascends(["a-b", "AC"]), _ascends(["b", "a"]), _ascends([7, "7"])
    (True, True, False, False)
    """
    if all(isinstance(each, int) for each in ids):
        return all(one < other for one, other in pairwise(ids))  # type: ignore[operator]
    if not all(isinstance(each, str) for each in ids):
        return False
    texts = [str(each).replace("-", "").casefold() for each in ids]
    return all(one < other for one, other in pairwise(texts))

"""getting: the fields that only `get` gives (``get_fields``), put into the records that queries gave.

One call a record, so it is asked which of them have to be got at all: a record that the hub keeps with the same stamp,
read with the same fields, is the same. Label and computed fields change without a stamp; for them there is the deep
reconcile, which gets every record anew.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any

from fenxiang_sync.errors import RecordError, RefusedError
from fenxiang_sync.hub import Hub
from fenxiang_sync.hub.content import loads
from fenxiang_sync.pipeline import Pipeline, by_get
from fenxiang_sync.source import FenxiangClient, Filter
from fenxiang_sync.source.getting import Getting
from fenxiang_sync.source.reader import ID, STAMP

UNREAD = "data/get"
"""The key of a staged record under which it says why its fields could not be got: {fields, code, reason}. No API name
has a stroke."""

CALLS_A_SECOND = 5
"""The documented quota of an interface; a connection may be given another."""

Record = dict[str, Any]


class Getter:
    """Puts the fields of one pipeline into its records, for all threads of a task. `hub` is asked for what is kept;
    without one every record is got."""

    def __init__(
        self, pipeline: Pipeline, client: FenxiangClient, hub: Hub | None, filters: Sequence[Filter] = ()
    ) -> None:
        self._pipeline = pipeline
        self._names = pipeline.got
        self._hub = hub
        self._getting = Getting(client, pipeline.source.object, filters)
        self._counting = threading.Lock()
        self._counted: Counter[str] = Counter()

    def attach(self, records: Sequence[Record]) -> list[Record]:
        """The records with their fields, without those that were edited meanwhile or are gone: an edited one is in a
        later window, and none is made of two versions. One that `get` refuses says so (`UNREAD`)."""
        kept = dict(self._kept(records))
        got = self._getting.fetch({each[ID]: each[STAMP] for each in records if each[ID] not in kept})
        with self._counting:
            self._counted.update(kept=len(kept), **got.numbers)
        stay = [each for each in records if each[ID] not in got.edited | got.gone]
        for record in stay:
            record_id = record[ID]
            self._put(record, kept.get(record_id) or got.given.get(record_id) or {})
            if record_id in got.refused:
                record[UNREAD] = self._why(got.refused[record_id])
        return stay

    @property
    def numbers(self) -> dict[str, int]:
        """How many records were `kept` or `got`, and what became of the others: edited, gone, refused."""
        return {name: number for name, number in self._counted.items() if number}

    def _kept(self, records: Sequence[Record]) -> Iterator[tuple[str, Record]]:
        """The records that the hub keeps in this very version, with the fields, by their ids."""
        if self._hub is None or not records:
            return
        wanted = {each[ID]: _version(each) for each in records}
        asked = self._hub.named_fields()
        needed = set(map(by_get, self._names))
        for record_id, held in self._hub.kept(self._pipeline.name, list(wanted)).items():
            if held.payload is None or not needed <= asked.get(held.projection or "", frozenset()):
                continue
            record = dict(loads(held.payload.decode()))
            if _version(record) == wanted[record_id]:
                yield record_id, record

    def _put(self, record: Record, whole: Record) -> None:
        for name in self._names:
            record.pop(name, None)
            if whole.get(name) is not None:
                record[name] = whole[name]

    def _why(self, error: RefusedError) -> Record:
        return {"fields": list(self._names), "code": error.code, "reason": str(error)}


def cost_of_getting(pipeline: Pipeline, counts: Sequence[int | None]) -> str:
    """What getting segments of so many records costs, for people; `counts` are the server's hints."""
    known = [each for each in counts if each is not None]
    calls = sum(known)
    at_least = "at least " if len(known) < len(counts) else ""
    return (
        f"{', '.join(pipeline.got)}: a call of data/get for each record that is not kept in its newest version, "
        f"{at_least}{calls:,} of them if none is: {timedelta(seconds=calls // CALLS_A_SECOND)} at 100 calls in 20 s"
    )


def is_not_got(record: Record, names: Iterable[str]) -> bool:
    """Whether one of `names` could not be got of the record."""
    why: Record | None = record.get(UNREAD)
    return why is not None and not set(why["fields"]).isdisjoint(names)


def check_got(record: Record, names: Iterable[str]) -> None:
    """Raise `RecordError` for a record of which one of `names` could not be got."""
    if is_not_got(record, names):
        why = record[UNREAD]
        raise RecordError(
            f"{', '.join(why['fields'])} could not be got: {why['reason']}. Each reconcile tries it again, and so does "
            "a run over the time in which it was edited (since, until)",
            field=why["fields"][0],
            value=why["code"],
        )


def _version(record: Record) -> tuple[int, str]:
    return record[STAMP], str(record.get("version", ""))

"""Getting: records one by one with ``data/get``, for what a query does not give: several calls at once, as its quota
lets them.

Between the query that lists a record and its `get` the record may be edited, voided, deleted, or hidden. Which of them,
or whether the server refuses just this one, only another look of a query tells: what `get` answers for a record that is
not there is not documented.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from fenxiang_sync.errors import QuotaError, RefusedError, TransientError
from fenxiang_sync.source import census
from fenxiang_sync.source.auth import CREDENTIAL_CODES
from fenxiang_sync.source.client import FenxiangClient
from fenxiang_sync.source.codes import APP_CODES, RIGHTS
from fenxiang_sync.source.query import Filter, SearchQuery
from fenxiang_sync.source.reader import ID, STAMP

AT_ONCE = 8
"""So many calls are under way at once: at 400 ms each, 20 a second, four times what the quota allows."""
TRIES = 3
"""How often `RIGHTS` is asked again: it is a time-out as well."""
WITNESSES = 10
"""So many refusals and not one record yet: it may not be the records that are wrong."""
OTHERS = 3
"""So many other records are asked for then."""

Record = dict[str, Any]


@dataclass(slots=True)
class Got:
    """What came of some records, by `_id`: `given` are whole and have the stamp that was asked for; `edited` have a
    newer one by now; `gone` are not listed any more; `refused` are listed as before, and not given."""

    given: dict[str, Record] = field(default_factory=dict)
    edited: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    refused: dict[str, RefusedError] = field(default_factory=dict)

    @property
    def numbers(self) -> dict[str, int]:
        told = {"got": self.given, "edited": self.edited, "gone": self.gone, "refused": self.refused}
        return {name: len(found) for name, found in told.items()}


class Getting:
    """Gets records of one object; for several threads, whose groups are got one after the other, each in full, so
    that little is lost where the process dies. `filters` are those of the query that listed them."""

    def __init__(self, client: FenxiangClient, object_name: str, filters: Sequence[Filter] = ()) -> None:
        self._client = client
        self._object = object_name
        self._filters = filters
        self._line = threading.Lock()
        self._gave = False

    def fetch(self, stamps: Mapping[str, int]) -> Got:
        """Each record whose id and stamp (epoch ms) a query has listed, or what became of it.

        Raises `RefusedError` where `get` gives nothing at all, and `TransientError` where it still gives an older
        version after several tries.
        """
        if not stamps:
            return Got()
        with self._line:
            answers = self._answers(stamps)
            self._gave = self._gave or any(isinstance(each, dict) for each in answers.values())
            return self._told(answers, stamps)

    def _answers(self, stamps: Mapping[str, int]) -> dict[str, Record | RefusedError]:
        """What was answered of each; the first failure ends it, with no further calls."""
        with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
            return dict(zip(stamps, pool.map(self._answer, stamps, stamps.values()), strict=True))

    def _answer(self, record_id: str, modified_ms: int) -> Record | RefusedError:
        found = asked(self._client, self._object, record_id, since_ms=modified_ms)
        return RefusedError(f"get answers without the record {record_id}") if found is None else found

    def _told(self, answers: Mapping[str, Record | RefusedError], stamps: Mapping[str, int]) -> Got:
        got, unclear = Got(), dict[str, RefusedError]()
        for record_id, answer in answers.items():
            if isinstance(answer, RefusedError):
                unclear[record_id] = answer
            elif answer[STAMP] == stamps[record_id]:
                got.given[record_id] = answer
            else:
                got.edited.add(record_id)
        self._look_again(unclear, stamps, got)
        return got

    def _look_again(self, unclear: Mapping[str, RefusedError], stamps: Mapping[str, int], got: Got) -> None:
        """Tell those that have left from those that the server refuses although it lists them as before."""
        listed = self._listed(unclear)
        for record_id, error in unclear.items():
            if record_id not in listed:
                got.gone.add(record_id)
            elif listed[record_id] != stamps[record_id]:
                got.edited.add(record_id)
            else:
                got.refused[record_id] = error
        self._check(got.refused)

    def _listed(self, ids: Iterable[str]) -> dict[str, int]:
        pages = census.fetch(self._client, self._object, ids, (), self._filters)
        return {record[ID]: record[STAMP] for page in pages for record in page.records}

    def _check(self, refused: Mapping[str, RefusedError]) -> None:
        """Raise where nothing is given: some records do not fail a run, an interface does. Where only these were asked
        for, others tell."""
        if self._gave or not refused:
            return
        record_id, error = next(iter(refused.items()))
        if error.code != RIGHTS and len(refused) < WITNESSES:
            return
        self._gave = self._gives_another(refused)
        if self._gave:
            return
        if error.code == RIGHTS:
            raise TransientError(f"{self._object}: no record is given by its id for now: {error}", code=RIGHTS)
        raise RefusedError(
            f"Fenxiang lists {len(refused)} records of {self._object} and gives none of them by its id (the first "
            f"is {record_id}): {error}. May the app use the interface data/get?",
            code=error.code,
        )

    def _gives_another(self, refused: Mapping[str, RefusedError]) -> bool:
        """Whether one of a few other records is given."""
        search = SearchQuery(
            object_name=self._object, projection=(ID, STAMP), filters=tuple(self._filters), orders=((STAMP, False),)
        )
        listed = (record[ID] for record in self._client.query(search).records)
        others = [each for each in listed if each not in refused][:OTHERS]
        return any(isinstance(asked(self._client, self._object, each), dict) for each in others)


def asked(
    client: FenxiangClient, object_name: str, record_id: str, *, since_ms: int = 0
) -> Record | RefusedError | None:
    """The record, None for an empty answer, or the refusal of this record. A refusal that is about the connection, the
    app or the day's calls is raised. An answer that is older than `since_ms` is asked for again."""
    for attempt in range(1, TRIES + 1):
        try:
            return client.get(object_name, record_id, since_ms=since_ms)
        except QuotaError:
            raise
        except RefusedError as error:
            if error.code is None or error.code in CREDENTIAL_CODES or error.code in APP_CODES:
                raise
            if error.code != RIGHTS or attempt == TRIES:
                return error
    raise AssertionError("unreachable: the last attempt returns or raises")

"""attaching: what a query does not give is put into its records before they are staged: details, and what is got."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fenxiang_sync.hub import Hub
from fenxiang_sync.pipeline import Pipeline
from fenxiang_sync.rows import is_voided
from fenxiang_sync.source import Client, FenxiangClient, Filter
from fenxiang_sync.source.details import fetch
from fenxiang_sync.steps.getting import Getter

PAGES_A_FILE = 10
"""A killed task reads at most this many pages of each range again."""
RANGES = 8
"""How many ranges are read at once, to hide the latency of the calls."""
RANGES_GOT = 3
"""The same where each record costs a call: a page that waits for its turn grows old, and one is ready soon enough."""


class Attaching:
    """Completes the records of one pipeline, for all threads of a task. `filters` are those of the query; the hub keeps
    records that need not be got again, without it all of them are."""

    def __init__(self, pipeline: Pipeline, client: Client, hub: Hub | None, filters: Sequence[Filter] = ()) -> None:
        self._client = client
        self._details = [(each, pipeline.asked_of(each)) for each in pipeline.source.details]
        self._getter = Getter(pipeline, FenxiangClient.of(client), hub, filters) if pipeline.got else None

    @property
    def pages_a_file(self) -> int:
        """How many pages make up a file, the checkpoint: one where each of its records has cost a call."""
        return 1 if self._getter else PAGES_A_FILE

    @property
    def ranges(self) -> int:
        """How many ranges are read at once."""
        return RANGES_GOT if self._getter else RANGES

    @property
    def numbers(self) -> dict[str, int]:
        """What became of the records that were to be got; empty where nothing is."""
        return self._getter.numbers if self._getter else {}

    def attach(self, records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The records, complete; without those that were edited meanwhile or are gone."""
        stay = self._getter.attach(records) if self._getter else list(records)
        for details, projection in self._details:
            ids, asked = [record["_id"] for record in stay], FenxiangClient.of(self._client)
            found = fetch(asked, details.object, ids, by=details.by, projection=projection, filters=details.filters)
            for record in stay:
                lines = found[record["_id"]]  # voided ones are no part of a record that is not voided
                record[details.name] = lines if _voided(record) else [line for line in lines if not _voided(line)]
        return stay


def _voided(record: dict[str, Any]) -> bool:
    return is_voided(record.get("life_status"), record.get("is_deleted"))

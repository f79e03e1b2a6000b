"""Readers: the client that a declared source is read by."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fenxiang_sync.kingdee_source import KingdeeSource
    from fenxiang_sync.pipeline import Source
    from fenxiang_sync.source import Client
    from fenxiang_sync.targets.protocol import Reach


def reader(source: Source | KingdeeSource, reach: Callable[[], Reach], *, patient: bool = True) -> Client:
    """A client of the source's connection; close it. One that is not `patient` is for a person who waits."""
    from fenxiang_sync.kingdee_source import KingdeeSource

    if isinstance(source, KingdeeSource):
        from fenxiang_sync.kingdee import KingdeeClient

        return KingdeeClient(reach(), source.connection, source.rate)
    # The http provider behind it costs 0.4 s to import: too much for parsing a DAG file, and for tasks without it.
    from fenxiang_sync.airflow.hook import FenxiangHook

    return FenxiangHook(source.connection).client(patient=patient)

"""The only modules of the project that import Airflow.

For a DAG file: ``sync_dag(pipeline)``. For DAGs of one's own: ``FenxiangHook``, ``FenxiangQueryOperator`` and
``pool_name``. Nothing is imported before it is asked for: Airflow itself imports this package while it starts.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fenxiang_sync.airflow.dag import sync_dag
    from fenxiang_sync.airflow.hook import FenxiangHook
    from fenxiang_sync.airflow.operators import FenxiangQueryOperator
    from fenxiang_sync.airflow.pools import pool_name

_HOMES = {
    "FenxiangHook": "fenxiang_sync.airflow.hook",
    "FenxiangQueryOperator": "fenxiang_sync.airflow.operators",
    "pool_name": "fenxiang_sync.airflow.pools",
    "sync_dag": "fenxiang_sync.airflow.dag",
}

__all__ = ["FenxiangHook", "FenxiangQueryOperator", "pool_name", "sync_dag"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"fenxiang_sync.airflow has no {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)

"""Fenxiang CRM (纷享销客) objects, copied to where they are needed, with proof that nothing was missed.

The words of a declaration are here: ``from fenxiang_sync import Field, Pipeline, Source, WriteApi, integer, text``.
Each is imported when it is first asked for, since Airflow imports this package while it imports itself.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fenxiang_sync.condition import Condition, Logic
    from fenxiang_sync.convert import as_is, boolean, choice, day, decimal, first, instant, integer, label, text
    from fenxiang_sync.lookback import Lookback
    from fenxiang_sync.mapping import Constant, Field
    from fenxiang_sync.pipeline import Pipeline, Source
    from fenxiang_sync.reconcile import Reconcile
    from fenxiang_sync.rows import DeletePolicy, IdCheck
    from fenxiang_sync.source import Bounds, Filter, Operator
    from fenxiang_sync.targets.hub import HubTarget
    from fenxiang_sync.targets.qeasy import QeasyStore
    from fenxiang_sync.targets.sql import Numeric, SqlTable, Varchar
    from fenxiang_sync.targets.write import WriteApi

__all__ = [
    "Bounds",
    "Condition",
    "Constant",
    "DeletePolicy",
    "Field",
    "Filter",
    "HubTarget",
    "IdCheck",
    "Logic",
    "Lookback",
    "Numeric",
    "Operator",
    "Pipeline",
    "QeasyStore",
    "Reconcile",
    "Source",
    "SqlTable",
    "Varchar",
    "WriteApi",
    "as_is",
    "boolean",
    "choice",
    "day",
    "decimal",
    "first",
    "instant",
    "integer",
    "label",
    "text",
]

_CONVERTERS = ("as_is", "boolean", "choice", "day", "decimal", "first", "instant", "integer", "label", "text")
_HOMES = {
    **dict.fromkeys(_CONVERTERS, "fenxiang_sync.convert"),
    "Bounds": "fenxiang_sync.source",
    "Condition": "fenxiang_sync.condition",
    "Constant": "fenxiang_sync.mapping",
    "DeletePolicy": "fenxiang_sync.rows",
    "Field": "fenxiang_sync.mapping",
    "Filter": "fenxiang_sync.source",
    "HubTarget": "fenxiang_sync.targets.hub",
    "IdCheck": "fenxiang_sync.rows",
    "Logic": "fenxiang_sync.condition",
    "Lookback": "fenxiang_sync.lookback",
    "Numeric": "fenxiang_sync.targets.sql",
    "Operator": "fenxiang_sync.source",
    "Pipeline": "fenxiang_sync.pipeline",
    "QeasyStore": "fenxiang_sync.targets.qeasy",
    "Reconcile": "fenxiang_sync.reconcile",
    "Source": "fenxiang_sync.pipeline",
    "SqlTable": "fenxiang_sync.targets.sql",
    "Varchar": "fenxiang_sync.targets.sql",
    "WriteApi": "fenxiang_sync.targets.write",
}


def __getattr__(word: str) -> Any:
    if word not in _HOMES:
        raise AttributeError(f"fenxiang_sync has no {word!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[word]), word)


def __dir__() -> list[str]:
    return [*globals(), *__all__]

"""Fenxiang CRM (纷享销客) objects, copied to where they are needed, with proof that nothing was missed.

The words of a declaration are here: ``from fenxiang_sync import Field, Pipeline, Source, WriteApi, integer, text``.
Each is imported when it is first asked for, since Airflow imports this package while it imports itself.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fenxiang_sync.columns import Kind
    from fenxiang_sync.computed import Computed
    from fenxiang_sync.condition import Condition, Logic
    from fenxiang_sync.convert import as_is, boolean, choice, day, decimal, first, instant, integer, label, text
    from fenxiang_sync.details import Details
    from fenxiang_sync.drift import Drift
    from fenxiang_sync.explode import Explode
    from fenxiang_sync.fenxiang_source import Source
    from fenxiang_sync.field import Constant, Field
    from fenxiang_sync.formats import (
        Unmatched,
        chain,
        cut,
        joined,
        key_values,
        limited,
        money,
        prefixed,
        rounded,
        split,
        truncated,
        unwrapped,
        value_map,
        wrapped,
    )
    from fenxiang_sync.group import Group, Take
    from fenxiang_sync.kingdee_source import KingdeeSource
    from fenxiang_sync.letters import QEASY_LADDER, DeadLetters
    from fenxiang_sync.lines import Lines
    from fenxiang_sync.lookback import Lookback
    from fenxiang_sync.lookup import Lookup
    from fenxiang_sync.pipeline import Pipeline
    from fenxiang_sync.reconcile import Reconcile
    from fenxiang_sync.rows import DeletePolicy, IdCheck, Outcome
    from fenxiang_sync.source import Bounds, Filter, Operator
    from fenxiang_sync.targets.fenxiang import FenxiangTarget
    from fenxiang_sync.targets.files import FilesTarget, Format
    from fenxiang_sync.targets.hub import HubTarget
    from fenxiang_sync.targets.kingdee import KingdeeBatchSave
    from fenxiang_sync.targets.pace import Rate
    from fenxiang_sync.targets.qeasy import QeasyStore
    from fenxiang_sync.targets.rest import RestTarget
    from fenxiang_sync.targets.sql import Numeric, SqlTable, Varchar
    from fenxiang_sync.targets.write import WriteApi
    from fenxiang_sync.write_back import Refusal, Standing, Told, WriteBack

__all__ = [
    "QEASY_LADDER",
    "Bounds",
    "Computed",
    "Condition",
    "Constant",
    "DeadLetters",
    "DeletePolicy",
    "Details",
    "Drift",
    "Explode",
    "FenxiangTarget",
    "Field",
    "FilesTarget",
    "Filter",
    "Format",
    "Group",
    "HubTarget",
    "IdCheck",
    "Kind",
    "KingdeeBatchSave",
    "KingdeeSource",
    "Lines",
    "Logic",
    "Lookback",
    "Lookup",
    "Numeric",
    "Operator",
    "Outcome",
    "Pipeline",
    "QeasyStore",
    "Rate",
    "Reconcile",
    "Refusal",
    "RestTarget",
    "Source",
    "SqlTable",
    "Standing",
    "Take",
    "Told",
    "Unmatched",
    "Varchar",
    "WriteApi",
    "WriteBack",
    "as_is",
    "boolean",
    "chain",
    "choice",
    "cut",
    "day",
    "decimal",
    "first",
    "instant",
    "integer",
    "joined",
    "key_values",
    "label",
    "limited",
    "money",
    "prefixed",
    "rounded",
    "split",
    "text",
    "truncated",
    "unwrapped",
    "value_map",
    "wrapped",
]

_CONVERTERS = ("as_is", "boolean", "choice", "day", "decimal", "first", "instant", "integer", "label", "text")
_FORMATS = (
    "Unmatched", "chain", "cut", "joined", "key_values", "limited", "money", "prefixed", "rounded", "split",
    "truncated", "unwrapped", "value_map", "wrapped",
)  # fmt: skip
_HOMES = {
    **dict.fromkeys(_FORMATS, "fenxiang_sync.formats"),
    **dict.fromkeys(_CONVERTERS, "fenxiang_sync.convert"),
    "Bounds": "fenxiang_sync.source",
    "Computed": "fenxiang_sync.computed",
    "Condition": "fenxiang_sync.condition",
    "Constant": "fenxiang_sync.field",
    "DeadLetters": "fenxiang_sync.letters",
    "DeletePolicy": "fenxiang_sync.rows",
    "Details": "fenxiang_sync.details",
    "Drift": "fenxiang_sync.drift",
    "Explode": "fenxiang_sync.explode",
    "FenxiangTarget": "fenxiang_sync.targets.fenxiang",
    "Field": "fenxiang_sync.field",
    "FilesTarget": "fenxiang_sync.targets.files",
    "Filter": "fenxiang_sync.source",
    "Format": "fenxiang_sync.targets.files",
    "Group": "fenxiang_sync.group",
    "HubTarget": "fenxiang_sync.targets.hub",
    "IdCheck": "fenxiang_sync.rows",
    "KingdeeBatchSave": "fenxiang_sync.targets.kingdee",
    "KingdeeSource": "fenxiang_sync.kingdee_source",
    "Kind": "fenxiang_sync.columns",
    "Lines": "fenxiang_sync.lines",
    "Logic": "fenxiang_sync.condition",
    "Lookback": "fenxiang_sync.lookback",
    "Lookup": "fenxiang_sync.lookup",
    "Numeric": "fenxiang_sync.targets.sql",
    "Operator": "fenxiang_sync.source",
    "Outcome": "fenxiang_sync.rows",
    "Pipeline": "fenxiang_sync.pipeline",
    "QEASY_LADDER": "fenxiang_sync.letters",
    "QeasyStore": "fenxiang_sync.targets.qeasy",
    "Rate": "fenxiang_sync.targets.pace",
    "Reconcile": "fenxiang_sync.reconcile",
    "Refusal": "fenxiang_sync.write_back",
    "RestTarget": "fenxiang_sync.targets.rest",
    "Source": "fenxiang_sync.fenxiang_source",
    "SqlTable": "fenxiang_sync.targets.sql",
    "Standing": "fenxiang_sync.write_back",
    "Take": "fenxiang_sync.group",
    "Told": "fenxiang_sync.write_back",
    "Varchar": "fenxiang_sync.targets.sql",
    "WriteApi": "fenxiang_sync.targets.write",
    "WriteBack": "fenxiang_sync.write_back",
}


def __getattr__(word: str) -> Any:
    if word not in _HOMES:
        raise AttributeError(f"fenxiang_sync has no {word!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[word]), word)


def __dir__() -> list[str]:
    return [*globals(), *__all__]

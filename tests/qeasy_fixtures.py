"""Metadata of Qeasy schemes, as the fixtures have it, and what the import makes of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fenxiang_sync import Pipeline
from fenxiang_sync.qeasy.importer import Importer
from fenxiang_sync.qeasy.metadata import read, receiver
from fenxiang_sync.qeasy.report import Fate, Report

FOLDER = Path(__file__).parent / "fixtures" / "qeasy"
CUSTOMERS = "0d3a0000-0000-4000-8000-000000000003"
PRODUCTS = "0d3a0000-0000-4000-8000-000000000004"


def fixture(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


@dataclass(frozen=True)
class Imported:
    text: str
    report: Report

    def declared(self) -> Pipeline:
        return declaration(self.text)

    def told(self, key: str) -> list[tuple[Fate, str]]:
        return [(fate, said) for fate, found, said in self.report.findings if found == key]


def declaration(text: str) -> Pipeline:
    """The pipeline that a file declares, without its DAG, for which Airflow would be imported."""
    alone = text.replace("from fenxiang_sync.airflow import sync_dag\n", "").partition("\ndag = sync_dag(")[0]
    names: dict[str, Any] = {"__name__": "made"}
    exec(compile(alone, "made.py", "exec"), names)
    (found,) = [each for each in names.values() if isinstance(each, Pipeline)]
    return found


def imported(document: Any, name: str = "made", calls: Any = None, **pipelines: str) -> Imported:
    """`calls` is the scheme that is called back."""
    report = Report()
    scheme = read([json.dumps(document).encode()], report)
    called = None if calls is None else receiver(json.dumps(calls).encode())
    ids = {each.replace("_", "-"): of for each, of in pipelines.items()}
    importer = Importer(scheme, name, pipelines=ids, report=report, receiver=called)
    return Imported(importer.text(), report)


def node(field: str, value: Any = None, type: str = "string", **words: Any) -> dict[str, Any]:
    """A node of a request tree; without a value, one of the source field of its name."""
    return {"field": field, "type": type, "value": f"{{{{{field}}}}}" if value is None else value, **words}


def filtered(field: str, values: Any, operator: str = "GTE", **words: Any) -> dict[str, Any]:
    """A node of a filter."""
    parts = [("field_name", field), ("field_values", values), ("operator", operator)]
    return {"field": "条件", "type": "object", "children": [node(name, value) for name, value in parts], **words}


def scheme(
    *nodes: dict[str, Any],
    filters: list[Any] | None = None,
    target: dict[str, Any] | None = None,
    strategy: dict[str, Any] | None = None,
    **source: Any,
) -> dict[str, Any]:
    """A scheme that reads AccountObj; `nodes` are its target's request."""
    query = {
        "field": "search_query_info",
        "type": "object",
        "children": [node("filters", "", "object", children=filters or [])],
    }
    return {
        "strategy": strategy or {},
        "source": {
            "api": "/cgi/crm/v2/data/query",
            "effect": "QUERY",
            "id": "_id",
            "request": [*([query] if filters else []), node("dataObjectApiName", "AccountObj")],
            **source,
        },
        "target": {"api": "写入空操作", "effect": "EXECUTE", "request": list(nodes), **(target or {})},
    }


MATERIAL_KEYS = ("FMATERIALID", "FNumber", "FName", "FBaseUnitId.FNumber", "FDocumentStatus", "FModifyDate")
LAST = "FModifyDate>='{{LAST_SYNC_TIME|datetime}}'"


def materials(
    *nodes: dict[str, Any],
    said: Any = f"{LAST} and FUseOrgId.FNumber = '100'",
    other: list[dict[str, Any]] | None = None,
    target: dict[str, Any] | None = None,
    strategy: dict[str, Any] | None = None,
    **source: Any,
) -> dict[str, Any]:
    """A scheme that reads materials of Kingdee where `said` holds; `nodes` are its target's request."""
    parameters = [
        node("Limit", "{{PAGINATION_PAGE_SIZE}}"),
        node("StartRow", "{{PAGINATION_START_ROW}}"),
        node("TopRowCount", "0", "int"),
        node("FilterString", said),
        node("FieldKeys", list(MATERIAL_KEYS), "array", parser={"name": "ArrayToString", "params": ","}),
        node("FormId", "BD_MATERIAL"),
    ]
    return {
        "strategy": strategy or {},
        "source": {
            "api": "executeBillQuery",
            "effect": "QUERY",
            "method": "POST",
            "id": "FMATERIALID",
            "number": "FNumber",
            "pagination": {"pageSize": 500},
            "request": [node(key.replace(".", "_"), key) for key in MATERIAL_KEYS],
            "otherRequest": [*parameters, *(other or [])],
            **source,
        },
        "target": {"api": "写入空操作", "effect": "EXECUTE", "request": list(nodes), **(target or {})},
    }


def record(object_name: str | None, *nodes: dict[str, Any], details: list[dict[str, Any]] | None = None) -> Any:
    """The node `data` of what data/create and data/update are asked."""
    named = [node("dataObjectApiName", object_name)] if object_name else []
    inner = [node("object_data", "", "object", children=[*named, *nodes])]
    if details is not None:
        inner.append(node("details", "", "object", children=details))
    return node("data", "", "object", children=inner)

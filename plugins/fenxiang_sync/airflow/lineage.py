"""``fenxiang lineage``: where each column of a target comes from. Exit codes: 0 told, 1 no column is made of the field
that was asked for, 2 it could not be told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fenxiang_sync.airflow.terminal import Dags, Json, Name, declared, say, table

if TYPE_CHECKING:
    from fenxiang_sync.lineage import Lineage

HEADS = ["target", "kind", "source", "converter", "if null", "only records with"]


def lineage(
    pipeline: Name = None,
    field: Annotated[
        str | None, typer.Option("--field", help="Only columns that this source field goes into: what a change hits.")
    ] = None,
    dags: Dags = None,
    as_json: Json = False,
) -> None:
    """Say of each column of the target which source fields it is made of (字段血缘), how, and when."""
    from fenxiang_sync.lineage import Lineage

    found = [Lineage.of(each) for each in declared(dags, pipeline)]
    documents = [_wanted(each, field) for each in found]
    if as_json:
        typer.echo(json.dumps([each for each in documents if each["columns"]], ensure_ascii=False, indent=1))
    else:
        for each, document in zip(found, documents, strict=True):
            if document["columns"]:
                say(_heads(each))
                table(HEADS, [_row(column) for column in document["columns"]], whole=["target"])
    if field is not None and not any(document["columns"] for document in documents):
        typer.echo(f"no column is made of {field!r}", err=True)
        raise typer.Exit(1)


def _wanted(found: Lineage, field: str | None) -> dict[str, Any]:
    document = found.to_json()
    wanted = [
        each
        for each in document["columns"]
        if field is None or each["source"] == field or any(f".{read}".endswith(f".{field}") for read in each["reads"])
    ]
    return {**document, "columns": wanted}


def _heads(found: Lineage) -> Iterator[str]:
    document = found.to_json()
    yield f"{document['pipeline']}: {document['object']} ({document['connection']}) → {document['target']}"
    if document["filters"]:
        yield f"  asks for  {' and '.join(document['filters'])}"
    if document["gets"]:
        yield f"  gets      {', '.join(document['gets'])}, with a call for each record"
    if document["conditions"]:
        yield f"  keeps     {' or '.join(' and '.join(group) for group in document['conditions'])}"
    if document["explode"]:
        yield f"  explodes  {document['explode']}"


def _row(column: dict[str, Any]) -> list[str]:
    kind = column["kind"] if column["scale"] is None else f"{column['kind']}({column['scale']})"
    source = column["source"] or ""
    also = [
        name for name in column["reads"] if not any(f"{each}.".startswith(f"{name}.") for each in source.split(", "))
    ]
    source += f" ({', '.join(also)})" if also and source not in also else ""
    return [
        column["target"],
        kind,
        source,
        column["converter"],
        column["if_null"] or "",
        " and ".join(column["conditions"]),
    ]

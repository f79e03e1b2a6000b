"""What a CRM has, and a first DAG file for it: ``fenxiang objects``, ``fenxiang describe``, ``fenxiang new``.

Each asks the CRM once. Exit codes: 0 done, 1 it cannot be done as asked, 2 the CRM could not be asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from fenxiang_sync.airflow.terminal import table
from fenxiang_sync.errors import DeclarationError, FenxiangSyncError, RefusedError
from fenxiang_sync.scaffold import Scaffold, pipeline_name
from fenxiang_sync.source.description import FieldDescription, ObjectDescription

CANNOT = 1
NOT_ASKED = 2
_OPTIONS_SHOWN = 8

Connection = Annotated[str, typer.Option("--connection", help="The Airflow connection of the CRM.")]
Json = Annotated[bool, typer.Option("--json", help="Tell it as JSON.")]
Name = Annotated[str | None, typer.Option("--name", help="The pipeline's name, which is the DAG's id.")]
Folder = Annotated[Path | None, typer.Option("--dags", help="Where to write it; by default Airflow's own dags folder.")]
Printed = Annotated[bool, typer.Option("--print", help="Only print the file.")]
ObjectName = Annotated[str, typer.Argument(metavar="OBJECT", help="API name, as `fenxiang objects` lists it.")]


def objects(
    search: Annotated[
        str | None, typer.Argument(metavar="[TEXT]", help="Only those whose name has this text in it.")
    ] = None,
    connection: Connection = "fenxiang",
    as_json: Json = False,
) -> None:
    """List the objects (对象) that the app may use."""
    with asking(connection) as client:
        found = [(_name(each, "describeApiName"), _name(each, "describeDisplayName")) for each in client.objects()]
    wanted = (search or "").casefold()
    found = sorted(each for each in found if wanted in each[0].casefold() or wanted in each[1].casefold())
    if as_json:
        tell([{"object": name, "label": label} for name, label in found])
    elif found:
        table(["object", "label", "kind"], [[name, label, _kind(name)] for name, label in found])
    else:
        cannot(f"no object has {search!r} in its name" if search else "the app may use no object: give it the right")


def describe(
    object_name: ObjectName,
    connection: Connection = "fenxiang",
    as_json: Json = False,
    save: Annotated[
        Path | None, typer.Option("--save", help="Keep the whole description in this file, as the CRM tells it.")
    ] = None,
) -> None:
    """Show the fields (字段) of an object: names, labels, types, options, references."""
    document, described = _described(object_name, connection)
    if save is not None:
        save.parent.mkdir(parents=True, exist_ok=True)
        save.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        typer.echo(f"{save}: the description of {described.name}, {len(described.fields)} fields")
    elif as_json:
        tell(document)
    else:
        typer.echo(f"{described.label} · {described.name}")
        heads = ["field", "label", "type", "", "options, reference"]
        table(heads, [_row(each) for each in described.fields.values()])


def new(
    object_name: ObjectName,
    name: Name = None,
    connection: Connection = "fenxiang",
    folder: Folder = None,
    printed: Printed = False,
) -> None:
    """Write a DAG file for an object, every field with a sensible converter, to be cut down and mended by hand."""
    _, described = _described(object_name, connection)
    chosen = name or pipeline_name(described.name)
    text = Scaffold(described, chosen, connection).text()
    try:
        declares(text, chosen)
    except DeclarationError as error:
        cannot(f"{error}; choose another --name" if name else str(error))
    if printed:
        typer.echo(text, nl=False)
        return
    path = keep(text, chosen, folder)
    typer.echo(f"{path}: {described.label} ({described.name})")
    typer.echo("Cut it down to the fields that you need, choose a target, then: fenxiang setup; fenxiang check")


def declares(text: str, name: str) -> None:
    """Run a DAG file that was made here, to see whether its declaration holds; raises `DeclarationError`."""
    exec(compile(text, f"{name}.py", "exec"), {"__name__": name})  # noqa: S102 - our own text


def keep(text: str, name: str, folder: Path | None) -> Path:
    """Write a DAG file that is not there yet; one that is ends the command."""
    path = (folder or _dags_folder()) / f"{name}.py"
    if path.exists():
        cannot(f"{path} is there already, and is not written over; choose another --name, or take it away first")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        cannot(f"{path} cannot be written: {error.strerror}; choose another folder with --dags")
    return path


def _described(object_name: str, connection: str) -> tuple[dict[str, Any], ObjectDescription]:
    with asking(connection) as client:
        try:
            document = client.describe(object_name)
        except RefusedError as error:
            near = _near(object_name, [_name(each, "describeApiName") for each in client.objects()])
            cannot(f"the CRM does not describe {object_name!r}: {error}{near}")
        return document, ObjectDescription.read(document)


def _near(name: str, names: Sequence[str]) -> str:
    import difflib

    folded = {each.casefold(): each for each in names}
    found = difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)
    return f". Did you mean {', '.join(folded[each] for each in found)}?" if found else ""


@contextmanager
def asking(connection: str) -> Iterator[Any]:
    """A client that does not wait long: a person waits for the answer."""
    from contextlib import closing

    from fenxiang_sync.airflow.connections import need
    from fenxiang_sync.airflow.hook import FenxiangHook

    try:
        need(connection, FenxiangHook.conn_type)
        with closing(FenxiangHook(connection).client(patient=False)) as client:
            yield client
    except FenxiangSyncError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(NOT_ASKED) from None


def _dags_folder() -> Path:
    from airflow import settings

    return Path(settings.DAGS_FOLDER)


def _row(field: FieldDescription) -> list[str]:
    marks = [
        mark
        for mark, holds in (
            ("required", field.required),
            ("inactive", not field.active),
            ("no stamp", not field.stamped),
        )
        if holds
    ]
    options = [value if value == label else f"{value} {label}" for value, label in field.options.items()]
    more = [f"… {len(options)} in all"] if len(options) > _OPTIONS_SHOWN else []
    said = ", ".join([*options[:_OPTIONS_SHOWN], *more]) or (f"→ {field.refers_to}" if field.refers_to else "")
    return [field.name, field.label, field.type, ", ".join(marks), said]


def _kind(name: str) -> str:
    return "custom" if name.endswith("__c") else "preset"


def _name(entry: dict[str, Any], key: str) -> str:
    return str(entry.get(key) or "")


def tell(document: Any) -> None:
    """A document as JSON."""
    typer.echo(json.dumps(document, ensure_ascii=False, indent=1))


def cannot(why: str) -> NoReturn:
    """End with the reason."""
    typer.echo(why, err=True)
    raise typer.Exit(CANNOT)

"""From Qeasy (轻易云) to a DAG file: ``fenxiang import-qeasy``.

Nothing is asked of anybody. Exit codes: 0 done, 1 it cannot be done as asked, 2 a library is missing here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fenxiang_sync.airflow.discovery import Connection, Folder, Json, Name, Printed, cannot, declares, keep, tell
from fenxiang_sync.errors import DeclarationError, SetupError
from fenxiang_sync.qeasy.importer import Importer
from fenxiang_sync.qeasy.metadata import MOST_BYTES, Side, read, receiver
from fenxiang_sync.qeasy.reader import object_of
from fenxiang_sync.qeasy.report import Report
from fenxiang_sync.scaffold import pipeline_name

NOT_HERE = 2

Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE…",
        help="Metadata (元数据, 源码视图) as JSON: one file with both sides, or one for each.",
        exists=True,
        dir_okay=False,
        readable=True,
    ),
]
Schemes = Annotated[
    list[str] | None,
    typer.Option("--scheme", metavar="ID=PIPELINE", help="Which pipeline a scheme is that look-ups are in; repeat it."),
]

CallBack = Annotated[
    Path | None,
    typer.Option(
        "--call-back",
        metavar="FILE",
        help="Metadata of the scheme that callBackStrategy calls: what it writes into the CRM becomes a write-back.",
        exists=True,
        dir_okay=False,
        readable=True,
    ),
]


def import_qeasy(
    files: Files,
    name: Name = None,
    connection: Connection = "fenxiang",
    folder: Folder = None,
    schemes: Schemes = None,
    call_back: CallBack = None,
    printed: Printed = False,
    as_json: Json = False,
) -> None:
    """Make a DAG file of the metadata of a Qeasy scheme (轻易云方案); tell what was taken over, what was changed and
    why, and what has no counterpart here."""
    report = Report()
    pipelines = dict(map(_scheme, schemes or []))
    receives = None if call_back is None else _receiver(call_back)
    try:
        scheme = read([_content(file) for file in files], report)
        chosen = name or pipeline_name(object_of(scheme.source))
        text = Importer(scheme, chosen, connection, pipelines, report, receives).text()
    except DeclarationError as error:
        cannot(f"{', '.join(map(str, files))}: {error}")
    except SetupError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(NOT_HERE) from None
    wrong = _wrong(text, chosen)
    path = None if printed or wrong else keep(text, chosen, folder)
    if as_json:
        file = {"text": text} if printed else {"file": str(path) if path else None}
        tell({"pipeline": chosen, **file, "wrong": wrong, "findings": report.document()})
    else:
        if printed:
            typer.echo(text, nl=False)
        for line in report.lines():
            typer.echo(line, err=printed)
        if path:
            typer.echo(f"\n{path}: {scheme.name or chosen}")
            typer.echo("Read it, mend what has no counterpart, then: fenxiang setup; fenxiang check")
    if wrong:
        cannot(f"the declaration does not hold, so nothing is written (--print shows it): {wrong}")


def _receiver(file: Path) -> Side:
    try:
        return receiver(_content(file))
    except DeclarationError as error:
        cannot(f"{file}: {error}")


def _content(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(MOST_BYTES + 1)


def _scheme(given: str) -> tuple[str, str]:
    scheme, equals, pipeline = given.partition("=")
    if not (scheme and equals and pipeline):
        cannot(f"--scheme {given}: give the id of a scheme and the name of a pipeline, as in --scheme 0d3a…=customer")
    return scheme, pipeline


def _wrong(text: str, name: str) -> str:
    """Why the declaration does not hold, "" where it does."""
    try:
        declares(text, name)
    except DeclarationError as error:
        return str(error)
    return ""

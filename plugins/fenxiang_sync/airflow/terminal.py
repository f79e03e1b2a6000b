"""The terminal: what the commands share: which pipelines are meant, the hub, moments, and how they end.

Exit codes: 0 nothing to do, 1 there is, 2 it could not be told or done.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from fenxiang_sync.errors import FenxiangSyncError

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag

    from fenxiang_sync.hub import Hub
    from fenxiang_sync.pipeline import Pipeline

CANNOT_TELL = 2
_NARROWEST = 6
_WIDEST = 60

Name = Annotated[str | None, typer.Argument(metavar="[PIPELINE]", help="One pipeline; by default all of them.")]
One = Annotated[str, typer.Argument(metavar="PIPELINE", help="The pipeline.")]
Dags = Annotated[
    Path | None,
    typer.Option("--dags", help="Folder or file of DAG files; by default Airflow's own dags folder.", exists=True),
]
Json = Annotated[bool, typer.Option("--json", help="Tell it as JSON.")]


def declared(dags: Path | None, name: str | None, *, ways_back: bool = False) -> list[Pipeline]:
    """The pipelines of the DAG files, or the one of that name; a file that cannot be read is told, and left out.

    A name may be that of a way back (``account.write_back``); with `ways_back` they are among all of them, too.
    """
    from airflow import settings

    from fenxiang_sync.airflow.operators import PipelineOperator
    from fenxiang_sync.steps.written import written, written_name

    bag = parsed(str(dags or settings.DAGS_FOLDER))
    for file in sorted(map(str, bag.import_errors)):
        typer.echo(f"{file} cannot be read (fenxiang check says why); its pipelines are left out", err=True)
    tasks = [task for dag in bag.dags.values() for task in dag.tasks if isinstance(task, PipelineOperator)]
    found = {task.pipeline.name: task.pipeline for task in tasks}
    if ways_back or name is not None:
        found |= {written_name(each): written(each) for each in found.values() if each.write_back is not None}
    if name is not None and name not in found:
        cannot_tell(f"no DAG file declares a pipeline {name!r}; there are: {', '.join(sorted(found)) or 'none'}")
    return [found[each] for each in sorted(found) if name in (None, each)]


def parsed(place: str) -> DagBag:
    """The DAG files there. What they print goes beside what the command says, which programs may read."""
    from airflow.dag_processing.dagbag import DagBag

    with redirect_stdout(sys.stderr):
        return DagBag(place)


@contextmanager
def opened_hub() -> Iterator[Hub]:
    """The hub of this deployment; what is wrong with it ends the command."""
    from fenxiang_sync.airflow.settings import Settings
    from fenxiang_sync.hub import Hub

    try:
        with Hub.connect(Settings.load().hub_url()) as hub:
            yield hub
    except FenxiangSyncError as error:
        cannot_tell(f"hub: {error}")


def say(lines: Iterable[str]) -> None:
    """Lines for people; what a terminal would obey instead of showing it is taken out."""
    for each in lines:
        typer.echo(printable(each))


def printable(said: str) -> str:
    """Text of several lines without what a terminal obeys: names and messages come from people and servers.

    >>> printable("a\\x1b[2J\\u202eb\\u3000c\\nd")
    'a�[2J�b\\u3000c\\nd'
    """
    if said.isprintable():
        return said
    return "".join("�" if unicodedata.category(each) in _OBEYED and each != "\n" else each for each in said)


_OBEYED = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
"""Unicode's categories of controls, of what turns the direction of text, of halves of letters and of line ends."""


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, most: int | None = None, whole: Sequence[str] = ()
) -> None:
    """In columns, with Chinese characters counted as wide as a terminal shows them; with `most`, one line a row, in
    which what is wider than that is cut. Where the terminal has no room, the columns that need not be `whole` share
    what there is, the others stay in one line."""
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=False)
    made = Table(box=None, pad_edge=False, header_style="bold")
    widths = [max(map(cell_len, column)) for column in zip(heads, *rows, strict=True)]
    if most is not None:
        widths = [min(each, most) for each in widths]
        shared = [place for place, head in enumerate(heads) if head not in whole]
        room = console.width - 2 * (len(heads) - 1) - sum(widths) + sum(widths[place] for place in shared)
        for left, place in zip(range(len(shared), 0, -1), sorted(shared, key=widths.__getitem__), strict=True):
            widths[place] = min(widths[place], max(_NARROWEST, room // left))
            room -= widths[place]
    for head, width in zip(heads, widths, strict=True):
        cut, least = most is not None, width if head in whole else None
        made.add_column(
            head, overflow="ellipsis" if cut else "fold", no_wrap=cut or head in whole, max_width=width, min_width=least
        )
    for row in rows:
        made.add_row(*(Text(printable(each)) for each in row))
    console.print(made)


@contextmanager
def progress(name: str) -> Iterator[Callable[[int], None]]:
    """Shows on a terminal how many rows are done so far, until it is over; elsewhere nothing."""
    shown = sys.stderr.isatty()

    def done(rows: int) -> None:
        if shown:
            typer.echo(f"\r{name}: {rows:,} rows so far", nl=False, err=True)

    try:
        yield done
    finally:
        if shown:
            typer.echo("\r\x1b[K", nl=False, err=True)


def cannot_tell(why: str) -> NoReturn:
    """End with the reason."""
    typer.echo(printable(why), err=True)
    raise typer.Exit(CANNOT_TELL)


def moment(at: datetime) -> str:
    """A moment as people write it, to the second where it has one.

    >>> moment(datetime(2026, 11, 22, 8, 5)), moment(datetime(2026, 11, 22, 8, 5, 1))
    ('2026-11-22 08:05', '2026-11-22 08:05:01')
    """
    return f"{at:%Y-%m-%d %H:%M:%S}" if at.second or at.microsecond else f"{at:%Y-%m-%d %H:%M}"


def counted(number: int, one: str, more: str = "") -> str:
    """So many of something, as people say it.

    >>> counted(3, "try", "tries")
    '3 tries'
    >>> counted(1, "row"), counted(2_000, "row")
    ('1 row', '2,000 rows')
    """
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def shown(value: Any) -> str:
    """A value of a record, shortened to fit a line.

    >>> shown({"city": "北京"})
    '{"city": "北京"}'
    """
    said = json.dumps(value, ensure_ascii=False, default=str)
    return said if len(said) <= _WIDEST else said[:_WIDEST] + "…"

"""What the commands share: options that all have, how they show progress, tables and complaints."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

CODES = "Exit codes: 0 done, 1 could not, 2 wrong usage, 130 interrupted."
STEERING = re.compile(r"[\0-\x08\x0b-\x1f\x7f-\x9f]")  # would steer a terminal; file names and metadata may hold it

Model = Annotated[Path | None, typer.Argument(help="Model file; the shipped bundle when left out.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines, and nothing else.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Trust = Annotated[bool, typer.Option("--trust", help="Run an engine although it is not as its manifest says.")]


def complain(sentence: str) -> None:
    """Say one sentence on the error stream."""
    with contextlib.suppress(OSError):
        print(f"edgex: {STEERING.sub('?', ' '.join(sentence.split()))}", file=sys.stderr)


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str, int, int | None], None]]:
    """Show a progress bar on the error stream while it is a terminal; what is given out takes stage, done, in all."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task, current = bars.add_task("starting", total=None), ""

        def show(stage: str, done: int, total: int | None) -> None:
            nonlocal task, current
            if stage != current:  # a new stage has a time of its own
                bars.remove_task(task)
                task, current = bars.add_task(stage, total=total), stage
            bars.update(task, completed=done, total=total)

        yield show


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows in columns."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    Console(soft_wrap=False).print(table)


def plain(value: Any) -> str:
    """Return a value as text that cannot steer a terminal."""
    if isinstance(value, dict):
        return ", ".join(f"{key or 'onnx'} {plain(each)}" for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(each) for each in value)
    return "" if value is None else STEERING.sub("?", str(value))

"""Output shared by the commands: tables for people, JSON for scripts, spinners, errors.

Tables contain texts from CRMs and plugins. They are shown without markup and without control characters. In a pipe a
table has exactly one line per row, and no colours.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

import click
from rich.cells import set_cell_size
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from crmgate.errors import ConfigError, LedgerUnavailable

WHOLE = 100_000
"""Width in columns of a table that is not shown on a terminal: wide enough to break no text."""
GAP = "  "
LEAST = 12
"""Least width of a last column that is cut."""
MARKS = {True: Text("ok", "green"), False: Text("problem", "bold red"), None: Text("skipped", "yellow")}

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


class Misconfigured(click.ClickException):
    """The configuration cannot work."""

    exit_code = 2

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("the configuration cannot work:\n" + "\n".join(f"- {problem}" for problem in problems))


@contextmanager
def configuration() -> Iterator[None]:
    """Turn a `ConfigError` into a message and exit status 2."""
    try:
        yield
    except ConfigError as error:
        problems = error.problems
    else:
        return
    raise Misconfigured(problems)


@contextmanager
def ledger() -> Iterator[None]:
    """Turn a `LedgerUnavailable` into a message and exit status 1."""
    try:
        yield
    except LedgerUnavailable as error:
        reason = str(error)
    else:
        return
    raise click.ClickException(f"Redis does not answer ({reason}): start it, or correct REDIS_URL.")


@contextmanager
def working(what: str) -> Iterator[Callable[[str], None]]:
    """Show a spinner on a terminal. Yields a function that changes its text.

    Redirects stdout to stderr, so that a plugin that prints cannot break the JSON output.
    """
    with Console(stderr=True, markup=False).status(what) as status, redirect_stdout(sys.stderr):
        yield status.update


def print_json(data: Any) -> None:
    """Print `data` as JSON, with letters of every script unescaped."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False))


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str | Text]], title: str = "") -> None:
    """Print a table without borders. On a terminal a long text is wrapped, never cut."""
    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = WHOLE
    columns = (Column(heading, overflow="fold") for heading in headings)
    table = Table(*columns, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for row in rows:
        table.add_row(*(clean(cell) if isinstance(cell, str) else cell for cell in row))
    with console.capture() as captured:
        console.print(table)
    lines = [line.rstrip() for line in captured.get().splitlines()]
    click.echo("\n".join([title, *lines] if title else lines))


def print_rows(
    headings: Sequence[str], rows: Iterable[Sequence[str | Text]], title: str = "", *, spare: Sequence[str] = ()
) -> None:
    """Print a table with one line for each row; it may have thousands.

    On a terminal that is too narrow, the columns that `spare` names are left out, the first one first, and the last
    column is cut. In a pipe nothing is left out.
    """
    console = Console()
    room = console.width if console.is_terminal else WHOLE
    lines = [[Text(heading, "bold") for heading in headings]]
    lines += [[cell if isinstance(cell, Text) else Text(clean(cell)) for cell in row] for row in rows]
    widths = [max(cell.cell_len for cell in column) for column in zip(*lines, strict=True)]
    shown = _fitting(headings, widths, room, spare)
    text = "\n".join(_line([(line[number], widths[number]) for number in shown], room) for line in lines)
    click.echo(f"{title}\n{text}" if title else text)


def _fitting(headings: Sequence[str], widths: Sequence[int], room: int, spare: Sequence[str]) -> list[int]:
    """Numbers of the columns that fit into `room`."""
    least = [*widths[:-1], min(widths[-1], LEAST)]
    shown = [*range(len(headings))]
    for name in spare:
        if sum(least[number] + len(GAP) for number in shown) - len(GAP) > room:
            shown.remove(headings.index(name))
    return shown


def _line(cells: Sequence[tuple[Text, int]], room: int) -> str:
    """The cells of a row with their widths as one line of at most `room` columns."""
    *others, (last, _width) = cells
    start = "".join(_styled(cell, set_cell_size(cell.plain, width)) + GAP for cell, width in others)
    left = max(room - sum(width + len(GAP) for _, width in others), 1)
    end = last.plain if last.cell_len <= left else f"{set_cell_size(last.plain, left - 1)}…"
    return (start + _styled(last, end)).rstrip()


def _styled(cell: Text, text: str) -> str:
    words = str(cell.style).split()
    color = next((word for word in words if word not in ("bold", "dim")), None)
    return click.style(text, fg=color, bold="bold" in words or None, dim="dim" in words or None) if words else text


def clean(text: str) -> str:
    """`text` as one line without control characters, which could change the terminal's display."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())

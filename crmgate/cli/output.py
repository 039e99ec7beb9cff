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
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from crmgate.errors import ConfigError, LedgerUnavailable

WHOLE = 100_000
"""Width in columns of a table that is not shown on a terminal: wide enough to break no text."""
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


def clean(text: str) -> str:
    """`text` as one line without control characters, which could change the terminal's display."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())

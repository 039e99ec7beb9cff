"""`crmgate stats`: figures for marketing; `crmgate dlq causes`: causes of dead letters."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Any

import click

from crmgate.cli.output import as_json, print_json, print_table
from crmgate.cli.parts import brief, opened
from crmgate.model import rfc3339
from crmgate.operators import sheets
from crmgate.operators.numbers import KEPT_DAYS, Amounts, CauseCount, ValueCount
from crmgate.store.tallies import Dimension


@click.command()
@click.option(
    "--days", type=click.IntRange(1, KEPT_DAYS), default=30, show_default=True, help="Days until today (UTC)."
)
@click.option(
    "--by", type=click.Choice([each.value for each in Dimension]), default=Dimension.SOURCE.value, show_default=True,
    help="What the figures are counted by.",
)  # fmt: skip
@click.option("--csv", "as_csv", is_flag=True, help="A line for each day and value, for a spreadsheet.")
@as_json
def stats(days: int, by: str, as_csv: bool, as_json: bool) -> None:
    """Show how many applications and clicks came from where. Contains no personal data.

    A click counts as a click, and as "applied" if an application of the same visit followed.

    Exit status: 0 shown, 1 Redis does not answer, 2 the configuration cannot work or an option was used wrongly.
    """
    if as_csv and as_json:
        raise click.UsageError("Give one of --csv and --json.")
    with opened() as parts:
        until, dimension = parts.numbers.today(), Dimension(by)
        since = until - timedelta(days=days - 1)
        rows = parts.numbers.days(since, until, dimension) if as_csv or as_json else []
        values = parts.numbers.values(since, until, dimension)
    if as_csv:
        click.echo("".join(sheets.lines(rows)), nl=False)
    elif as_json:
        items: list[dict[str, Any]] = [
            {"day": row.day.isoformat(), "value": row.value} | asdict(row.figures) for row in rows
        ]
        print_json({"since": since.isoformat(), "until": until.isoformat(), "by": by, "items": items})
    elif values:
        headings = (by.upper(), *(name.upper() for name in asdict(Amounts())))
        print_table(headings, (_row(value) for value in values), f"{since} to {until} (UTC)\n")
    else:
        click.echo(f"Nothing was counted from {since} to {until} (UTC).")


def _row(counted: ValueCount) -> tuple[str, ...]:
    name = sheets.REST if counted.value is None else counted.value
    return (name, *(str(number or "") for number in asdict(counted.figures).values()))


@click.command()
@as_json
def causes(as_json: bool) -> None:
    """Count dead letters by cause: provider, code and refused field of their last failure, with the remedy.

    Exit status: 0 shown, 1 Redis does not answer, 2 the configuration cannot work.
    """
    with opened() as parts:
        found = parts.numbers.causes()
    if as_json:
        items = [asdict(cause) | {"oldest": rfc3339(cause.oldest)} for cause in found.items]
        print_json({"items": items, "dead_letters": found.dead, "indexed": found.indexed})
        return
    if not found.dead:
        click.echo("There are no dead letters.")
        return
    print_table(("NUMBER", "CRM", "ERROR", "FIELD", "OLDEST", "WHAT TO DO"), map(_cause, found.items))
    if found.indexed != found.dead:
        click.echo(f"{found.indexed} of {found.dead} dead letters are indexed: the worker continues.", err=True)


def _cause(cause: CauseCount) -> tuple[str, ...]:
    return (str(cause.count), cause.provider, cause.code, cause.field, brief(cause.oldest), cause.remedy)

"""`crmgate audit`: the audit log of operators' changes."""

from __future__ import annotations

from dataclasses import asdict

import click

from crmgate.cli.output import as_json, print_json, print_table
from crmgate.cli.parts import opened


@click.command()
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="Entries at most.")
@as_json
def audit(limit: int, as_json: bool) -> None:
    """Show the changes that operators made, newest first: operator, action and object.

    Exit status: 0 shown, 1 Redis does not answer, 2 the configuration cannot work.
    """
    with opened() as parts:
        entries = parts.audit.recent(limit)
    if as_json:
        print_json({"items": [asdict(entry) for entry in entries]})
    elif entries:
        rows = ((entry.at, entry.who, entry.what, entry.on, entry.detail) for entry in entries)
        print_table(("AT", "WHO", "WHAT", "ON", "DETAIL"), rows)
    else:
        click.echo("There are no entries.")

"""`crmgate person`: find, export and erase what the gateway keeps about a person.

A contact on the command line stays in the history of the shell: without an argument the command asks for it, and `-`
reads it from standard input.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from crmgate.cli.output import as_json, print_json, print_table
from crmgate.cli.parts import opened, show_list
from crmgate.operators.persons import CrmRecord, Erasure, PersonData
from crmgate.services import Services
from crmgate.store.audit import command_line

if TYPE_CHECKING:
    from crmgate.schemas.typed_contact import Contact

who = click.argument("contact", metavar="[EMAIL|PHONE|-]", default="")


@click.group()
def person() -> None:
    """Find, export and erase what the gateway keeps about a person, by email or phone."""


@person.command()
@who
@as_json
def show(contact: str, as_json: bool) -> None:
    """Show the operations, sessions and CRM records of a person, without payloads. Writes an audit entry.

    Without an argument the command asks for the contact; `-` reads it from standard input.

    Exit status: 0 found, 1 nothing is kept or Redis does not answer, 2 the configuration cannot work.
    """
    with _opened() as parts:
        found = parts.persons.find(_read(parts, contact), command_line())
    if as_json:
        print_json(found.to_json())
    elif found.known:
        _show(found)
    else:
        click.echo("Nothing is kept about this person.")
    sys.exit(0 if found.known else 1)


@person.command()
@who
def export(contact: str) -> None:
    """Print everything that the gateway keeps about a person as JSON. Writes an audit entry.

    The data of the CRM are not included: `crm` names the records there.

    Exit status: 0 printed, 1 Redis does not answer, 2 the configuration cannot work.
    """
    with _opened() as parts:
        data = parts.persons.export(_read(parts, contact), command_line())
    print_json(data)


@person.command()
@who
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
def erase(contact: str, yes: bool, as_json: bool) -> None:
    """Discard the operations of a person that have not ended, and remove everything else. Asks first.

    Prints the records to erase in the CRM. With --json it does not ask: it prints a preview, and erases if --yes is
    given.

    Exit status: 0 erased, or nothing is kept; 1 not (completely) erased or Redis does not answer, 2 the configuration
    cannot work.
    """
    with _opened() as parts:
        asked = _read(parts, contact)
        before = parts.persons.find(asked, command_line())
        if not as_json:
            _show_preview(before)
        agreed = yes or not before.known or (not as_json and click.confirm("\nErase this?", err=True))
        done = parts.persons.erase(asked, command_line()) if agreed else None
    if as_json:
        print_json({"erased": True} | done.to_json() if done else {"erased": False} | before.preview_json())
    elif done:
        _show_erased(done)
    else:
        click.echo("Nothing was changed.")
    sys.exit(0 if done and done.complete else 1)


@contextmanager
def _opened() -> Iterator[Services]:
    """The services of the gateway, with the spool of this host if there is one."""
    with opened() as parts:
        if parts.spool:
            parts.spool.join()
        yield parts


def _read(parts: Services, typed: str) -> Contact:
    """The contact that was typed, or read. Raises `click.BadParameter`, whose message does not repeat it."""
    from crmgate.schemas.faults import InvalidFields

    if typed == "-":
        typed = sys.stdin.readline()
    elif not typed:
        typed = click.prompt("Email or phone", err=True)
    try:
        return parts.persons.contact(typed)
    except InvalidFields as invalid:
        message = " ".join(error.message for error in invalid.errors)
    raise click.BadParameter(message, param_hint="EMAIL|PHONE")


def _show(found: PersonData) -> None:
    show_list(found.operations, _summary(found) + "\n")
    if found.more:
        click.echo("There are more operations than these.")
    _show_records(found.records, "\nRecords in the CRM:")


def _show_preview(found: PersonData) -> None:
    if found.known:
        click.echo(f"{_summary(found)}\n{found.unsent} operations are discarded; the rest is removed.")


def _show_erased(done: Erasure) -> None:
    if not done.found.known:
        click.echo("Nothing is kept about this person.")
        return
    click.echo(f"Erased; {done.discarded} operations were discarded.")
    if done.left:
        click.echo(f"Deliveries are under way: {', '.join(done.left)}. Run the command again in a minute.", err=True)
    if done.found.more:
        click.echo("There are more operations: run the command again.", err=True)
    _show_records(done.found.records, "\nErase these records in the CRM:")


def _show_records(records: tuple[CrmRecord, ...], title: str) -> None:
    if records:
        rows = ((record.provider, record.record_id, record.url) for record in records)
        print_table(("CRM", "RECORD", "ADDRESS"), rows, title)


def _summary(found: PersonData) -> str:
    numbers = ((number, name.replace("_", " ")) for name, number in found.counts().items() if number)
    return ", ".join(f"{number} {name}" for number, name in numbers)

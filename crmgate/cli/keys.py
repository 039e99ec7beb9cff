"""`crmgate keys`: the keys that encrypt the payloads in Redis."""

from __future__ import annotations

import sys

import click

from crmgate.cli.bulk import progress
from crmgate.cli.output import as_json, print_json
from crmgate.cli.parts import opened
from crmgate.operators.rotation import Rotation
from crmgate.store.audit import command_line
from crmgate.store.vault import key_id, new_key


@click.group()
def keys() -> None:
    """Create keys that encrypt the payloads in Redis, and encrypt everything with another key."""


@keys.command()
@as_json
def new(as_json: bool) -> None:
    """Create a key for PAYLOAD_KEYS and print it. Stores nothing.

    Exit status: 0 created.
    """
    key = new_key()
    if as_json:
        print_json({"id": key_id(key), "key": key})
        return
    click.echo(key)
    click.echo("Keep it in two places: what it encrypts cannot be read without it.", err=True)


@keys.command()
@as_json
def rotate(as_json: bool) -> None:
    """Encrypt all payloads in Redis with the first key of PAYLOAD_KEYS, while the gateway runs.

    Restart all processes with the new first key before, and remove the old key after it. The command can be ended and
    run again. Writes an audit entry.

    Exit status: 0 everything is encrypted with the first key, 1 a payload needs a key that PAYLOAD_KEYS lacks or Redis
    does not answer, 2 the configuration cannot work.
    """
    with opened() as parts:
        if not parts.vault.current:
            raise click.ClickException("PAYLOAD_KEYS is not set: `crmgate keys new` makes a key for it.")
        encrypted, unreadable = _rotate(parts.rotation)
    if as_json:
        print_json({"key": parts.vault.current, "encrypted": encrypted, "unreadable": unreadable})
    else:
        click.echo(f"{encrypted} payloads were encrypted with the key {parts.vault.current}.")
        if unreadable:
            click.echo(f"{unreadable} need a key that PAYLOAD_KEYS lacks: add it and run this again.", err=True)
    sys.exit(1 if unreadable else 0)


def _rotate(rotation: Rotation) -> tuple[int, int]:
    """Numbers of the payloads that were encrypted, and of those that no key decrypts."""
    seen = encrypted = unreadable = 0
    with progress("Encrypting", rotation.total()) as done:
        for step in rotation.steps(command_line()):
            seen, encrypted = seen + step.seen, encrypted + step.encrypted
            unreadable += step.unreadable
            done(seen)
    return encrypted, unreadable

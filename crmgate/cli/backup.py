"""`crmgate backup` and `crmgate restore`: all operations and what a new Redis needs to continue, in one file."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import click

from crmgate.cli.bulk import progress
from crmgate.cli.output import as_json, print_json
from crmgate.cli.parts import opened
from crmgate.errors import LedgerNotEmpty, UnusableBackup
from crmgate.operators.archive import Archive, Cipher, Contents, cipher
from crmgate.store.audit import command_line

STANDARD = "-"
"""Stands for standard input or output in the place of a file name."""


def _cipher(_context: click.Context, _option: click.Parameter, value: str | None) -> Cipher | None:
    if value is None:
        return None
    try:
        return cipher(Path(value))
    except (ValueError, OSError) as error:
        message = str(error)
    raise click.BadParameter(message)


file = click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
key_file = click.option(
    "--key-file", "key", type=click.Path(dir_okay=False), callback=_cipher, metavar="FILE",
    help="File with the key that encrypts the backup.",
)  # fmt: skip


@click.command()
@file
@key_file
@as_json
def backup(file: str, key: Cipher | None, as_json: bool) -> None:
    """Write all operations, sessions, idempotency keys, counters, tokens and the audit log to FILE.

    The gateway may be running. FILE is readable by this user only; `-` is standard output. It has personal data.

    Exit status: 0 written, 1 Redis does not answer or FILE cannot be written, 2 the configuration or the key cannot
    work.
    """
    with opened() as parts, _written(file) as output, progress("Backing up", parts.backups.count()) as done:
        contents = parts.backups.make(output, key, command_line(), done)
    if file == STANDARD:
        click.echo(_made(contents, "standard output"), err=True)
    elif as_json:
        print_json({"file": file} | asdict(contents))
    else:
        click.echo(_made(contents, file))


@click.command()
@file
@key_file
@click.option("--merge", is_flag=True, help="Restore although Redis has operations; those that it has stay unchanged.")
@as_json
def restore(file: str, key: Cipher | None, merge: bool, as_json: bool) -> None:
    """Restore a backup from FILE; `-` is standard input. Nothing is written unless the backup is complete.

    The CRM is searched for each operation before it is sent, because it may have been delivered after the backup.

    Exit status: 0 restored, 1 the backup cannot be used or Redis does not answer, 2 the configuration or the key cannot
    work.
    """
    with opened() as parts, _readable(file) as source, _refusals(file):
        archive = Archive.open(source, key)
        with progress("Restoring", archive.contents.total) as done:
            restored = parts.backups.restore(archive, command_line(), merge=merge, progress=done)
    if as_json:
        print_json({"made_at": archive.made_at, "backup": asdict(archive.contents), "restored": asdict(restored)})
        return
    there = archive.contents.total - restored.operations
    click.echo(
        f"Restored from the backup of {archive.made_at}: {restored.operations:,} operations"
        f"{f'; {there:,} were there already' if there else ''}. The worker delivers those that wait."
    )


def _made(contents: Contents, name: str) -> str:
    states = ", ".join(f"{number:,} {state}" for state, number in contents.operations.items())
    return f"{contents.total:,} operations{f' ({states})' if states else ''} are in the backup: {name}"


@contextmanager
def _written(name: str) -> Iterator[BinaryIO]:
    """Standard output, or a new file that replaces `name` only when it is complete and on disk."""
    target = Path(name)
    with _file_errors(name):
        if name == STANDARD:
            yield sys.stdout.buffer
            return
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)  # mode 0600
        try:
            with open(handle, "wb") as output:
                yield output
                output.flush()
                os.fsync(output.fileno())
            Path(temporary).replace(target)
        finally:
            Path(temporary).unlink(missing_ok=True)


@contextmanager
def _readable(name: str) -> Iterator[BinaryIO]:
    """The file; a copy of standard input, because a backup is read several times."""
    with _file_errors(name):
        if name != STANDARD:
            with open(name, "rb") as source:
                yield source
            return
        with tempfile.TemporaryFile() as source:
            shutil.copyfileobj(sys.stdin.buffer, source)
            yield source


@contextmanager
def _file_errors(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"{name}: {error.strerror}"
    else:
        return
    raise click.ClickException(message)


@contextmanager
def _refusals(name: str) -> Iterator[None]:
    """Turn the reasons why a backup is not restored into a message and exit status 1."""
    try:
        yield
    except UnusableBackup as error:
        message = f"{'standard input' if name == STANDARD else name} {error}. Nothing was restored."
    except LedgerNotEmpty:
        message = "Redis has operations already. Nothing was restored. With --merge it gets what it does not have."
    else:
        return
    raise click.ClickException(message)

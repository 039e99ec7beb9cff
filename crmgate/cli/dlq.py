"""`crmgate dlq`: the dead letters and suspects, which wait for an operator, and the commands to handle them."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click

from crmgate.cli import bulk, changes, many
from crmgate.cli.output import as_json, print_json
from crmgate.cli.parts import filters, opened, resolve, show_list, show_whole, wanted
from crmgate.cli.stats import causes
from crmgate.errors import JobRunning
from crmgate.model import State
from crmgate.operators import export as exporting
from crmgate.operators.inventory import Filter
from crmgate.operators.retries import Job
from crmgate.services import Services
from crmgate.store.audit import Action, command_line
from crmgate.store.entries import JobState
from crmgate.store.tokens import Scope

suspects = click.option("--suspects", is_flag=True, help="Suspects instead of dead letters.")


@click.group()
def dlq() -> None:
    """List, show, edit, retry, discard and export dead letters and suspects."""


dlq.add_command(many.edit)
dlq.add_command(many.discard)
dlq.add_command(causes)


@dlq.command("list")
@suspects
@filters
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="Operations at most.")
@as_json
def list_(suspects: bool, limit: int, as_json: bool, **options: Any) -> None:
    """List dead letters, newest first, with their errors.

    Exit status: 0 listed, 1 Redis does not answer, 2 the configuration cannot work.
    """
    state = _state(suspects)
    with opened() as parts:
        total = parts.ledger.stats()["dead_letters"]
        found = list(itertools.islice(parts.inventory.all(wanted(state, options)), limit))
    if as_json:
        print_json({"items": [exporting.described(operation) for operation in found], "dead_letters": total})
    elif found:
        title = "" if suspects else f"{len(found)} of {total} dead letters\n"
        show_list(found, title, spare=("ID", "STATE", "KIND", "CRM"))
    else:
        click.echo("There are no suspects." if suspects else "There are no dead letters.")


@dlq.command()
@click.argument("operation", metavar="ID|CODE")
@as_json
def show(operation: str, as_json: bool) -> None:
    """Show one operation with its payload and its history.

    Exit status: 0 shown, 1 no such operation or Redis does not answer, 2 the configuration cannot work.
    """
    with opened() as parts:
        found = parts.desk.get(resolve(parts, operation).id)
        [wait] = parts.desk.waiting.of([found])
        parts.payloads.shown(found, Scope.OPERATE, command_line())
    show_whole(found, wait, payload=True, as_json=as_json)


@dlq.command()
@click.argument("operations", metavar="[ID|CODE]...", nargs=-1)
@click.option("--all", "all_", is_flag=True, help="All that match the filters, as a job that the workers run.")
@filters
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--detach", is_flag=True, help="Do not wait for the job to end.")
@click.option("--follow", is_flag=True, help="Show the progress of the job.")
@click.option("--cancel", is_flag=True, help="End the job; operations it already retried are not taken back.")
@as_json
def retry(
    operations: tuple[str, ...], all_: bool, yes: bool, detach: bool, follow: bool, cancel: bool, as_json: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Retry dead letters, release suspects, and try waiting operations now.

    Takes their ids or tracking codes, or --all for all dead letters that match the filters.

    With --all and --json it does not ask: it prints their number, and starts the job if --yes is given.

    Exit status: 0 all are retried, or the job ended, 1 some are not or the job was cancelled, 2 wrongly used.
    """
    if bool(operations) + all_ + follow + cancel != 1:
        raise click.UsageError("Name ids, or give one of --all, --follow and --cancel.")
    if any(options.values()) and not all_:
        raise click.UsageError("The filters need --all.")
    with opened() as parts:
        if operations:
            sys.exit(0 if changes.retry_each(parts, operations, as_json) else 1)
        job = _job(parts, wanted(State.DEAD, options), yes=yes, follow=follow, cancel=cancel, as_json=as_json)
        if job is not None and not detach:
            job = bulk.follow(parts, job)
    if job is None:
        return
    if as_json:
        print_json(bulk.to_json(job))
    else:
        click.echo(bulk.ended(job))
    sys.exit(1 if job.state == JobState.CANCELLED and not cancel else 0)


@dlq.command()
@click.option("--format", "form", type=click.Choice([*exporting.TYPES]), default="csv", show_default=True)
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="A new file (default: standard output)."
)
@suspects
@filters
@as_json
def export(form: str, output: Path | None, suspects: bool, as_json: bool, **options: Any) -> None:
    """Export dead letters with their payloads, which are personal data: only you can read the file.

    In CSV, an apostrophe stands before each value that a spreadsheet would take for a formula. With --json and --output
    the command prints the file and the number of exported operations.

    Exit status: 0 written, 1 the file exists or Redis does not answer, 2 the configuration cannot work.
    """
    state = _state(suspects)
    with opened() as parts:
        chosen = wanted(state, options)
        total = None if suspects else parts.inventory.count_dead(chosen).number
        entries = bulk.counted(parts.inventory.all(chosen), "Exporting", total)
        with _writable(output) as file:
            parts.audit.record(command_line(), Action.EXPORT, state, form)
            number = sum(1 for line in exporting.lines(entries, form) if file.write(line)) - (form == "csv")
    if output and as_json:
        print_json({"file": str(output), "format": form, "exported": number})
    elif output:
        click.echo(f"{number} exported to {output}.", err=True)


def _state(suspects: bool) -> State:
    return State.SUSPECT if suspects else State.DEAD


def _job(
    parts: Services, chosen: Filter, *, yes: bool, follow: bool, cancel: bool, as_json: bool
) -> Job | None:  # fmt: skip
    """The job to follow; None if there is nothing to retry, or only the preview was requested.

    Raises `JobRunning` if another job runs already.
    """
    desk = parts.desk
    if follow:
        return bulk.latest(desk)
    if cancel:
        return desk.cancel_retries(bulk.latest(desk).id, command_line())
    running = desk.retries.current()
    if running and running.state == JobState.RUNNING:
        raise JobRunning(running.id)
    count, fixed = desk.retries.preview(chosen)
    if as_json and not yes:
        print_json({"count": count.number, "exact": count.exact})
        return None
    if not count.number:
        if as_json:
            print_json({"count": 0, "exact": True})
        else:
            click.echo("There is nothing to retry.")
        return None
    if not (yes or click.confirm(f"Retry {bulk.number_of(count)}?", err=True)):
        click.echo("Nothing was changed.")
        sys.exit(1)
    return desk.start_retries(fixed, command_line())


@contextmanager
def _writable(output: Path | None) -> Iterator[IO[str]]:
    """Standard output, or a new file, which is deleted if writing it fails."""
    if output is None:
        yield sys.stdout
        return
    with _new_file(output) as file:
        try:
            yield file
        except BaseException:
            output.unlink(missing_ok=True)
            raise


def _new_file(output: Path) -> IO[str]:
    try:
        return open(output, "x", encoding="utf-8", newline="", opener=lambda path, flags: os.open(path, flags, 0o600))
    except FileExistsError:
        raise click.ClickException(f"{output} exists already: name another file") from None
    except OSError as error:
        raise click.ClickException(f"{output} cannot be written: {error.strerror}") from None

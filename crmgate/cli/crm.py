"""`crmgate crm`: is the CRM there, does it have the fields, and what setting it up takes."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from crmgate import services
from crmgate.cli.output import MARKS, as_json, clean, configuration, ledger, print_json, print_table, working
from crmgate.errors import LedgerUnavailable, ProviderError
from crmgate.model import CrmField, Provision
from crmgate.operators.waiting import advice, gate_json
from crmgate.provider import CRMProvider
from crmgate.services import Services
from crmgate.store.audit import command_line
from crmgate.store.gate import Cause, Gate, explain

BUDGET = 30.0
"""Seconds for all requests of a command; setting a CRM up gets them twice, for the plan and for the work."""
OPTIONS_SHOWN = 12
PLAIN = re.compile(r"[\w@%+=:,./-]+", re.ASCII)


@click.group()
def crm() -> None:
    """Look at the CRM that CRM_PROVIDER names, and set it up."""


@crm.command()
@as_json
def test(as_json: bool) -> None:
    """Check address, credentials, rights and fields; say why nothing is sent, if Redis answers.

    Exit status: 0 connected, 1 not connected, 2 the configuration cannot work.
    """
    parts = _start()
    with working(f"Asking {parts.crm.label} ..."):
        connection = parts.crm.test_connection(BUDGET)
    gate = _gate(parts)
    if as_json:
        checks = [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in connection.checks]
        told = {"connected": connection.connected, "latency_ms": connection.latency_ms, "checks": checks}
        print_json(_names(parts) | told | {"gate": gate_json(gate) if gate else None})
    else:
        state = f"connected ({connection.latency_ms:.0f} ms)" if connection.connected else "not connected"
        click.echo(f"{_title(parts)}: {state}\n")
        rows = ((check.name, MARKS[check.ok], check.detail) for check in connection.checks)
        print_table(("CHECK", "RESULT", "DETAIL"), rows)
        if gate and (stopped := advice(gate)):
            click.echo(f"\n{stopped}")
    sys.exit(0 if connection.connected else 1)


@crm.command()
@as_json
def fields(as_json: bool) -> None:
    """Show the mapping beside what the CRM has.

    Exit status: 0 every field is there and takes what is sent, 1 not or not known, 2 the configuration cannot work.
    """
    parts = _start()
    lines, error = _described(parts)
    complete = not error and not any(line.problem for line in lines)
    if as_json:
        told = [_line(parts, line) for line in lines]
        print_json(_names(parts) | {"complete": complete, "fields": told, "error": error})
    elif error:
        raise click.ClickException(error)
    else:
        _show_fields(parts, lines)
    sys.exit(0 if complete else 1)


@crm.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--save", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
              help="Write keys into files of this folder, one for each setting, and do not print them.")  # fmt: skip
@as_json
def setup(yes: bool, save: Path | None, as_json: bool) -> None:
    """Make the fields, roles and users in the CRM that crmgate needs.

    Shows what there is to do and asks first; what is there already stays as it is, so that running it again is safe.
    With --json it asks nothing: it shows the plan, and does it if --yes is given.

    Exit status: 0 the CRM is set up, 1 it is not, 2 the configuration cannot work.
    """
    parts = _start()
    plan, error = _provision(parts, apply=False)
    pending = not error and not _done(plan)
    if not as_json:
        _show_plan(parts, plan, error)
    applied = pending and (yes or (not as_json and _confirmed(parts)))
    if applied:
        after, error = _provision(parts, apply=True)
        plan = plan if error else after
    saved = _saved(plan, save) if save and not error and (applied or not pending) else None
    if as_json:
        print_json(_told(parts, plan, applied=applied, error=error, saved=saved))
    elif applied or not pending:
        _show_outcome(parts, plan, applied=applied, error=error, saved=saved)
    sys.exit(0 if not error and _done(plan) else 1)


@crm.command()
@as_json
def pause(as_json: bool) -> None:
    """Send nothing to the CRM until `crmgate crm resume`. Submissions are accepted and wait.

    Attempts that are under way end as usual.

    Exit status: 0 it is paused, 1 Redis does not answer, 2 the configuration cannot work.
    """
    parts = _start()
    with ledger():
        gate = parts.desk.pause(command_line())
    if as_json:
        print_json(_names(parts) | gate_json(gate))
    else:
        click.echo(f"{_title(parts)} is paused; {gate.held} operations wait. `crmgate crm resume` ends the pause.")


@crm.command()
@as_json
def resume(as_json: bool) -> None:
    """End a pause, or have the CRM tried now, after its credentials were repaired or it is back.

    Operations that wait for the CRM go on when it takes the next one.

    Exit status: 0 it is tried, or takes requests anyway, 1 Redis does not answer, 2 the configuration cannot work.
    """
    parts = _start()
    with ledger():
        before = parts.desk.waiting.gate()
        after = parts.desk.resume(command_line())
    shut = explain(before)
    if as_json:
        print_json(_names(parts) | gate_json(after) | {"before": gate_json(before)})
    elif shut is None:
        click.echo(f"{_title(parts)} takes requests; there was nothing to resume.")
    else:
        next_step = "goes on now" if before.cause is Cause.PAUSED else "is tried now"
        click.echo(f"{_title(parts)} {next_step}. Before, {shut.what}; {before.held} operations wait.")


def _gate(parts: Services) -> Gate | None:
    """The state of the gate; None while Redis does not answer, which does not prevent a connection test."""
    try:
        return parts.desk.waiting.gate()
    except LedgerUnavailable:
        return None


def _start() -> Services:
    with configuration():
        return services.start()


def _names(parts: Services) -> dict[str, Any]:
    return {"provider": parts.crm.name, "label": parts.crm.label}


def _title(parts: Services) -> str:
    return f"{clean(parts.crm.label)} ({parts.crm.name})"


def _discreet(parts: Services, text: str) -> str:
    """`text` without the secrets of the provider's settings: a plugin may have quoted one."""
    provider = parts.plugins.manager.get_plugin(f"provider:{parts.crm.name}")
    assert isinstance(provider, CRMProvider)
    return provider.redact(text)


def _described(parts: Services) -> tuple[tuple[CrmField, ...], str | None]:
    """The lines of the mapping, or what went wrong."""
    try:
        with working(f"Asking {parts.crm.label} ..."), configuration():
            return parts.crm.describe_fields(BUDGET), None
    except ProviderError as error:
        return (), str(error)


def _line(parts: Services, line: CrmField) -> dict[str, Any]:
    problem = _discreet(parts, line.problem)
    return {"fact": line.fact, "field": line.name, "type": line.type, "options": [*line.options], "problem": problem}


def _show_fields(parts: Services, lines: tuple[CrmField, ...]) -> None:
    problems = sum(bool(line.problem) for line in lines)
    state = f"{problems} of {len(lines)} fields need a look" if problems else f"all {len(lines)} fields are there"
    click.echo(f"{_title(parts)}: {state}\n")
    told = [_line(parts, line) for line in lines]
    rows = ((*(line[name] for name in ("fact", "field", "type")), _few(line["options"]), line["problem"])
            for line in told)  # fmt: skip
    print_table(("FACT", "FIELD", "TYPE", "OPTIONS", "PROBLEM"), rows)


def _few(options: list[str]) -> str:
    """Options as a text. A list of countries would drown the rest of the table."""
    more = len(options) - OPTIONS_SHOWN
    return ", ".join(options[:OPTIONS_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _provision(parts: Services, *, apply: bool) -> tuple[Provision, str | None]:
    """The plan, or what was done; with what went wrong."""
    try:
        with working(f"{'Setting up' if apply else 'Asking'} {parts.crm.label} ..."), configuration():
            return parts.crm.provision(BUDGET, apply=apply), None
    except ProviderError as error:
        return Provision(), str(error)


def _done(provision: Provision) -> bool:
    return all(step.done for step in provision.steps)


def _confirmed(parts: Services) -> bool:
    if not (agreed := click.confirm(f"\nSet {clean(parts.crm.label)} up like this?", err=True)):
        click.echo("Nothing was changed.")
    return agreed


def _show_plan(parts: Services, plan: Provision, error: str | None) -> None:
    if error:
        raise click.ClickException(error)
    click.echo(f"{_title(parts)}\n")
    _show_steps(parts, plan, "there")


def _show_steps(parts: Services, provision: Provision, done: str) -> None:
    rows = ((done if step.done else "to do", _discreet(parts, step.what)) for step in provision.steps)
    print_table(("STATE", "WHAT"), rows)


def _saved(provision: Provision, folder: Path) -> list[str]:
    """Write each setting into a file of its own, as `<SETTING>_FILE` reads it; the paths. What is there is replaced."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [str(_write(folder / name, value)) for name, value in provision.settings.items()]
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}. The keys were not saved.") from None


def _write(path: Path, secret: str) -> Path:
    """In one step, so that who waits for the file finds it whole; readable by nobody else."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(f"{secret}\n")
    return Path(name).replace(path)


def _show_outcome(
    parts: Services, provision: Provision, *, applied: bool, error: str | None, saved: list[str] | None
) -> None:
    if error:
        raise click.ClickException(f"{error}\nWhat was done stays; running it again does the rest.")
    click.echo("" if applied else "\nNothing to do.")
    if applied:
        _show_steps(parts, provision, "done")
    if saved is not None:
        click.echo("".join(f"\nSaved: {path}" for path in saved))
    elif news := _news(parts, provision):
        click.echo("\nSet in .env, and keep it secret:\n")
        click.echo("\n".join(f"{name}={_quoted(value)}" for name, value in news.items()))


def _told(
    parts: Services, provision: Provision, *, applied: bool, error: str | None, saved: list[str] | None
) -> dict[str, Any]:
    steps = [{"what": _discreet(parts, step.what), "done": step.done} for step in provision.steps]
    done = not error and _done(provision)
    settings = _news(parts, provision) if saved is None and (done or (applied and not error)) else {}
    told = {"done": done, "applied": applied, "steps": steps, "settings": settings, "saved": saved or []}
    return _names(parts) | told | {"error": error}


def _news(parts: Services, provision: Provision) -> Mapping[str, str]:
    """The settings that the configuration does not hold yet."""
    known = parts.settings.environ
    return {name: value for name, value in provision.settings.items() if known.get(name) != value}


def _quoted(value: str) -> str:
    """A value as `.env` takes it."""
    if PLAIN.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"

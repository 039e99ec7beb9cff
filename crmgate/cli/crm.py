"""`crmgate crm`: test the connection to the CRM, compare its fields with the mapping, set it up, pause and resume."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from crmgate import services
from crmgate.cli.changes import REASON
from crmgate.cli.output import MARKS, as_json, clean, configuration, ledger, print_json, print_table, working
from crmgate.errors import LedgerUnavailable, ProviderError
from crmgate.model import Provision
from crmgate.operators.crm_setup import BUDGET, Comparison, is_done, steps_json
from crmgate.operators.waiting import advice, gate_json
from crmgate.services import Services
from crmgate.store.audit import command_line
from crmgate.store.gate import Cause, Gate, explain

OPTIONS_SHOWN = 12
PLAIN = re.compile(r"[\w@%+=:,./-]+", re.ASCII)


def _short(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if len(value) > REASON:
        raise click.BadParameter(f"it takes at most {REASON} characters.")
    return value


why = click.option(
    "--reason", default="", callback=_short, help="Reason for the audit log; write no personal data.",
)  # fmt: skip


@click.group()
def crm() -> None:
    """Test, set up, pause and resume the CRM that CRM_PROVIDER names."""


@crm.command()
@as_json
def test(as_json: bool) -> None:
    """Check address, credentials, rights and fields. If Redis answers, also show why nothing is sent.

    Exit status: 0 connected, 1 not connected, 2 the configuration cannot work.
    """
    parts = _start()
    with working(f"Asking {parts.crm.label} ..."):
        connection = parts.crm.test_connection(BUDGET)
    gate = _gate(parts)
    if as_json:
        checks = [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in connection.checks]
        result = {"connected": connection.connected, "latency_ms": connection.latency_ms, "checks": checks}
        print_json(_names(parts) | result | {"gate": gate_json(gate) if gate else None})
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
    """Show the field mapping beside the fields of the CRM.

    Exit status: 0 every field exists and accepts its values, 1 not or not known, 2 the configuration cannot work.
    """
    parts = _start()
    found, error = _described(parts)
    if as_json:
        known = found.to_json() if found else {"complete": False, "fields": []}
        print_json(_names(parts) | known | {"error": error or None})
    elif found:
        _show_fields(parts, found)
    else:
        raise click.ClickException(error)
    sys.exit(0 if found and found.complete else 1)


@crm.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--save", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
              help="Write keys into files of this folder, one for each setting, and do not print them.")  # fmt: skip
@as_json
def setup(yes: bool, save: Path | None, as_json: bool) -> None:
    """Create the fields, roles and users in the CRM that crmgate needs.

    Shows the plan and asks before it applies it. Existing fields, roles and users stay unchanged, so it is safe to run
    it again. With --json it does not ask: it prints the plan, and applies it if --yes is given.

    Exit status: 0 the CRM is set up, 1 it is not, 2 the configuration cannot work.
    """
    parts = _start()
    plan, error = _provision(parts, apply=False)
    pending = not error and not is_done(plan)
    if not as_json:
        _show_plan(parts, plan, error)
    applied = pending and (yes or (not as_json and _confirmed(parts)))
    if applied:
        after, error = _provision(parts, apply=True)
        plan = plan if error else after
    saved = _saved(plan, save) if save and not error and (applied or not pending) else None
    if as_json:
        print_json(_outcome_json(parts, plan, applied=applied, error=error, saved=saved))
    elif applied or not pending:
        _show_outcome(parts, plan, applied=applied, error=error, saved=saved)
    sys.exit(0 if not error and is_done(plan) else 1)


@crm.command()
@why
@as_json
def pause(reason: str, as_json: bool) -> None:
    """Send nothing to the CRM until `crmgate crm resume`. Submissions are accepted and wait.

    Attempts that are under way end as usual.

    Exit status: 0 paused, 1 Redis does not answer, 2 the configuration cannot work.
    """
    parts = _start()
    with ledger():
        gate = parts.desk.pause(command_line(), reason.strip())
    if as_json:
        print_json(_names(parts) | gate_json(gate))
    else:
        click.echo(f"{_title(parts)} is paused; {gate.held} operations wait. `crmgate crm resume` ends the pause.")


@crm.command()
@why
@as_json
def resume(reason: str, as_json: bool) -> None:
    """End a pause, or try the CRM now: after its credentials were corrected, or when it is available again.

    The waiting operations follow as soon as the CRM accepts one.

    Exit status: 0 resumed, or there was nothing to resume, 1 Redis does not answer, 2 the configuration cannot work.
    """
    parts = _start()
    with ledger():
        before = parts.desk.waiting.gate()
        after = parts.desk.resume(command_line(), reason.strip())
    shut = explain(before)
    if as_json:
        print_json(_names(parts) | gate_json(after) | {"before": gate_json(before)})
    elif shut is None:
        click.echo(f"{_title(parts)} takes requests; there was nothing to resume.")
    else:
        next_step = "is no longer paused" if before.cause is Cause.PAUSED else "is tried now"
        click.echo(f"{_title(parts)} {next_step}. Before, {shut.what}; {before.held} operations wait.")


def _gate(parts: Services) -> Gate | None:
    """The state of the gate; None while Redis does not answer, because a connection test needs no Redis."""
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


def _described(parts: Services) -> tuple[Comparison | None, str]:
    """The fields beside the mapping, or None and an error message."""
    try:
        with working(f"Asking {parts.crm.label} ..."), configuration():
            return parts.crm_setup.fields(BUDGET), ""
    except ProviderError as error:
        return None, str(error)


def _show_fields(parts: Services, found: Comparison) -> None:
    lines = [line for line in found.fields if line.problem]
    unmapped = [line for line in lines if not line.fact]
    number = len(found.fields)
    state = f"{len(lines)} of {number} fields have a problem" if lines else f"all {number} fields exist"
    click.echo(f"{_title(parts)}: {state}\n")
    rows = (
        (line.fact or "-", line.name, line.type, _few([*line.options]), line.found, line.problem)
        for line in found.fields
    )  # fmt: skip
    print_table(("FACT", "FIELD", "TYPE", "OPTIONS", "STATE", "PROBLEM"), rows)
    if unmapped:
        names = ", ".join(clean(line.name) for line in unmapped)
        click.echo(f"\nRequired in the CRM, and no fact is mapped to it: {names}.")


def _few(options: list[str]) -> str:
    """The first `OPTIONS_SHOWN` options as text, because a list of countries would hide the rest of the table."""
    more = len(options) - OPTIONS_SHOWN
    return ", ".join(options[:OPTIONS_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _provision(parts: Services, *, apply: bool) -> tuple[Provision, str | None]:
    """The plan, or with `apply` the result; and an error message, None on success."""
    try:
        with working(f"{'Setting up' if apply else 'Asking'} {parts.crm.label} ..."), configuration():
            if apply:
                return parts.crm_setup.apply(command_line(), BUDGET), None
            return parts.crm_setup.plan(BUDGET), None
    except ProviderError as error:
        return Provision(), str(error)


def _confirmed(parts: Services) -> bool:
    if not (agreed := click.confirm(f"\nSet {clean(parts.crm.label)} up like this?", err=True)):
        click.echo("Nothing was changed.")
    return agreed


def _show_plan(parts: Services, plan: Provision, error: str | None) -> None:
    if error:
        raise click.ClickException(error)
    click.echo(f"{_title(parts)}\n")
    _show_steps(plan, "there")


def _show_steps(provision: Provision, done: str) -> None:
    rows = ((done if step.done else "to do", step.what) for step in provision.steps)
    print_table(("STATE", "WHAT"), rows)


def _saved(provision: Provision, folder: Path) -> list[str]:
    """Write each setting into its own file, as `<SETTING>_FILE` reads it. Replaces existing files. Returns the paths.

    Raises `click.ClickException` if a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [str(_write(folder / name, value)) for name, value in provision.settings.items()]
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}. The keys were not saved.") from None


def _write(path: Path, secret: str) -> Path:
    """Write the file atomically, so that a waiting reader finds it complete; readable by its owner only."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(f"{secret}\n")
    return Path(name).replace(path)


def _show_outcome(
    parts: Services, provision: Provision, *, applied: bool, error: str | None, saved: list[str] | None
) -> None:
    if error:
        raise click.ClickException(f"{error}\nFinished steps are kept; run the command again to do the rest.")
    click.echo("" if applied else "\nNothing to do.")
    if applied:
        _show_steps(provision, "done")
    if saved is not None:
        click.echo("".join(f"\nSaved: {path}" for path in saved))
    elif missing := parts.crm_setup.new_settings(provision):
        click.echo("\nSet in .env, and keep it secret:\n")
        click.echo("\n".join(f"{name}={_quoted(value)}" for name, value in missing.items()))


def _outcome_json(
    parts: Services, provision: Provision, *, applied: bool, error: str | None, saved: list[str] | None
) -> dict[str, Any]:
    done = not error and is_done(provision)
    new = parts.crm_setup.new_settings(provision)
    settings = new if saved is None and (done or (applied and not error)) else {}
    result = {"done": done, "applied": applied, "steps": steps_json(provision), "settings": settings}
    return _names(parts) | result | {"saved": saved or [], "error": error}


def _quoted(value: str) -> str:
    """A value quoted for `.env`."""
    if PLAIN.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"

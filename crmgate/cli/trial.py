"""`crmgate plugins try`: run a plugin against the author's own test account, and record what it answers."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from crmgate.cli.output import Misconfigured, as_json, clean, print_json, print_table, working
from crmgate.config import Settings, environment
from crmgate.errors import ConfigError
from crmgate.plugin_host.caller import HookCaller
from crmgate.plugin_host.loader import discover, shipped_folder
from crmgate.plugin_host.trial.data import TrialData, new_run
from crmgate.plugin_host.trial.recording import Recording, UnusableRecording, check_folder
from crmgate.plugin_host.trial.steps import DELETE, Trial, TrialRecord, TrialStep

NEEDED = (
    "CRM_TIMEOUT", "CRM_HTTP_HOSTS", "CRM_ON_DUPLICATE", "CRM_ON_UPDATE", "CRM_ON_REJECTED_FIELD",
    "PLUGINS_DIR", "PLUGINS_ALLOWED",
)  # fmt: skip
"""Settings of the gateway that a trial uses. Other settings may be missing or wrong."""
STATES = {True: "ok", False: "problem", None: "skipped"}


@click.command("try")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--record", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
              help="Write the requests and answers into this folder, without secrets and personal data.")  # fmt: skip
@as_json
def try_(name: str, yes: bool, record: Path | None, as_json: bool) -> None:
    """Create, find and update test records in the CRM of plugin NAME, with the settings of the environment.

    Use a test account. The records say that they are tests; they are deleted if the plugin can do that, and listed
    otherwise. Asks before it sends anything; --json needs --yes.

    Exit status: 0 all steps passed, 1 a step failed, or the answer was no, 2 the configuration cannot work.
    """
    if as_json and not yes:
        raise click.UsageError("--json asks nothing: add --yes to write test records into the CRM.")
    logging.getLogger().addHandler(logging.NullHandler())  # what plugins log is no part of the output
    caller, environ, timeout = _started(name)
    if record:
        _check(record)
    sample = TrialData(new_run(), float(int(time.time())))
    trial = Trial(caller, sample, budget=timeout * 1.5)
    if not yes and not _confirmed(caller, sample):
        sys.exit(1)
    steps = _run(trial, shown=not as_json)
    recorded = _recorded(record, caller, environ, sample, steps) if record else []
    failed = [step.name for step in steps if step.ok is False]
    if as_json:
        print_json(_json(caller, trial, steps, recorded))
    else:
        _show_summary(trial, failed, steps)
        if record:
            _show_recording(record, recorded)
    sys.exit(1 if failed else 0)


def _started(name: str) -> tuple[HookCaller, Mapping[str, str], float]:
    """The provider, the environment, and the limit of a request in seconds."""
    with _of_name(), working("Loading the plugins ..."):
        environ = environment()
        needed = {one: environ[one].strip() for one in NEEDED if environ.get(one, "").strip()}
        settings = replace(Settings.load({"CRM_PROVIDER": name} | needed), environ=environ)
        plugins = discover(settings.plugins_dir, settings.plugins_allowed, shipped=shipped_folder())
        caller = plugins.choose(
            name, environ, settings.timeout, settings.http_hosts, on_duplicate=settings.on_duplicate,
            on_update=settings.on_update, on_rejected_field=settings.on_rejected_field,
        )  # fmt: skip
    return caller, environ, settings.timeout


@contextmanager
def _of_name() -> Iterator[None]:
    """Name the argument in the problems of a plugin, instead of the setting that the gateway reads."""
    try:
        yield
    except ConfigError as error:
        problems = [problem.replace("CRM_PROVIDER, got", "NAME, got") for problem in error.problems]
    else:
        return
    raise Misconfigured(problems)


def _check(folder: Path) -> None:
    try:
        check_folder(folder)
    except UnusableRecording as error:
        raise click.BadParameter(str(error), param_hint="--record") from None


def _confirmed(caller: HookCaller, sample: TrialData) -> bool:
    """Say what will be written where, and ask."""
    lead = sample.lead()
    click.echo(f"{clean(caller.label)} ({caller.name}), with the settings of this environment:")
    for line in _account(caller):
        click.echo(f"  {clean(line)}")
    click.echo(
        "\nThe trial creates a lead and the lead of a click, updates the first and adds a note to it, as far as the"
        " plugin can. They have this name and these contacts:"
        f"\n  {lead.first_name} {lead.last_name}, {lead.email}, {lead.phone}\n"
        f"{_end(caller)} Use a test account: automatic mails and rules of the CRM may react to them.\n"
    )
    return click.confirm("Write test records into this account?", err=True)


def _account(caller: HookCaller) -> list[str]:
    """The settings that say which account it is; of a secret address only the host."""
    lines = []
    for name, declared in caller.provider.Settings().fields.items():
        value = caller.provider.settings.get(name)
        if value in (None, ""):
            continue
        secret, address = declared.metadata.get("secret"), declared.metadata.get("address")
        shown = (f"host {urlsplit(str(value)).hostname}" if address else "is set") if secret else str(value)
        lines.append(f"{name}: {shown}")
    return lines


def _end(caller: HookCaller) -> str:
    if hasattr(caller.provider, DELETE):
        return "They are deleted at the end."
    return "They are listed at the end: delete them by hand."


def _run(trial: Trial, *, shown: bool) -> list[TrialStep]:
    """Run the steps and show each of them. Ctrl-C lists the records that were made."""
    steps, running = list[TrialStep](), trial.run()
    try:
        for name in trial.plan():
            with working(f"Trying {name} ..."):
                step = next(running, None)
            if step is None:
                break
            steps.append(step)
            if shown:
                _show_step(step)
    except KeyboardInterrupt:
        _show_records(trial.records)
        raise
    return steps


def _show_step(step: TrialStep) -> None:
    """One line for a step, and one for what to do."""
    state = click.style(f"{STATES[step.ok]:<8}", fg={True: "green", False: "red", None: "yellow"}[step.ok])
    line = f"{step.name:<13} {state} {step.seconds:6.2f} s  {clean(step.detail)}"
    click.echo(line)
    if step.remedy:
        click.echo(f"{'':<13} What to do: {clean(step.remedy)}")


def _show_summary(trial: Trial, failed: Sequence[str], steps: Sequence[TrialStep]) -> None:
    passed = sum(step.ok is True for step in steps)
    click.echo(f"\n{passed} steps passed, {len(failed)} failed" + (f": {', '.join(failed)}." if failed else "."))
    _show_records(trial.records)


def _show_records(records: Sequence[TrialRecord]) -> None:
    if not records:
        return
    rows = ((one.step, one.id or "perhaps", one.url, one.tracking_code) for one in records)
    print_table(("STEP", "RECORD", "ADDRESS", "SEARCH FOR"), rows, "\nDelete these test records in the CRM:\n")


def _recorded(
    folder: Path, caller: HookCaller, environ: Mapping[str, str], sample: TrialData, steps: Sequence[TrialStep]
) -> list[str]:  # fmt: skip
    """Paths of the written files; none if nothing was sent with `request`."""
    if not any(step.exchanges for step in steps):
        return []
    recording = Recording.made(caller.provider, environ, sample, steps)
    try:
        return [str(path) for path in recording.write(folder)]
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}. The trial was not recorded.") from None


def _show_recording(folder: Path, recorded: Sequence[str]) -> None:
    if recorded:
        click.echo(f"\nRecorded in {folder}: {len(recorded)} files. Read them before you publish them.")
    else:
        click.echo("\nThere is nothing to record: the plugin sent no request with self.request.")


def _json(caller: HookCaller, trial: Trial, steps: Sequence[TrialStep], recorded: Sequence[str]) -> dict[str, Any]:
    return {
        "provider": caller.name, "ok": not any(step.ok is False for step in steps),
        "steps": [
            {"name": step.name, "hook": step.hook, "state": STATES[step.ok], "seconds": round(step.seconds, 3),
             "requests": len(step.exchanges), "detail": step.detail, "what_to_do": step.remedy}
            for step in steps
        ],
        "records": [
            {"step": one.step, "id": one.id, "url": one.url, "tracking_code": one.tracking_code}
            for one in trial.records
        ],
        "recorded": list(recorded),
    }  # fmt: skip

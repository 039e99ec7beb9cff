"""`crmgate plugins`: list plugins, write a new one, check one."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click

from crmgate.cli import checkup, scaffold
from crmgate.cli.checkup import Finding
from crmgate.cli.output import MARKS, as_json, configuration, print_json, print_table, working
from crmgate.config import Settings, environment
from crmgate.operators.plugin_list import listed
from crmgate.plugin_host.loader import discover, shipped_folder

NEEDED = ("CRM_PROVIDER", "PLUGINS_DIR", "PLUGINS_ALLOWED")
QUIET = logging.NullHandler()


@click.group()
def plugins() -> None:
    """List the plugins, write a new one, check one."""
    logging.getLogger("crmgate").addHandler(QUIET)  # the commands report broken files themselves


@plugins.command("list")
@as_json
def list_(as_json: bool) -> None:
    """List the plugins, and files that cannot be used with the reason and the remedy.

    Exit status: 0, or 1 when a file cannot be used or CRM_PROVIDER names none of the plugins.
    """
    settings, chosen = _settings()
    with working("Loading the plugins ..."):
        found = discover(settings.plugins_dir, settings.plugins_allowed, shipped=shipped_folder())
    described = listed(found, chosen)
    if as_json:
        print_json(described)
    else:
        _show_list(described)
    sys.exit(1 if described["quarantined"] or (chosen and chosen not in found.providers) else 0)


@plugins.command()
@click.argument("name")
@as_json
def new(name: str, as_json: bool) -> None:
    """Write a working plugin with its contract test and its page, as a start for your own.

    NAME is the value for CRM_PROVIDER, such as acme. Exit status: 0, 1 when a file already exists, 2 for a bad name.
    """
    scaffold.check_name(name)
    settings, _ = _settings()
    files = scaffold.rendered(name, settings.plugins_dir)
    scaffold.write(files)
    plugin, test, _ = paths = [str(path) for path in files]
    names = [f"{name.upper()}_URL", f"{name.upper()}_KEY"]
    steps = [
        f"pytest {test}   (it passes as it is: {plugin} talks to an imaginary CRM)",
        f"Make {plugin} say what the CRM's reference says, and the fake CRM in {test} answer like it",
        f"crmgate plugins check {plugin}",
        f"CRM_PROVIDER={name} {names[0]}=https://... {names[1]}=... crmgate crm test",
    ]
    if as_json:
        print_json({"name": name, "files": paths, "settings": names, "next": steps})
    else:
        _show_new(paths, steps)


@plugins.command()
@click.argument("file", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--test", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The file with the contract test (default: test_NAME.py in tests/plugins or beside FILE).",
)  # fmt: skip
@as_json
def check(file: Path, test: Path | None, as_json: bool) -> None:
    """Load FILE, or the folder of a plugin, as the gateway would, and run its contract test.

    The contract test ends after 60 seconds at the latest, and names the check that hangs.

    Exit status: 0 no problems, 1 there are problems.
    """
    settings, _ = _settings()
    plugin = file.parent if file.name == "__init__.py" else file
    findings = list(_findings(plugin.resolve(), test, settings))
    ok = not any(finding.ok is False for finding in findings)
    if as_json:
        print_json({"file": str(file), "ok": ok, "findings": [_finding_json(finding) for finding in findings]})
    else:
        _show_findings(findings)
    sys.exit(0 if ok else 1)


def _settings() -> tuple[Settings, str]:
    """The settings that finding plugins needs, and CRM_PROVIDER. Other settings may be wrong."""
    with configuration():
        environ = environment()
        needed = {name: environ[name].strip() for name in NEEDED if environ.get(name, "").strip()}
        return Settings.load({"CRM_PROVIDER": "none"} | needed), needed.get("CRM_PROVIDER", "")


def _show_list(described: dict[str, Any]) -> None:
    rows = [(one, "CRM", "yes" if one["active"] else "no", one["capabilities"]) for one in described["providers"]]
    rows += [(one, "listener", "yes", one["hooks"]) for one in described["listeners"]]
    cells = (
        (one["name"], one["label"], one["file"], kind, active, ", ".join(hooks)) for one, kind, active, hooks in rows
    )
    print_table(("NAME", "LABEL", "FILE", "KIND", "ACTIVE", "CAPABILITIES"), cells)
    if described["quarantined"]:
        broken = ((one["file"], one["reason"], one["remedy"]) for one in described["quarantined"])
        print_table(("FILE", "REASON", "WHAT TO DO"), broken, "\nThese files cannot be used:\n")
    if described["notes"]:
        click.echo("\n" + "\n".join(described["notes"]))


def _show_new(paths: list[str], steps: list[str]) -> None:
    click.echo("Written:")
    click.echo("\n".join(f"  {path}" for path in paths))
    click.echo("\nNext:")
    click.echo("\n".join(f"  {number}. {step}" for number, step in enumerate(steps, 1)))


def _findings(file: Path, test: Path | None, settings: Settings) -> Iterator[Finding]:
    with working(f"Loading {file.name} ..."):
        providers, finding = checkup.load(file)
        findings = [finding, *checkup.names(providers, file, settings)]
    yield from findings
    if not providers:
        return
    if test := test or checkup.find_test(file):
        with working("Running the contract test ...") as show:
            findings = list(checkup.contract(file, test, partial(_progress, show)))
        yield from findings
    else:
        detail = "there is no contract test: `crmgate plugins new` writes one, and --test names one."
        yield Finding("contract", file.name, None, detail)


def _progress(show: Callable[[str], None], text: str) -> None:
    """Show the check that runs: in the spinner on a terminal, else as a line of the error output."""
    show(f"Running the contract test, {text}")
    if not sys.stderr.isatty():
        click.echo(text, err=True)


def _finding_json(finding: Finding) -> dict[str, Any]:
    state = {True: "ok", False: "problem", None: "skipped"}[finding.ok]
    return {"part": finding.part, "name": finding.name, "state": state, "detail": finding.detail}


def _show_findings(findings: list[Finding]) -> None:
    """Print each finding; passed and skipped checks of the contract are only counted."""
    many = [finding for finding in findings if finding.part == "contract" and finding.ok is not False]
    rows = [(one.part, one.name, MARKS[one.ok], one.detail) for one in findings if one not in many]
    counts = Counter((finding.ok, finding.detail) for finding in many)
    for (ok, detail), count in sorted(counts.items(), key=lambda item: item[0][0] is None):
        rows.append(("contract", f"{count} checks" if count > 1 else "1 check", MARKS[ok], detail))
    print_table(("PART", "NAME", "RESULT", "DETAIL"), rows)
    problems = sum(finding.ok is False for finding in findings)
    click.echo(f"\n{problems} problem{'' if problems == 1 else 's'}." if problems else "\nNo problem.")

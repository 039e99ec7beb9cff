"""Checks of one plugin (a file or a folder): whether it loads, has a free name and passes its contract test."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crmgate.config import Settings
from crmgate.plugin_host.loader import Plugins, discover, plugin_name, shipped_folder
from crmgate.provider import CRMProvider

LIMIT = 60.0
"""Maximum duration of the contract test in seconds."""
_HANGS = (
    "it did not end: it had run for {:.0f} s when the {:.0f} s for all checks were over. Send each request with a time"
    " limit (self.request), wait for no lock, and call no code that can block."
)
TEST_FILES = ("test_{}.py", "test_contract_{}.py")


@dataclass(frozen=True)
class Finding:
    """One check with its result. `ok` is None if the check could not run."""

    part: str
    name: str
    ok: bool | None
    detail: str = ""


def load(file: Path) -> tuple[dict[str, type[CRMProvider]], Finding]:
    """Load one plugin alone, as the gateway would. Returns its providers by name, and the result of the check."""
    name = plugin_name(file)
    if not name:
        detail = (
            "crmgate takes files that end in .py, and folders without a dot that have an __init__.py,"
            " if they do not begin with an underscore or a dot: rename it."
        )
        return {}, Finding("load", file.name, False, detail)
    plugins = discover(file.parent, (name,))
    for error in plugins.quarantined:
        if error.file == str(file):
            return {}, Finding("load", file.name, False, f"{error.reason} {error.remedy}")
    return _providers(plugins, file), Finding("load", file.name, True, _contents(plugins, file))


def _contents(plugins: Plugins, file: Path) -> str:
    providers = [f"provider {name}" for name in _providers(plugins, file)]
    listeners = [f"listener {name.rpartition(':')[2]}" for name in plugins.listeners if name.startswith(f"{file}:")]
    functions = ["listener hooks"] if plugins.manager.has_plugin(str(file)) else []
    return ", ".join(providers + listeners + functions)


def _providers(plugins: Plugins, file: Path) -> dict[str, type[CRMProvider]]:
    return {name: plugins.providers[name] for name, where in plugins.files.items() if where == str(file)}


def names(providers: Iterable[str], file: Path, settings: Settings) -> Iterator[Finding]:
    """Check that no other plugin, in PLUGINS_DIR or shipped, has a provider of the same name."""
    others = discover(settings.plugins_dir, settings.plugins_allowed, shipped=shipped_folder()).files
    for name in providers:
        other = others.get(name)
        taken = other is not None and Path(other).resolve() != file.resolve()
        detail = f"{other} has that name too: rename or remove one of them." if taken else ""
        yield Finding("name", name, not taken, detail)


def find_test(file: Path) -> Path | None:
    """The contract test of a plugin at a customary path: in tests/plugins, or beside the plugin. None if absent."""
    folders = (Path("tests/plugins"), file.parent)
    paths = (folder / form.format(file.stem) for folder in folders for form in TEST_FILES)
    return next(
        (path for path in paths if path.is_file() and "ProviderContract" in path.read_text("utf-8", "replace")), None
    )


def contract(file: Path, test: Path, progress: Callable[[str], None], limit: float = LIMIT) -> Iterator[Finding]:
    """Run the contract tests in `test` whose plugin is `file`, and call `progress` with the number and name of each.

    They run in another process, which ends after `limit` seconds: the check that runs then is a problem.
    """
    process = _started(file, test)
    begun, check, number, of = time.monotonic(), test.name, 0, 0
    try:
        for event in _events(process, begun + limit):
            if "finding" in event:
                yield Finding(**event["finding"])
                continue
            begun, check, number, of = time.monotonic(), event["begin"], event["number"], event["of"]
            progress(f"{number} of {of}: {check}")
    except TimeoutError:
        yield Finding("contract", check, False, _HANGS.format(time.monotonic() - begun, limit))
        if of > number:
            left = "1 check" if of - number == 1 else f"{of - number} checks"
            yield Finding("contract", left, None, f"not run, because {check} did not end")
    else:
        if process.wait() or number < of:
            yield Finding(
                "contract", check, False, f"the process ended with status {process.returncode} in this check."
            )
    finally:
        process.kill()
        process.wait()


def _started(file: Path, test: Path) -> subprocess.Popen[str]:
    """The process that runs the checks, with the module path of this one."""
    path = os.pathsep.join(one or str(Path.cwd()) for one in sys.path)
    command = [sys.executable, "-P", "-m", "crmgate.cli.contract_run", str(file), str(test)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path})  # noqa: S603


def _events(process: subprocess.Popen[str], deadline: float) -> Iterator[dict[str, Any]]:
    """What the process reports. Raises `TimeoutError` at `deadline`, a time of `time.monotonic`."""
    lines = queue.SimpleQueue[str]()
    reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
    reader.start()
    while True:
        try:
            line = lines.get(timeout=max(deadline - time.monotonic(), 0))
        except queue.Empty:
            raise TimeoutError from None
        if not line:
            return
        yield json.loads(line)


def _read(process: subprocess.Popen[str], lines: queue.SimpleQueue[str]) -> None:
    """Put each line of the process into `lines`, and an empty text at its end."""
    assert process.stdout is not None
    with process.stdout as output:
        for line in output:
            lines.put(line)
    lines.put("")

"""`make check` finds an import that docs/architecture.md forbids: each rule is broken once, in a copy."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cases import all_cases

ROOT = Path(__file__).parent.parent
LINTER = "import sys; from importlinter.cli import lint_imports_command as main; sys.path.pop(0); main(['--no-cache'])"
LAYERS = "A room imports only rooms of lower layers, and each room has a layer"
PLUGINS = "Plugins import nothing but the public modules"
TESTING = "The contract of plugins needs no Redis and no running gateway"
HEART = "Delivery and the store know no Flask, no CRM and no plugin"
SANDBOX = "The sandbox knows nothing of the gateway but data and labels"
ENTRY_POINTS = "No entry point imports another, and nothing imports the sandbox"
REDIS = "Only the store, the operators' room and Huey's storage send commands to Redis"
PLANTED = [
    # (file, what is imported, the contract that forbids it)
    ("plugins/alerts.py", "crmgate.store.ledger", PLUGINS),
    ("plugins/espocrm/api.py", "crmgate.plugin_kit.transport", PLUGINS),
    ("plugins/sandbox.py", "crmgate.config", PLUGINS),
    ("plugins/bitrix/values.py", "plugins.espocrm.answers", "No plugin imports another"),
    ("crmgate/plugin_host/caller.py", "plugins.alerts", "crmgate imports no plugin"),
    ("crmgate/sandbox/app.py", "crmgate.delivery.gateway", SANDBOX),
    ("crmgate/store/wakeups.py", "crmgate.delivery.gateway", "A wake-up knows nothing of what it wakes"),
    ("crmgate/store/wakeups.py", "crmgate.model", "A wake-up knows nothing of what it wakes"),
    ("crmgate/store/ledger.py", "crmgate.delivery.attempt", LAYERS),
    ("crmgate/model.py", "crmgate.errors", LAYERS),
    ("crmgate/worker.py", "crmgate.web.answers", LAYERS),
    ("crmgate/delivery/gateway.py", "crmgate.provider", HEART),
    ("crmgate/store/audit.py", "flask", HEART),
    ("crmgate/web/stats.py", "redis", REDIS),
    ("crmgate/policy.py", "redis", "Data and decisions use no framework, no Redis and no HTTP"),
    ("crmgate/listener.py", "redis", "What a plugin imports knows no Redis, no Flask and no Huey"),
    ("crmgate/testing/server.py", "crmgate.store.client", TESTING),
    ("crmgate/web/pages.py", "crmgate.cli.output", ENTRY_POINTS),
    ("crmgate/cli/dev.py", "crmgate.sandbox.app", ENTRY_POINTS),
]  # fmt: skip


def lint(folder: Path) -> tuple[int, str]:
    """The exit status and the output of import-linter, run in `folder` as `make check` does."""
    done = subprocess.run([sys.executable, "-c", LINTER], cwd=folder, capture_output=True, text=True, timeout=100)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The code and its rules, in a folder where they can be broken."""
    return copied(tmp_path)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Output of import-linter for each contract that the imports of `PLANTED` break."""
    folder = copied(tmp_path_factory.mktemp("planted"))
    for file, imported, _contract in PLANTED:
        with (folder / file).open("a") as text:
            text.write(f"\nimport {imported}\n")
    status, output = lint(folder)
    assert status == 1, output
    titles = re.split(r"^(\S.*)\n-+\n\n", output, flags=re.MULTILINE)
    return dict(zip(titles[1::2], titles[2::2], strict=True))


def copied(folder: Path) -> Path:
    for name in ("crmgate", "plugins"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "setup.cfg", folder)
    return folder


@pytest.mark.parametrize(("file", "imported", "contract"), PLANTED)
def test_a_forbidden_import_breaks_its_contract(
    report: dict[str, str], file: str, imported: str, contract: str
) -> None:
    importer = file.removesuffix(".py").replace("/", ".")
    assert f"{importer} -> {imported} (l." in report.get(contract, "")


def test_a_room_without_a_layer_breaks_the_contract(copy: Path) -> None:
    status, output = lint(copy)
    assert status == 0, output
    (copy / "crmgate/stray.py").write_text('"""A room that no layer names."""\n')
    status, output = lint(copy)
    assert status == 1, output
    assert "stray" in output


@all_cases("path", sorted((ROOT / "plugins").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_plugin_takes_nothing_from_the_package_itself_but_the_mark_of_a_hook(path: Path) -> None:
    """`from crmgate import ...` and a relative import are no module for import-linter to forbid."""
    imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    names = {alias.name for node in imports if node.module == "crmgate" for alias in node.names}
    assert names <= {"hookimpl"}

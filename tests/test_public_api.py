"""Plugins may import only the names in `__all__` of a few modules; documentation, plugins and template do so."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import crmgate
from tests.cases import all_cases
from tests.test_docs import generator

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "plugins" / "README.md").read_text()
FOR_PLUGINS = [name for name, purpose in generator().PUBLIC_MODULES.items() if purpose == "plugins"]
FOR_TESTS = [*generator().PUBLIC_MODULES]
PLUGIN_FILES = [*sorted((ROOT / "plugins").rglob("*.py")), ROOT / "crmgate/cli/template/acme.py"]
PACKAGES = {"crmgate", "marshmallow"} | sys.stdlib_module_names
"""Packages that a shipped plugin may import: no HTTP client, no Redis, no web framework."""


def public(module: str) -> list[str]:
    names: list[str] = importlib.import_module(module).__all__
    return names


def imports(code: str) -> Iterator[tuple[str, str]]:
    """Module and name of each absolute import; the name is empty for `import module`."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from ((name.name, "") for name in node.names)
        if isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((node.module or "", name.name) for name in node.names)


def forbidden(code: str, modules: list[str]) -> list[str]:
    """Imports of crmgate that are not public."""
    found = [(module, name) for module, name in imports(code) if module.partition(".")[0] == "crmgate"]
    return [f"{module}.{name}" for module, name in found if module not in modules or name not in public(module)]


def blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


@all_cases("module", FOR_TESTS)
def test_every_public_name_exists_once_and_in_order(module: str) -> None:
    names = public(module)
    assert [name for name in names if not hasattr(importlib.import_module(module), name)] == []
    assert len(set(names)) == len(names)


@all_cases("module", FOR_TESTS)
def test_the_overview_lists_the_names_of_each_module(module: str) -> None:
    row = re.search(rf"^\| `{re.escape(module)}` \| \w+ \| (.+) \|$", PAGE, re.MULTILINE)
    assert row, f"docs/plugins/README.md does not list {module}"
    assert re.findall(r"`(\w+)`", row[1]) == public(module)


def test_the_package_names_these_modules() -> None:
    assert re.findall(r"`(crmgate[\w.]*)`", crmgate.__doc__ or "") == FOR_TESTS


@all_cases("path", PLUGIN_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_plugins_use_only_public_names(path: Path) -> None:
    assert forbidden(path.read_text(), FOR_PLUGINS) == [], "not in __all__ of a public module"


@all_cases("path", PLUGIN_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_plugins_import_no_other_package_and_never_sleep(path: Path) -> None:
    roots = {module.partition(".")[0] for module, _ in imports(path.read_text())}
    assert roots <= PACKAGES
    assert not re.search(r"\bsleep\b", path.read_text())


def test_the_test_in_the_template_uses_only_public_names() -> None:
    assert forbidden((ROOT / "crmgate/cli/template/test_acme.py").read_text(), FOR_TESTS) == []


@all_cases("page", sorted((ROOT / "docs" / "plugins").glob("*.md")), ids=lambda page: page.name)
def test_examples_in_the_documentation_use_only_public_names(page: Path) -> None:
    assert [name for block in blocks(page) for name in forbidden(block, FOR_TESTS)] == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("from crmgate.errors import LedgerUnavailable", ["crmgate.errors.LedgerUnavailable"]),
        ("from crmgate.store.ledger import Ledger", ["crmgate.store.ledger.Ledger"]),
        ("import crmgate.provider", ["crmgate.provider."]),
        ("from crmgate.provider import CRMProvider\nfrom .api import Api\nimport time", []),
    ],
)
def test_an_import_that_is_not_public_is_found(code: str, found: list[str]) -> None:
    assert forbidden(code, FOR_PLUGINS) == found

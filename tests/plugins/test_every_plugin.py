"""No file or folder in plugins/ without a page in the documentation and, for a CRM, a contract test."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from crmgate.listener import Listener
from crmgate.plugin_host.loader import discover, plugin_name
from crmgate.provider import CRMProvider
from crmgate.testing import ProviderContract
from tests.cases import all_cases

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "plugins"
FILES = sorted(path.name for path in FOLDER.iterdir() if plugin_name(path))
FOUND = discover(FOLDER)


@pytest.mark.parametrize("file", FILES)
def test_it_is_not_set_aside(file: str) -> None:
    problems = [str(problem) for problem in FOUND.quarantined if Path(problem.file).name == file]
    assert problems == []


@all_cases("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: str(path.relative_to(FOLDER)))
def test_no_file_is_too_long_to_be_read_in_a_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300, "make it a folder: docs/plugins/README.md#several-files"


@pytest.mark.parametrize("file", FILES)
def test_it_has_a_page(file: str) -> None:
    page = ROOT / "docs" / "plugins" / f"{Path(file).stem}.md"
    assert page.is_file(), f"write {page.relative_to(ROOT)}"
    assert page.read_text().startswith("# "), f"{page.relative_to(ROOT)} has no title"


@pytest.mark.parametrize("kind", [*FOUND.providers.values(), *FOUND.listeners.values()], ids=lambda kind: kind.__name__)
def test_its_settings_say_what_they_are_for(kind: type[CRMProvider] | type[Listener]) -> None:
    for name, setting in kind.Settings().fields.items():
        assert setting.metadata.get("help"), f"{kind.__name__}.Settings: {name} has no help text"
        assert setting.metadata.get("takes"), f"{kind.__name__}.Settings: {name} does not say what it takes"


@pytest.mark.parametrize("name", sorted(FOUND.providers))
def test_its_crm_keeps_the_contract(name: str) -> None:
    test = f"test_contract_{name}"
    assert (Path(__file__).parent / f"{test}.py").is_file(), f"write tests/plugins/{test}.py"
    classes = vars(importlib.import_module(f"tests.plugins.{test}")).values()
    contracts = [found for found in classes if isinstance(found, type) and issubclass(found, ProviderContract)]
    held = {Path(found.plugin).name for found in contracts if isinstance(getattr(found, "plugin", None), str | Path)}
    assert Path(FOUND.files[name]).name in held, f"tests/plugins/{test}.py is about another plugin"

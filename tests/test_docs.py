"""The documentation says what the code does: every setting, hook, route, command and error code is in it."""

from __future__ import annotations

import importlib.util
import inspect
import json
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest
from flask import Flask

from crmgate import hookspecs, web
from crmgate.cli import main
from crmgate.config import CoreSettings
from crmgate.config.sources import PARTS
from crmgate.errors import Code
from crmgate.model import Kind, Operation, new_id
from crmgate.plugin_host.admission import FEATURES, PROVIDER_HOOKS, REQUIRED_HOOKS
from crmgate.plugin_host.loader import discover
from crmgate.policy import DeliveryMode
from crmgate.schemas import codes as field_codes
from crmgate.sources.tools import TOOLS
from crmgate.store import keys
from crmgate.store.audit import Action
from crmgate.testing.espocrm import FakeEspoCRM
from crmgate.web import codes
from tests.cases import all_cases
from tests.listeners import notify
from tests.processes import wait_until

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
TEXT = "\n".join(page.read_text() for page in PAGES)
EXAMPLE = (ROOT / ".env.example").read_text()
DEV_SETTINGS = {"PORT", "CRMGATE_HOME", "WORKER_PROCESSES"}


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def settings() -> set[str]:
    plugins = discover(ROOT / "plugins")
    assert not plugins.quarantined
    plugged = (*plugins.providers.values(), *plugins.listeners.values())
    schemas = [CoreSettings, *(plugin.Settings for plugin in plugged)]
    return {name for schema in schemas for name in schema().fields}


def container_names() -> set[str]:
    """The names that only the containers around the gateway read: those of the table in the guide."""
    guide = (ROOT / "docs" / "deployment.md").read_text()
    [section] = re.findall(r"^## Names for the containers\n(.*?)^## ", guide, re.MULTILINE | re.DOTALL)
    return set(re.findall(r"^\| `([A-Z_]+)` \|", section, re.MULTILINE))


@pytest.mark.parametrize("page", generator().pages(), ids=lambda page: page.name)
def test_tables_are_current(page: Path) -> None:
    assert page.read_text() == generator().current(page.read_text()), "run `make docs`"


def test_every_room_has_a_row_and_no_row_is_left_over() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| \d+ \| `(\w+)` \| (.*?) \| .+ \|$", page, re.MULTILINE)
    modules = {module.name for module in pkgutil.iter_modules([str(ROOT / "crmgate")])}
    found = {name for name, _ in rows}
    assert sorted(modules - found) == [], "rooms without a layer in setup.cfg, or `make docs` was not run"
    assert sorted(found - modules) == [], "docs/architecture.md has a row for rooms that are gone"
    assert [name for name, text in rows if not text.endswith(".")] == [], "their docstrings do not say what they are"


def test_every_setting_is_documented_with_its_meaning() -> None:
    for name in settings() | DEV_SETTINGS:
        row = re.search(rf"^\| `{name}` \|[^|]*\| *(\S[^|]*)\|", TEXT, re.MULTILINE)
        assert row, f"{name} is in no table of settings"
        assert len(row[1].split()) >= 2, f"{name} is not explained"


def test_env_example_has_every_setting_and_no_other() -> None:
    written = set(re.findall(r"^#?([A-Z][A-Z0-9_]+)=", EXAMPLE, re.MULTILINE))
    of_sources = re.compile(rf"SOURCE_[A-Z0-9_]+_({'|'.join(PARTS)})")
    overrides = {name for name in written if re.search(r"_(MAP|VALUES)_", name) or of_sources.fullmatch(name)}
    existing = settings() | DEV_SETTINGS | container_names()
    assert sorted(existing - written) == [], ".env.example lacks them"
    assert sorted(written - overrides - existing) == [], ".env.example has them, and nobody reads them"


@pytest.mark.parametrize("part", PARTS)
def test_every_setting_of_a_source_is_documented(part: str) -> None:
    assert re.search(rf"^\| `SOURCE_<NAME>_{part}` \| \S", TEXT, re.MULTILINE)
    assert re.search(rf"^#SOURCE_\w+_{part}=", EXAMPLE, re.MULTILINE)


@pytest.mark.parametrize("name", TOOLS)
def test_every_form_tool_is_documented(name: str) -> None:
    page = (ROOT / "docs" / "sources.md").read_text()
    assert re.search(rf"^\| `{name}` \| {TOOLS[name].label} \|", page, re.MULTILINE)
    assert f"\n## {TOOLS[name].label}\n" in page
    assert f"\n#SOURCE_{name.upper()}_SECRET=" in EXAMPLE


def test_every_hook_is_documented_with_its_signature() -> None:
    page = (ROOT / "docs" / "plugins" / "README.md").read_text()
    hooks = {name: value for name, value in vars(hookspecs).items() if hasattr(value, "crmgate_spec")}
    assert len(hooks) >= 9
    for name, function in hooks.items():
        heading = re.search(rf"^### `{name}\((.*?)\) -> (.+)`$", page, re.MULTILINE)
        assert heading, f"{name} is not documented"
        arguments = re.findall(r"(\w+): ", heading[1])
        assert arguments == list(inspect.signature(function).parameters)
        assert heading[2] == function.__annotations__["return"]


def test_every_capability_is_explained_and_in_the_matrix() -> None:
    page = (ROOT / "docs" / "plugins" / "README.md").read_text()
    plugins = discover(ROOT / "plugins")
    claimed = {name for crm in plugins.providers.values() for name in crm.capabilities} - PROVIDER_HOOKS
    assert generator().FEATURES.keys() == FEATURES, "docs/generate.py: FEATURES has to explain those of admission.py"
    for name in claimed | PROVIDER_HOOKS - set(REQUIRED_HOOKS):
        assert re.search(rf"^\| `{name}`", page, re.MULTILINE), f"{name} is not in the matrix"


def test_the_listener_of_the_overview_loads(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "plugins" / "README.md").read_text()
    [block] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "pager.py").write_text(block)
    plugins = discover(tmp_path)
    assert not plugins.quarantined
    with FakeEspoCRM() as server:
        plugins.listen({"PAGER_URL": server.url}, ("127.0.0.1",))
        operation = Operation(new_id(), Kind.CREATE_LEAD, {}, 0.0)
        notify(plugins, "operation_dead", operation=operation)
        [request] = wait_until("the call", lambda: server.requests)
    assert json.loads(request.body) == {"operation": operation.id}


def test_every_route_is_documented() -> None:
    app = Flask("docs")
    web.init_app(app)
    for rule in app.url_map.iter_rules():
        if rule.endpoint == "static":
            continue
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            assert f"`{method} {path}`" in TEXT, f"{method} {path} is not documented"


def test_every_command_is_documented() -> None:
    assert [name for name in main.commands if f"`crmgate {name}`" not in TEXT] == []


def test_every_action_of_the_audit_log_is_documented() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    missing = [action for action in Action if f"\n| `{action}` | " not in page]
    assert not missing, f"docs/cli.md: the table of `crmgate audit` lacks {', '.join(missing)}"


def test_every_delivery_mode_is_documented() -> None:
    page = (ROOT / "docs" / "plugins" / "README.md").read_text()
    missing = [mode for mode in DeliveryMode if f'\n| `"{mode}"`' not in page]
    assert not missing, f"docs/plugins/README.md: the table of destinations lacks {', '.join(missing)}"


def test_every_error_code_is_documented() -> None:
    kinds = [kind for module in (codes, field_codes) for kind in vars(module).values() if _is_codes(kind, module)]
    web_codes = {str(code) for kind in kinds for code in kind}
    assert len(web_codes) > 10
    assert [code for code in sorted(web_codes | set(Code)) if f"`{code}`" not in TEXT] == []


def _is_codes(value: object, module: ModuleType) -> bool:
    return isinstance(value, type) and value.__module__ == module.__name__ and hasattr(value, "__members__")


@all_cases("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_each_picture_is_taken_by_the_script_shown_and_small() -> None:
    taken = set(re.findall(r'Picture\(\s*"([\w-]+)"', (ROOT / "docs" / "screenshots.py").read_text()))
    pictures = {path.stem: path.read_bytes() for path in (ROOT / "docs" / "images").iterdir()}
    shown = set(re.findall(r"images/([\w-]+)\.png", TEXT))
    assert taken == pictures.keys() == shown
    assert {name for name, picture in pictures.items() if len(picture) > 150_000} == set()
    widths = {int.from_bytes(picture[16:20]) for picture in pictures.values()}
    assert widths == {1280, 390}


@all_cases("page", PAGES, ids=lambda page: page.name)
def test_links_to_headings_find_them(page: Path) -> None:
    for target, heading in re.findall(r"\]\(([\w./-]*\.md)?#([^)\s]+)\)", page.read_text()):
        titles = re.findall(r"^#+ (.+)$", (page.parent / target if target else page).read_text(), re.MULTILINE)
        names = [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles]
        assert heading in names, f"{page.name}: {target}#{heading}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, open_ends = set[Path](), [ROOT / "README.md"]
    while open_ends:
        page = open_ends.pop()
        reached.add(page)
        links = re.findall(r"\]\(([^)#\s]+\.md)(?:#[^)]*)?\)", page.read_text())
        targets = {(page.parent / link).resolve() for link in links if "://" not in link}
        open_ends += [target for target in targets - reached if target.exists()]
    assert [page for page in PAGES if page.resolve() not in reached] == []


def test_every_key_that_can_hold_personal_data_is_in_the_table_of_data_protection() -> None:
    page = (ROOT / "docs" / "data-protection.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| ")]
    named = {name for row in rows for name in re.findall(r"`([a-z_]+(?::<[^`]+)?)`", row)}
    personal = {key.name for key in keys.TABLE if key.personal}
    assert personal <= named
    assert {key.name for key in keys.TABLE if key.name in named} == personal, "a key in the table has no flag"
    kept_long = {key.name for key in keys.TABLE if key.name.partition(":")[0] in ("op", "session", "person", "idem")}
    assert kept_long <= personal

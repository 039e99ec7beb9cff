"""docs/adding.md: each place that it names exists, and a place that is forgotten is named by a test."""

from __future__ import annotations

import fnmatch
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest
from flask import Blueprint, Flask

from crmgate import hookspecs, web
from crmgate.plugin_host.admission import FEATURES, PROVIDER_HOOKS
from crmgate.plugin_host.caller import HOOKS
from crmgate.policy import DeliveryMode
from crmgate.web.openapi.document import build
from tests.cases import all_cases
from tests.web.published import Published

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "adding.md").read_text()
PLACE = r"`((?:crmgate|docs|plugins|tests)/[\w./-]*|setup\.cfg|\.env\.example|Caddyfile|CHANGELOG\.md)(?:::(\w+))?`"
NAMED = sorted(set(re.findall(PLACE, PAGE)))


@pytest.fixture(scope="module")
def app() -> Flask:
    """The routes of the gateway, with nothing behind them."""
    app = Flask("crmgate")
    web.init_app(app, demo=True)
    return app


@all_cases(("path", "test"), NAMED)
def test_each_place_exists(path: str, test: str) -> None:
    place = ROOT / path
    assert place.exists(), f"docs/adding.md names {path}"
    assert not test or f"\ndef {test}(" in place.read_text(), f"docs/adding.md names {path}::{test}"


def test_every_blueprint_is_registered(app: Flask) -> None:
    modules = [importlib.import_module(f"crmgate.web.{found.name}") for found in pkgutil.iter_modules(web.__path__)]
    with_routes = {module.__name__: module.blueprint for module in modules if hasattr(module, "blueprint")}
    assert len(with_routes) >= 10
    registered = set(map(id, app.blueprints.values()))
    missing = [name for name, blueprint in with_routes.items() if id(blueprint) not in registered]
    assert missing == [], "crmgate/web/__init__.py does not register their blueprints"
    assert all(isinstance(blueprint, Blueprint) for blueprint in with_routes.values())


def test_every_route_for_operators_is_closed_by_caddy(app: Flask) -> None:
    caddyfile = (ROOT / "Caddyfile").read_text()
    [paths] = re.findall(r"@foreign \{\n\s+path (.+)\n", caddyfile)
    [(changed, read)] = re.findall(r"@foreign_change \{\n\s+path (.+)\n\s+not method (.+)\n", caddyfile)
    operations = Published(build(app)).operations()
    secured = {
        (path, method.upper()) for path, method, operation in operations
        if operation["security"] and {} not in operation["security"]
    }  # fmt: skip
    assert len(secured) >= 15
    closed = {
        (path, method) for path, method in secured
        if matches(path, paths) or (method not in read.split() and matches(path, changed))
    }  # fmt: skip
    assert sorted(secured - closed) == [], "the Caddyfile opens them to everybody: add them to @foreign"


def matches(path: str, globs: str) -> bool:
    """Whether one of the patterns of Caddy, separated by spaces, matches the path."""
    return any(fnmatch.fnmatchcase(path, glob) for glob in globs.split())


def test_the_loader_knows_which_hooks_belong_to_a_crm() -> None:
    specifications = {name: getattr(hookspecs, name).crmgate_spec for name in HOOKS}
    of_a_crm = {name for name, options in specifications.items() if options["firstresult"]}
    assert of_a_crm - PROVIDER_HOOKS == set(), "add them to PROVIDER_HOOKS in crmgate/plugin_host/loader.py"
    assert PROVIDER_HOOKS - of_a_crm == set(), "specify them in crmgate/hookspecs.py with firstresult=True"


@pytest.mark.parametrize("hook", HOOKS)
def test_the_gateway_calls_every_hook(hook: str) -> None:
    callers = [*(ROOT / "crmgate").glob("*.py"), *(ROOT / "crmgate/delivery").glob("*.py")]
    callers += [ROOT / "crmgate/plugin_host/caller.py", ROOT / "crmgate/operators/connection_test.py"]
    callers += [ROOT / "crmgate/operators/reconcile.py"]
    callers += [ROOT / "crmgate/operators/watch.py", ROOT / "crmgate/plugin_host/sources.py"]
    texts = [path.read_text() for path in callers if path.name != Path(inspect.getfile(hookspecs)).name]
    called = re.compile(rf'"{hook}"|\b_?hooks\.{hook}\(|\bhook\.{hook}\(')
    assert any(called.search(text) for text in texts), f"nothing calls {hook}: crmgate/plugin_host/caller.py"


@pytest.mark.parametrize("hook", sorted(PROVIDER_HOOKS))
def test_the_contract_checks_every_hook_of_a_crm(hook: str) -> None:
    texts = [path.read_text() for path in (ROOT / "crmgate/testing/contract").glob("*.py")]
    checked = re.compile(rf"\b{hook}\b|\bKind\.{hook.upper()}\b")
    assert any(checked.search(text) for text in texts), f"crmgate/testing/contract does not check {hook}"


@pytest.mark.parametrize("feature", sorted(FEATURES))
def test_the_contract_checks_every_feature_of_a_crm(feature: str) -> None:
    texts = [path.read_text() for path in (ROOT / "crmgate/testing/contract").glob("*.py")]
    assert any(f'"{feature}"' in text for text in texts), f"crmgate/testing/contract does not check {feature}"


@pytest.mark.parametrize("mode", DeliveryMode)
@pytest.mark.parametrize("file", ["once", "counts", "outcomes"])
def test_the_contract_has_advice_for_every_delivery_mode(file: str, mode: DeliveryMode) -> None:
    text = (ROOT / f"crmgate/testing/contract/{file}.py").read_text()
    assert f"DeliveryMode.{mode.name}: " in text, f"crmgate/testing/contract/{file}.py has no advice for {mode}"


@pytest.mark.parametrize("mode", DeliveryMode)
def test_the_contract_has_checks_of_every_delivery_mode(mode: DeliveryMode) -> None:
    texts = [path.read_text() for path in (ROOT / "crmgate/testing/contract").glob("*.py")]
    checks = re.compile(rf"needs_mode\((?:.*, )?DeliveryMode\.{mode.name}\b")
    assert any(checks.search(text) for text in texts), f"crmgate/testing/contract/modes.py has no check of {mode}"

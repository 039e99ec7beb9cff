"""Loads a plugin with one change of its source, and runs checks of the contract kit on it, in this process."""

from __future__ import annotations

import importlib.util
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from crmgate.provider import CRMProvider
from crmgate.testing import ProviderContract
from crmgate.testing.contract import Contract
from tests.plugins import (
    test_contract_bitrix,
    test_contract_espocrm,
    test_contract_hubspot,
    test_contract_mail,
    test_contract_sandbox,
    test_contract_webhook,
)
from tests.testing.contract import test_acme_oauth, test_sheet

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "tests" / "testing" / "contract"
SCAFFOLD = ROOT / "crmgate" / "cli" / "template"


@dataclass(frozen=True)
class Mutant:
    """A harmful edit: `old` becomes `new` in one file. `check` has to fail, or `survives` says why none does."""

    name: str
    plugin: str
    file: str
    old: str
    new: str
    why: str
    check: str = ""
    survives: str = ""


@cache
def all_mutants() -> tuple[Mutant, ...]:
    """The mutants in mutants.toml."""
    listed = tomllib.loads(Path(__file__).with_name("mutants.toml").read_text())["mutant"]
    return tuple(Mutant(**one) for one in listed)


@cache
def contracts() -> dict[str, tuple[Path, type[Contract]]]:
    """The source and the contract of each plugin, by its name in mutants.toml."""
    plugins = ROOT / "plugins"
    return {
        "espocrm": (plugins / "espocrm", test_contract_espocrm.TestEspoCRM),
        "bitrix": (plugins / "bitrix", test_contract_bitrix.TestBitrix),
        "bitrix_deals": (plugins / "bitrix", test_contract_bitrix.TestBitrixDeals),
        "hubspot": (plugins / "hubspot", test_contract_hubspot.TestHubSpot),
        "sandbox": (plugins / "sandbox.py", test_contract_sandbox.TestSandbox),
        "webhook": (plugins / "webhook.py", test_contract_webhook.TestWebhook),
        "mail": (plugins / "mail", test_contract_mail.TestMail),
        "scaffold": (SCAFFOLD / "acme.py", _scaffold_contract()),
        "sheet": (EXAMPLES / "sheet.py", test_sheet.TestSheet),
        "oauth": (EXAMPLES / "acme_oauth.py", test_acme_oauth.TestAcmeOAuth),
    }


def all_checks() -> list[str]:
    """The names of the checks."""
    return sorted(name for name in dir(ProviderContract) if name.startswith("test_"))


def source_of(mutant: Mutant) -> str:
    """The changed source. Raises `ValueError` if the text to replace is not there exactly once."""
    source = _path(mutant).read_text()
    if source.count(mutant.old) != 1:
        raise ValueError(f"{mutant.name}: {mutant.file} has the text {source.count(mutant.old)} times. Correct `old`.")
    return source.replace(mutant.old, mutant.new)


def provider_of(mutant: Mutant) -> type[CRMProvider]:
    """The provider class of the changed plugin."""
    with _changed(mutant) as module:
        found = [one for one in vars(module).values() if isinstance(one, type) and issubclass(one, CRMProvider)]
    return next(one for one in found if one.__module__.startswith(module.__name__))


def failing(contract: type[Contract], checks: Sequence[str]) -> Iterator[str]:
    """The checks of `contract` that fail. Those that do not apply to its plugin are left out."""
    for check in (one for one in checks if callable(getattr(contract, one, None))):
        instance = contract()
        instance.setup_method()
        try:
            getattr(instance, check)()
        except Exception:  # a plugin that cannot be started fails, too
            yield check
        finally:
            instance.teardown_method()


def mutated_contract(mutant: Mutant) -> type[Contract]:
    """The contract of the plugin, about the mutant."""
    contract = contracts()[mutant.plugin][1]
    return type(contract.__name__, (contract,), {"plugin": provider_of(mutant), "patience": 0.2})


def _path(mutant: Mutant) -> Path:
    plugin = contracts()[mutant.plugin][0]
    return plugin / mutant.file if plugin.is_dir() else plugin


class _Changed(SourceLoader):
    """Loads one module from a text. Without a time of modification, Python neither reads nor writes a cache."""

    def __init__(self, path: Path, source: str) -> None:
        self._path, self._source = path, source

    def get_filename(self, fullname: str) -> str:
        return str(self._path)

    def get_data(self, path: str | bytes) -> bytes:
        return self._source.encode()


class _Finder(MetaPathFinder):
    """Finds the changed module of a package. The others are loaded from their files."""

    def __init__(self, name: str, loader: SourceLoader) -> None:
        self._name, self._loader = name, loader

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        return importlib.util.spec_from_loader(fullname, self._loader) if fullname == self._name else None


@contextmanager
def _changed(mutant: Mutant) -> Iterator[ModuleType]:
    """The plugin's module. Its names are removed from `sys.modules` afterwards."""
    name, plugin = f"mutant_{mutant.plugin}", contracts()[mutant.plugin][0]
    loader = _Changed(_path(mutant), source_of(mutant))
    if plugin.is_dir():
        finder = _Finder(f"{name}.{Path(mutant.file).stem}", loader)
        start = plugin / "__init__.py"
        spec = importlib.util.spec_from_file_location(name, start, submodule_search_locations=[str(plugin)])
    else:
        finder = _Finder(name, loader)
        spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.meta_path.insert(0, finder)
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.meta_path.remove(finder)
        for loaded in [one for one in sys.modules if f"{one}.".startswith(f"{name}.")]:
            del sys.modules[loaded]


def _scaffold_contract() -> type[ProviderContract]:
    """The contract that `crmgate plugins new` writes."""
    spec = importlib.util.spec_from_file_location("scaffold_contract", SCAFFOLD / "test_acme.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    contract: type[ProviderContract] = module.TestAcme
    return contract

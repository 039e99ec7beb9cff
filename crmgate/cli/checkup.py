"""Checks of one plugin (a file or a folder): whether it loads, has a free name and passes its contract test."""

from __future__ import annotations

import importlib
import inspect
import sys
import unittest
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from crmgate.config import Settings
from crmgate.plugin_host.loader import Plugins, discover, plugin_name, shipped_folder
from crmgate.provider import CRMProvider

if TYPE_CHECKING:
    from crmgate.testing.contract import Contract

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


def contract(file: Path, test: Path, progress: Callable[[str], None]) -> Iterator[Finding]:
    """Run the contract tests in `test` whose plugin is `file`, and call `progress` with the name of each.

    Needs no pytest, unless the tests import it. Every exception of a test becomes a failed check.
    """
    from crmgate.testing.contract import Contract

    try:
        module = _imported(test)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # sys.exit() and pytest.skip() too
        yield Finding("contract", test.name, False, f"{type(error).__name__} at import: {error}")
        return
    classes = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Contract)]
    about = [kind for kind in classes if (of := _subject(kind)) and file.resolve() in (of, *of.parents)]
    if not about:
        yield Finding("contract", test.name, False, f"it has no subclass of ProviderContract whose plugin is {file}.")
    for kind in about:
        for name in sorted(name for name in dir(kind) if name.startswith("test")):
            progress(name)
            yield _run(kind, name)


def _subject(kind: type[Contract]) -> Path | None:
    """The file of the plugin that a contract class tests; None if it names no plugin."""
    plugin = getattr(kind, "plugin", None)
    source = inspect.getsourcefile(plugin) if isinstance(plugin, type) else plugin
    return Path(source).resolve() if source else None


def _imported(test: Path) -> ModuleType:
    """Import the test module as pytest does: by its dotted name below the first folder that is not a package."""
    test = test.resolve()
    root, parts = test.parent, [test.stem]
    while (root / "__init__.py").exists():
        parts.insert(0, root.name)
        root = root.parent
    with _on_path(root):
        return importlib.import_module(".".join(parts))


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _run(kind: type[Contract], name: str) -> Finding:
    """Run one test of the contract on a new instance with its own fake CRM."""
    check = f"{kind.__name__}.{name}"
    if inspect.signature(getattr(kind, name)).parameters.keys() != {"self"}:
        return Finding("contract", check, None, "it takes fixtures: run it with pytest.")
    try:
        _call(kind(), name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the exceptions of pytest.skip and pytest.fail are not subclasses of Exception
        return Finding("contract", check, None if _is_skip(error) else False, _message(error))
    return Finding("contract", check, True)


def _call(instance: Any, name: str) -> None:
    instance.setup_method()
    try:
        getattr(instance, name)()
    finally:
        instance.teardown_method()


def _is_skip(error: BaseException) -> bool:
    return isinstance(error, unittest.SkipTest) or type(error).__name__ == "Skipped"


def _message(error: BaseException) -> str:
    text = str(error)
    return text if text and isinstance(error, AssertionError | unittest.SkipTest) else f"{type(error).__name__}: {text}"

"""What is to be said of one plugin, a file or a folder: does it load, is its name free, does it keep the contract."""

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
    """One thing that was looked at. `ok` is None where it could not be."""

    part: str
    name: str
    ok: bool | None
    detail: str = ""


def load(file: Path) -> tuple[dict[str, type[CRMProvider]], Finding]:
    """The providers of a plugin that is loaded as the gateway does it, alone, and what there is to say of that."""
    name = plugin_name(file)
    if not name:
        told = (
            "crmgate takes files that end in .py, and folders without a dot that have an __init__.py,"
            " if they do not begin with an underscore or a dot: rename it."
        )
        return {}, Finding("load", file.name, False, told)
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
    """Whether the names of the file's providers are free in the folder where it is to work."""
    others = discover(settings.plugins_dir, settings.plugins_allowed, shipped=shipped_folder()).files
    for name in providers:
        other = others.get(name)
        taken = other is not None and Path(other).resolve() != file.resolve()
        told = f"{other} has that name too: rename or remove one of them." if taken else ""
        yield Finding("name", name, not taken, told)


def find_test(file: Path) -> Path | None:
    """Where the contract test of a plugin is by custom: below tests/plugins, or beside the plugin."""
    folders = (Path("tests/plugins"), file.parent)
    paths = (folder / form.format(file.stem) for folder in folders for form in TEST_FILES)
    return next(
        (path for path in paths if path.is_file() and "ProviderContract" in path.read_text("utf-8", "replace")), None
    )


def contract(file: Path, test: Path, progress: Callable[[str], None]) -> Iterator[Finding]:
    """Run the contract tests of `test` that are about `file`. pytest is not needed, unless the tests import it."""
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
    """The plugin that a contract is about; for a class, its file."""
    plugin = getattr(kind, "plugin", None)
    source = inspect.getsourcefile(plugin) if isinstance(plugin, type) else plugin
    return Path(source).resolve() if source else None


def _imported(test: Path) -> ModuleType:
    """The test module, imported as pytest would: by its packages, from the first folder that is none."""
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
    """One check of the contract, on an instance and a fake CRM of its own."""
    check = f"{kind.__name__}.{name}"
    if inspect.signature(getattr(kind, name)).parameters.keys() != {"self"}:
        return Finding("contract", check, None, "it takes fixtures: run it with pytest.")
    try:
        _call(kind(), name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # pytest.skip and pytest.fail raise what is no Exception
        return Finding("contract", check, None if _is_skip(error) else False, _said(error))
    return Finding("contract", check, True)


def _call(instance: Any, name: str) -> None:
    instance.setup_method()
    try:
        getattr(instance, name)()
    finally:
        instance.teardown_method()


def _is_skip(error: BaseException) -> bool:
    return isinstance(error, unittest.SkipTest) or type(error).__name__ == "Skipped"


def _said(error: BaseException) -> str:
    text = str(error)
    return text if text and isinstance(error, AssertionError | unittest.SkipTest) else f"{type(error).__name__}: {text}"

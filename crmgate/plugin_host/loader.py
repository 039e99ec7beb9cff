"""Finds, checks and loads plugins, sets broken plugins aside, and starts the provider in use.

A plugin is a Python file in `PLUGINS_DIR`, a folder there with an `__init__.py`, one that comes with crmgate, or an
entry point of the group `crmgate.plugins`. It runs with all rights of the gateway: put only trusted code into
`PLUGINS_DIR`, or list the trusted plugins in `PLUGINS_ALLOWED`.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import pluggy

from crmgate.errors import ConfigError, PluginError
from crmgate.listener import Listener
from crmgate.plugin_host import ownership
from crmgate.plugin_host.admission import (
    PROVIDER_HOOKS,
    WRITE_RATE,
    check_hooks,
    check_listener,
    check_provider,
    marked_hooks,
    rate_fault,
)
from crmgate.plugin_host.caller import HookCaller, ends_process, hook_manager, where
from crmgate.provider import CRMProvider, TokenStore

log = logging.getLogger(__name__)
T = TypeVar("T")

ENTRY_POINT_GROUP = "crmgate.plugins"
MODULE_PREFIX = "crmgate_plugin_"


@dataclass
class Plugins:
    """Loaded plugins: provider classes and their files by name, and the errors of plugins that were set aside.

    `listeners` has the classes of listeners by file and name. Listeners without a class are registered in the manager.
    """

    manager: pluggy.PluginManager
    providers: dict[str, type[CRMProvider]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    listeners: dict[str, type[Listener]] = field(default_factory=dict)
    quarantined: list[PluginError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Further reasons why a plugin may be missing: no such folder, a file that `PLUGINS_ALLOWED` leaves out."""
    rivals: dict[str, list[str]] = field(default_factory=dict)
    """Files that define a provider of the same name, by that name; the operator has to choose one."""

    def choose(
        self, name: str, environ: Mapping[str, str], timeout: float, http_hosts: tuple[str, ...],
        tokens: TokenStore | None = None, **policies: str,
    ) -> HookCaller:  # fmt: skip
        """The provider `name`, configured from `environ`.

        Raises `ConfigError` if there is none, if two files define it, or if it cannot start.

        `tokens` keeps its access tokens; None: this process alone has them. `policies` are `on_duplicate`, `on_update`
        and `on_rejected_field` of `CRMProvider`.
        """
        if name not in self.providers:
            raise ConfigError([self._not_found(name)])
        if name in self.rivals:
            files = " and ".join(self.rivals[name])
            remedy = "Rename or remove all but one, or name the right one in PLUGINS_ALLOWED."
            raise ConfigError([f"CRM_PROVIDER, got {name!r}: several plugins have this name: {files}. {remedy}"])
        provider = _start(self.providers[name], environ, timeout, http_hosts, policies)
        if tokens is not None:
            provider.tokens = tokens
        return HookCaller(self.manager, provider)

    def listen(self, environ: Mapping[str, str], http_hosts: tuple[str, ...]) -> None:
        """Start the listeners that are classes. Raises `ConfigError` with all problems; then no listener starts."""
        started, problems = dict[str, Listener](), list[str]()
        for name, listener in self.listeners.items():
            try:
                started[name] = listener(environ, http_hosts=http_hosts)
            except ConfigError as error:
                problems += error.problems
            except BaseException as error:
                if ends_process(error):
                    raise
                problems.append(f"{name}: the listener failed to start: {where(error, listener.__module__)}.")
        if problems:
            raise ConfigError(problems)
        for name, made in started.items():
            self.manager.register(made, name=name)

    def _not_found(self, name: str) -> str:
        found = ", ".join(sorted(self.providers)) or "none"
        parts = [f"CRM_PROVIDER, got {name!r}: there is no such plugin. Found: {found}."]
        broken = [error for error in self.quarantined if name in (Path(error.file).stem, error.file.split()[-1])]
        if broken:
            parts.append(f"Its file cannot be used: {broken[0]}")
        elif self.quarantined:
            parts.append(f"Set aside as unusable: {', '.join(error.file for error in self.quarantined)}.")
        return " ".join(parts + self.notes)


def _start(
    chosen: type[CRMProvider], environ: Mapping[str, str], timeout: float, http_hosts: tuple[str, ...],
    policies: Mapping[str, str],
) -> CRMProvider:  # fmt: skip
    """Make the provider. Raises `ConfigError`."""
    try:
        provider = chosen(environ, timeout=timeout, http_hosts=http_hosts, **policies)
        fault = rate_fault(provider.rate)
    except ConfigError:
        raise
    except BaseException as error:
        if ends_process(error):
            raise
        # The text of an unforeseen exception may hold a setting: only its type and place are kept.
        problem = f"the plugin failed to start: {where(error, chosen.__module__)}."
    else:
        if not fault:
            return provider
        problem = f"{chosen.__name__}.rate is {fault}. {WRITE_RATE}"
    raise ConfigError([f"CRM_PROVIDER, got {chosen.name!r}: {problem}"])


def shipped_folder() -> Path:
    """Folder of the plugins that come with crmgate: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "plugins"
    return installed if installed.is_dir() else package.parent / "plugins"


def discover(folder: Path, allowed: tuple[str, ...] = (), *, shipped: Path | None = None) -> Plugins:
    """Load every plugin of `folder`, then of `shipped`, then every entry point.

    A plugin of `folder` replaces the one of the same name in `shipped`. `allowed` names the plugins of both folders to
    load; empty: all. A plugin that cannot be used is set aside and does not affect the others.
    """
    plugins = Plugins(hook_manager())
    for source in [*_files(plugins, folder, allowed, shipped), *_entry_points()]:
        before = _modules(source.module)
        try:
            _admit(plugins, source.where, source.load())
        except PluginError as error:
            plugins.quarantined.append(error)
            _restore(source.module, before)
            log.warning("plugin set aside: %s", error)
    return plugins


def plugin_name(path: Path) -> str:
    """Name of a plugin: its file without `.py`, or its folder. Empty: the path is no plugin.

    A folder with a dot in its name is no plugin, so that a copy (`acme.old`) is ignored like a file `acme.py.old`.
    """
    if path.name.startswith(("_", ".")):
        return ""
    if path.suffix == ".py":
        return path.stem
    return path.name if "." not in path.name and (path / "__init__.py").exists() else ""


def _modules(name: str) -> dict[str, ModuleType]:
    """A loaded module with all loaded modules of its package, by name."""
    inside = f"{name}."
    return {key: module for key, module in sys.modules.items() if key == name or key.startswith(inside)}


def _restore(name: str, before: Mapping[str, ModuleType]) -> None:
    """Remove a module and its package from `sys.modules`, and restore the modules in `before`."""
    for key in _modules(name):
        del sys.modules[key]
    sys.modules.update(before)


@dataclass(frozen=True)
class _Source:
    where: str
    module: str
    load: Callable[[], ModuleType]


def _files(plugins: Plugins, folder: Path, allowed: tuple[str, ...], shipped: Path | None) -> Iterator[_Source]:
    if not folder.is_dir():
        plugins.notes.append(f"PLUGINS_DIR, got {str(folder)!r}: there is no such folder.")
    found = _named(folder)
    if shipped is not None and not (folder.is_dir() and folder.samefile(shipped)):
        found += _not_replaced(plugins, found, _named(shipped))
    for name, path in found:
        if not allowed or name in allowed:
            load = _load_shipped if shipped is not None and path.parent.samefile(shipped) else _load_path
            yield _Source(str(path), MODULE_PREFIX + name, partial(load, path))
        else:
            plugins.notes.append(f"PLUGINS_ALLOWED leaves out {path.name}.")
    for name in sorted(set(allowed) - {name for name, _ in found}):
        plugins.notes.append(f"PLUGINS_ALLOWED names {name!r}, but no file and no folder has that name.")


def _named(folder: Path) -> list[tuple[str, Path]]:
    """The plugins of a folder with their names, in the order of their paths."""
    return [(name, path) for path in sorted(folder.glob("*")) if (name := plugin_name(path))]


def _not_replaced(
    plugins: Plugins, own: list[tuple[str, Path]], shipped: list[tuple[str, Path]]
) -> list[tuple[str, Path]]:
    """The shipped plugins without those that a plugin of the user replaces; each replacement is noted."""
    names = {name for name, _ in shipped}
    for name, path in own:
        if name in names:
            plugins.notes.append(f"{path} replaces the plugin {name} that comes with crmgate.")
    replaced = {name for name, _ in own}
    return [(name, path) for name, path in shipped if name not in replaced]


def _entry_points() -> Iterator[_Source]:
    for entry in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name):
        yield _Source(f"entry point {entry.name}", entry.module, partial(_load_entry_point, entry))


def _load_shipped(path: Path) -> ModuleType:
    """Import a plugin that comes with crmgate, once in a process. Raises `PluginError`."""
    loaded = sys.modules.get(MODULE_PREFIX + plugin_name(path))
    if loaded is not None and loaded.__file__ and Path(loaded.__file__).resolve() == _code(path).resolve():
        return loaded
    return _load_path(path)


def _code(path: Path) -> Path:
    """The file that is imported for a plugin, which is a file or a folder."""
    return path if path.suffix == ".py" else path / "__init__.py"


def _load_path(path: Path) -> ModuleType:
    """Import a file or a folder under a name of its own. Raises `PluginError`, also if another user can write it."""
    name, is_folder = MODULE_PREFIX + plugin_name(path), plugin_name(path) == path.name
    if not is_folder and plugin_name(folder := path.with_suffix("")):
        reason = f"the folder {folder} has the same name and is loaded instead."
        raise PluginError(str(path), reason, "Rename or remove one of them.")
    ownership.check(path)
    parts = [str(path)] if is_folder else None
    spec = importlib.util.spec_from_file_location(name, _code(path), submodule_search_locations=parts)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    _restore(name, {})  # its other files are read again, too: nothing is shared with what was loaded before
    sys.modules[name] = module  # before it runs: dataclasses with postponed annotations look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        failure = _import_failure(str(path), error)
    else:
        return module
    raise failure


def _load_entry_point(entry: EntryPoint) -> ModuleType:
    where = f"entry point {entry.name}"
    try:
        module = entry.load()
    except BaseException as error:
        failure = _import_failure(where, error)
    else:
        if isinstance(module, ModuleType):
            return module
        failure = PluginError(where, "it names no module.", "Point it at a module.")
    raise failure


def _import_failure(where: str, error: BaseException) -> PluginError:
    """The `PluginError` for a failed import. `sys.exit()` must not end the gateway; Ctrl-C of the operator does."""
    match error:
        case KeyboardInterrupt():
            raise error
        case SyntaxError():
            file = Path(error.filename or "").name
            place = f"{file}, line" if file not in ("", Path(where).name) else "line"
            return PluginError(where, f"{place} {error.lineno}: {error.msg}.", "Correct the syntax.")
        case ImportError():
            return PluginError(where, f"import failed: {error}.", "Install what it imports, or correct the name.")
    return PluginError(where, f"{type(error).__name__} at import: {error}.", "Correct or remove it.")


def _admit(plugins: Plugins, source: str, module: ModuleType) -> None:
    """Check a module and add all its providers and listeners, or none. Raises `PluginError`."""
    classes, listeners = _classes(module, CRMProvider), _classes(module, Listener)
    hooks = marked_hooks(module).keys()
    if not classes and not listeners and not hooks:
        remedy = "Add a subclass of CRMProvider or Listener, or functions marked @hookimpl."
        raise PluginError(source, "it implements nothing.", remedy)
    if stray := PROVIDER_HOOKS & hooks:
        remedy = "Make it a method of a subclass of CRMProvider."
        raise PluginError(source, f"{min(stray)} is a function of the module, which is never called.", remedy)
    taken = dict(plugins.files)
    for candidate in classes:
        if first := plugins.files.get(candidate.name):
            plugins.rivals.setdefault(candidate.name, [first]).append(source)
        check_provider(source, candidate, taken)
        taken[candidate.name] = source
    for listener in listeners:
        check_listener(source, listener)
    if hooks:
        check_hooks(source, module)
        _register(plugins.manager, source, module)
    plugins.files |= taken
    plugins.providers |= {candidate.name: candidate for candidate in classes}
    plugins.listeners |= {f"{source}:{listener.__name__}": listener for listener in listeners}


def _classes(module: ModuleType, base: type[T]) -> list[type[T]]:
    """Subclasses of `base` in this module or its package, except those with a leading underscore."""
    found = {
        id(value): value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and not value.__name__.startswith("_")
        if f"{value.__module__}.".startswith(f"{module.__name__}.")
    }
    return list(found.values())


def _register(manager: pluggy.PluginManager, source: str, module: ModuleType) -> None:
    try:
        manager.register(module, name=source)
    except ValueError:
        raise PluginError(source, "it is loaded twice.", "Remove one of the two entry points.") from None

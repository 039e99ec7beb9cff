"""Plugins: find and check them, set the broken ones aside, choose the active provider.

A plugin is a Python file in `PLUGINS_DIR`, a folder there with an `__init__.py`, one that comes with crmgate, or an
entry point of the group `crmgate.plugins`. A plugin runs with all the rights of the gateway: keep untrusted files
out of `PLUGINS_DIR`, and list the plugins to load in `PLUGINS_ALLOWED`.
"""

from __future__ import annotations

import difflib
import importlib.util
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pluggy

from crmgate import hookspecs
from crmgate.errors import ConfigError, PluginError
from crmgate.listener import Listener
from crmgate.model import Kind
from crmgate.plugin_host import ownership
from crmgate.plugin_host.caller import HOOKS, HookCaller, hook_manager, where
from crmgate.plugin_kit.mapping import CUSTOM_PREFIX, mappable
from crmgate.provider import CRMProvider

log = logging.getLogger(__name__)
T = TypeVar("T")

ENTRY_POINT_GROUP = "crmgate.plugins"
MODULE_PREFIX = "crmgate_plugin_"
REQUIRED_HOOKS = ("create_lead", "create_minimal_lead", "find_lead", "test_connection")
PROVIDER_HOOKS = {*Kind, *REQUIRED_HOOKS, "describe_fields", "provision"}


@dataclass
class Plugins:
    """Result of a search: provider classes by name, the file of each, and the plugins that were set aside.

    `listeners` holds listener classes by file and class name. Listeners without a class are registered in `manager`.
    """

    manager: pluggy.PluginManager
    providers: dict[str, type[CRMProvider]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    listeners: dict[str, type[Listener]] = field(default_factory=dict)
    quarantined: list[PluginError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Further reasons why a plugin is missing or replaced, such as a file that `PLUGINS_ALLOWED` leaves out."""

    def choose(
        self, name: str, environ: Mapping[str, str], timeout: float, http_hosts: tuple[str, ...], **policies: str
    ) -> HookCaller:
        """Configure the provider `name` from `environ`. `timeout` is in seconds, for one request.

        `policies` are `on_duplicate` and `on_rejected_field` of `CRMProvider`. Raises `ConfigError` if there is no such
        provider or it cannot start.
        """
        if name not in self.providers:
            raise ConfigError([self._not_found(name)])
        return HookCaller(self.manager, _start(self.providers[name], environ, timeout, http_hosts, policies))

    def listen(self, environ: Mapping[str, str], http_hosts: tuple[str, ...]) -> None:
        """Start the listener classes. Raises `ConfigError` with the problems of all of them; then none is started."""
        started, problems = dict[str, Listener](), list[str]()
        for name, listener in self.listeners.items():
            try:
                started[name] = listener(environ, http_hosts=http_hosts)
            except ConfigError as error:
                problems += error.problems
            except Exception as error:
                problems.append(f"{name}: the listener failed to start: {where(error, listener.__module__)}.")
        if problems:
            raise ConfigError(problems)
        for name, made in started.items():
            self.manager.register(made, name=name)

    def _not_found(self, name: str) -> str:
        found = ", ".join(sorted(self.providers)) or "none"
        reasons = [f"CRM_PROVIDER, got {name!r}: there is no such plugin. Found: {found}."]
        broken = [error for error in self.quarantined if name in (Path(error.file).stem, error.file.split()[-1])]
        if broken:
            reasons.append(f"Its file cannot be used: {broken[0]}")
        elif self.quarantined:
            reasons.append(f"Set aside as unusable: {', '.join(error.file for error in self.quarantined)}.")
        return " ".join(reasons + self.notes)


def _start(
    chosen: type[CRMProvider], environ: Mapping[str, str], timeout: float, http_hosts: tuple[str, ...],
    policies: Mapping[str, str],
) -> CRMProvider:  # fmt: skip
    try:
        return chosen(environ, timeout=timeout, http_hosts=http_hosts, **policies)
    except ConfigError:
        raise
    except Exception as error:
        # The text of an unexpected exception may contain a setting: the message names only its type and place.
        problem = f"CRM_PROVIDER, got {chosen.name!r}: the plugin failed to start: {where(error, chosen.__module__)}."
    raise ConfigError([problem])


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
    """What a plugin is called: its file without `.py`, or its folder. Empty: this is no plugin.

    A folder with a dot is none either, so that a copy (`acme.old`) sleeps as a file `acme.py.old` does.
    """
    if path.name.startswith(("_", ".")):
        return ""
    if path.suffix == ".py":
        return path.stem
    return path.name if "." not in path.name and (path / "__init__.py").exists() else ""


def _modules(name: str) -> dict[str, ModuleType]:
    """A module that is loaded, with what is loaded of its package."""
    return {key: module for key, module in sys.modules.items() if f"{key}.".startswith(f"{name}.")}


def _restore(name: str, before: Mapping[str, ModuleType]) -> None:
    """Take a module and its package out of `sys.modules`, but for what was somebody else's before."""
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
            yield _Source(str(path), MODULE_PREFIX + name, partial(_load_path, path))
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


def _load_path(path: Path) -> ModuleType:
    """Import a file or a folder under a name of its own, unless somebody else could have written it."""
    name, is_folder = MODULE_PREFIX + plugin_name(path), plugin_name(path) == path.name
    if not is_folder and plugin_name(folder := path.with_suffix("")):
        reason = f"the folder {folder} has the same name and is loaded in its stead."
        raise PluginError(str(path), reason, "Rename or remove one of them.")
    ownership.check(path)
    code, parts = (path / "__init__.py", [str(path)]) if is_folder else (path, None)
    spec = importlib.util.spec_from_file_location(name, code, submodule_search_locations=parts)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    _restore(name, {})  # its other files too are read anew: nothing is shared with what was loaded before
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
    """What an import failed of: `sys.exit()` too must not end the gateway. Only the operator's own Ctrl-C may."""
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
    """Check a module's hooks and take it in, whole or not at all. Raises `PluginError`."""
    classes, listeners = _classes(module, CRMProvider), _classes(module, Listener)
    listens = bool(_hooks(module))
    if not classes and not listeners and not listens:
        remedy = "Add a subclass of CRMProvider or Listener, or functions marked @hookimpl."
        raise PluginError(source, "it implements nothing.", remedy)
    if stray := PROVIDER_HOOKS & _hooks(module).keys():
        remedy = "Make it a method of a subclass of CRMProvider."
        raise PluginError(source, f"{min(stray)} is a function of the module, which is never called.", remedy)
    taken = dict(plugins.files)
    for candidate in classes:
        _check_provider(source, candidate, taken)
        taken[candidate.name] = source
    for listener in listeners:
        _check_listener(source, listener)
    _check_hooks(source, module)
    if listens:
        _register(plugins.manager, source, module)
    plugins.files |= taken
    plugins.providers |= {candidate.name: candidate for candidate in classes}
    plugins.listeners |= {f"{source}:{listener.__name__}": listener for listener in listeners}


def _classes(module: ModuleType, base: type[T]) -> list[type[T]]:
    """The subclasses of `base` in this module or its package, without those that begin with an underscore."""
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


def _hooks(plugin: object) -> dict[str, Mapping[str, Any]]:
    """The options of every hook that a class or module implements, by the hook's name."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    options = ((name, manager.parse_hookimpl_opts(plugin, name)) for name in dir(plugin))
    return {marked["specname"] or name: dict(marked) for name, marked in options if marked is not None}


def _check_hooks(source: str, plugin: object) -> None:
    """Refuse hooks that do not exist, which pluggy would ignore in silence, wrappers, and wrong arguments."""
    for name, options in _hooks(plugin).items():
        if name not in HOOKS:
            near = difflib.get_close_matches(name, HOOKS, n=1)
            remedy = f"Did you mean {near[0]}?" if near else f"Hooks that exist: {', '.join(HOOKS)}."
            raise PluginError(source, f"there is no hook {name!r}.", remedy)
        if options["wrapper"] or options["hookwrapper"]:
            raise PluginError(source, f"{name} is a wrapper, which is never called.", "Mark it with plain @hookimpl.")
    try:
        hook_manager().register(plugin)
    except pluggy.PluginValidationError as error:
        reason = " ".join(str(error).splitlines()[1:])
        raise PluginError(source, f"{reason}.", "Name the arguments as crmgate.hookspecs does.") from None


def _check_provider(source: str, provider: type[CRMProvider], taken: Mapping[str, str]) -> None:
    where, name = provider.__name__, provider.name
    if not name.isascii() or not name.isidentifier() or name != name.lower():
        remedy = "Give it a name of lower-case letters, digits and underscores."
        raise PluginError(source, f"{where}.name is {name!r}.", remedy)
    if name in taken:
        reason = f"the provider {name!r} is already defined by {taken[name]}."
        raise PluginError(source, reason, "Rename or remove one of them.")
    _check_hooks(source, provider)
    if missing := [hook for hook in REQUIRED_HOOKS if hook not in _hooks(provider)]:
        raise PluginError(source, f"{where} lacks {', '.join(missing)}.", "Implement them, marked @hookimpl.")
    facts = {*provider.lead_fields, *provider.lead_values} - set(mappable())
    if unknown := sorted(fact for fact in facts if not fact.startswith(CUSTOM_PREFIX)):
        reason = f"{where} maps {', '.join(map(repr, unknown))}, which is no fact of a lead."
        raise PluginError(source, reason, f"Facts that exist: {', '.join(mappable())}.")


def _check_listener(source: str, listener: type[Listener]) -> None:
    _check_hooks(source, listener)
    hooks, where = _hooks(listener).keys(), listener.__name__
    if stray := PROVIDER_HOOKS & hooks:
        reason = f"{min(stray)} of {where} is never called: {where} is a listener."
        raise PluginError(source, reason, "Make it a method of a subclass of CRMProvider.")
    if not hooks:
        raise PluginError(source, f"{where} implements no hook.", "Mark its hooks @hookimpl.")

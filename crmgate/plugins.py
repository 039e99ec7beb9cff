"""Plugins: find them, check them, set the broken ones aside, choose the active provider.

A plugin is a Python file in `PLUGINS_DIR` (or an entry point of the group `crmgate.plugins`). It runs with all the
rights of the gateway: what is not trusted does not belong in that folder, and `PLUGINS_ALLOWED` narrows it.
"""

from __future__ import annotations

import difflib
import importlib.util
import logging
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pluggy

from crmgate import hookspecs
from crmgate.errors import Code, ConfigError, OutcomeUnknown, PluginError, ProviderError, Rejected, Unsupported
from crmgate.listener import Listener
from crmgate.mapping import CUSTOM_PREFIX, mappable
from crmgate.model import Check, Connection, CrmField, Delivered, Kind, Operation, Provision
from crmgate.provider import CRMProvider, time_budget

log = logging.getLogger(__name__)
T = TypeVar("T")

ENTRY_POINT_GROUP = "crmgate.plugins"
MODULE_PREFIX = "crmgate_plugin_"
REQUIRED_HOOKS = ("create_lead", "create_minimal_lead", "find_lead", "test_connection")
PROVIDER_HOOKS = {*Kind, *REQUIRED_HOOKS, "describe_fields", "provision"}


@dataclass
class Plugins:
    """What was found: provider classes by name, the files they came from, and the files set aside with the reason.

    `listeners` are the classes of listeners by file and name; listeners without a class are in the manager already.
    """

    manager: pluggy.PluginManager
    providers: dict[str, type[CRMProvider]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    listeners: dict[str, type[Listener]] = field(default_factory=dict)
    quarantined: list[PluginError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What else explains that a plugin is not there: no such folder, a file that `PLUGINS_ALLOWED` leaves out."""

    def choose(
        self, name: str, environ: Mapping[str, str], timeout: float, http_hosts: tuple[str, ...], **policies: str
    ) -> Crm:
        """The provider `name`, configured from `environ`. Raises `ConfigError` if there is none or it cannot start.

        `policies` are `on_duplicate` and `on_rejected_field` of `CRMProvider`.
        """
        if name not in self.providers:
            raise ConfigError([self._not_found(name)])
        return Crm(self.manager, _start(self.providers[name], environ, timeout, http_hosts, policies))

    def listen(self, environ: Mapping[str, str], http_hosts: tuple[str, ...]) -> None:
        """Start the listeners that are classes. Raises `ConfigError` with the problems of all; then none is started."""
        started, problems = dict[str, Listener](), list[str]()
        for name, listener in self.listeners.items():
            try:
                started[name] = listener(environ, http_hosts=http_hosts)
            except ConfigError as error:
                problems += error.problems
            except Exception as error:
                problems.append(f"{name}: the listener failed to start: {_where(error, listener.__module__)}.")
        if problems:
            raise ConfigError(problems)
        for name, made in started.items():
            self.manager.register(made, name=name)

    def _not_found(self, name: str) -> str:
        found = ", ".join(sorted(self.providers)) or "none"
        told = [f"CRM_PROVIDER, got {name!r}: there is no such plugin. Found: {found}."]
        broken = [error for error in self.quarantined if name in (Path(error.file).stem, error.file.split()[-1])]
        if broken:
            told.append(f"Its file cannot be used: {broken[0]}")
        elif self.quarantined:
            told.append(f"Set aside as unusable: {', '.join(error.file for error in self.quarantined)}.")
        return " ".join(told + self.notes)


def _start(
    chosen: type[CRMProvider], environ: Mapping[str, str], timeout: float, http_hosts: tuple[str, ...],
    policies: Mapping[str, str],
) -> CRMProvider:  # fmt: skip
    try:
        return chosen(environ, timeout=timeout, http_hosts=http_hosts, **policies)
    except ConfigError:
        raise
    except Exception as error:
        # The text of an unforeseen exception may hold a setting: only its type and place are told.
        problem = f"CRM_PROVIDER, got {chosen.name!r}: the plugin failed to start: {_where(error, chosen.__module__)}."
    raise ConfigError([problem])


def discover(folder: Path, allowed: tuple[str, ...] = ()) -> Plugins:
    """Load every plugin file of `folder` and every entry point. A broken one is set aside, never in the way."""
    plugins = Plugins(_manager())
    for source in [*_files(plugins, folder, allowed), *_entry_points()]:
        before = sys.modules.get(source.module)
        try:
            _admit(plugins, source.where, source.load())
        except PluginError as error:
            plugins.quarantined.append(error)
            _forget(source.module, before)
            log.warning("plugin set aside: %s", error)
    return plugins


def _forget(name: str, before: ModuleType | None) -> None:
    """Take a module out of `sys.modules`, unless it was somebody else's before."""
    if before is None:
        sys.modules.pop(name, None)
    else:
        sys.modules[name] = before


def _manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


HOOKS = tuple(sorted(name for name in vars(_manager().hook) if not name.startswith("_")))


@dataclass(frozen=True)
class _Source:
    where: str
    module: str
    load: Callable[[], ModuleType]


def _files(plugins: Plugins, folder: Path, allowed: tuple[str, ...]) -> Iterator[_Source]:
    if not folder.is_dir():
        plugins.notes.append(f"PLUGINS_DIR, got {str(folder)!r}: there is no such folder.")
    paths = [path for path in sorted(folder.glob("*.py")) if not path.name.startswith(("_", "."))]
    for path in paths:
        if not allowed or path.stem in allowed:
            yield _Source(str(path), MODULE_PREFIX + path.stem, partial(_load_file, path))
        else:
            plugins.notes.append(f"PLUGINS_ALLOWED leaves out {path.name}.")
    for name in sorted(set(allowed) - {path.stem for path in paths}):
        plugins.notes.append(f"PLUGINS_ALLOWED names {name!r}, of which there is no file.")


def _entry_points() -> Iterator[_Source]:
    for entry in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name):
        yield _Source(f"entry point {entry.name}", entry.module, partial(_load_entry_point, entry))


def _load_file(path: Path) -> ModuleType:
    """Import a file under a name of its own."""
    name = MODULE_PREFIX + path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
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
            return PluginError(where, f"line {error.lineno}: {error.msg}.", "Correct the syntax.")
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
        _manager().register(plugin)
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


class Crm:
    """Calls the hooks of one provider, inside a time budget, with every error turned into a `ProviderError`.

    `manager` gets the provider as a listener, in place of an earlier one of that name.
    """

    def __init__(self, manager: pluggy.PluginManager, provider: CRMProvider) -> None:
        self.name = provider.name
        self.label = provider.label or provider.name
        self._provider = provider
        alone = _manager()  # with no other plugin in it, now or later, there is nobody else to be called
        alone.register(provider)
        self._hooks = alone.hook
        listener = f"provider:{provider.name}"
        if manager.has_plugin(listener):
            manager.unregister(name=listener)
        manager.register(provider, name=listener)

    @property
    def credentials(self) -> str:
        """A fingerprint of the settings, from which they cannot be told: it changes when they do."""
        return self._provider.fingerprint()

    def deliver(self, operation: Operation, budget: float) -> Delivered:
        """Carry an operation out in the CRM within `budget` seconds. Raises `ProviderError`."""
        delivered = self._call(operation.kind, operation, budget)
        if not isinstance(delivered, Delivered):
            raise self._bug(f"{operation.kind} returned {type(delivered).__name__} instead of Delivered", operation.id)
        return delivered

    def find(self, operation: Operation, budget: float) -> Delivered | None:
        """The record that an earlier attempt left in the CRM, or None. Raises `ProviderError`."""
        found = self._call("find_lead", operation, budget)
        if found is not None and not isinstance(found, Delivered):
            raise self._bug(f"find_lead returned {type(found).__name__} instead of Delivered or None", operation.id)
        return found

    def test_connection(self, budget: float) -> Connection:
        """The provider's own connection test. What goes wrong with it is a check that failed; nothing is raised."""
        try:
            with time_budget(budget):
                result = self._hooks.test_connection()
        except ProviderError as error:
            return self._failed_test(str(error))
        except Exception as error:
            return self._failed_test(_where(error, type(self._provider).__module__))
        if not isinstance(result, Connection):
            return self._failed_test(f"test_connection returned {type(result).__name__} instead of Connection")
        checks = tuple(replace(check, detail=self._provider.redact(check.detail)) for check in result.checks)
        return replace(result, checks=checks)

    def describe_fields(self, budget: float) -> tuple[CrmField, ...]:
        """The mapping beside what the CRM has. Raises `ProviderError`; `Unsupported` where the plugin cannot tell."""
        described: tuple[CrmField, ...] = self._ask("describe_fields", budget)
        return described

    def provision(self, budget: float, *, apply: bool) -> Provision:
        """What setting the CRM up takes; with `apply` it is done. Raises `ProviderError` and `ConfigError`."""
        provision: Provision = self._ask("provision", budget, apply=apply)
        return provision

    def _ask(self, hook: str, budget: float, **arguments: Any) -> Any:
        """Call a hook that is about no operation. Raises `ProviderError` and `ConfigError`."""
        if not getattr(self._hooks, hook).get_hookimpls():
            raise Unsupported(f"the plugin has no {hook}", provider=self.name)
        try:
            with time_budget(budget):
                return getattr(self._hooks, hook)(**arguments)
        except ProviderError as error:
            failure: ProviderError = self._own(error, "")
        except ConfigError:
            raise
        except Exception as error:
            failure = self._bug(_where(error, type(self._provider).__module__), "")
        raise failure

    def _failed_test(self, detail: str) -> Connection:
        check = Check("connection", ok=False, detail=self._provider.redact(detail))
        return Connection(self.name, connected=False, latency_ms=0.0, checks=(check,))

    def _call(self, hook: str, operation: Operation, budget: float) -> Any:
        if hook not in HOOKS or not getattr(self._hooks, hook).get_hookimpls():
            raise Unsupported(f"{hook} is not supported", provider=self.name, operation=operation.id)
        try:
            with time_budget(budget):
                return getattr(self._hooks, hook)(operation=operation, **_payload(hook, operation))
        except ProviderError as error:
            failure: ProviderError = self._own(error, operation.id)
        except Exception as error:
            # The exception's own text may hold what the visitor typed: only its type and place are told.
            failure = self._bug(_where(error, type(self._provider).__module__), operation.id)
        raise failure  # out here: an error raised while another is handled carries that one along

    def _own(self, error: ProviderError, operation: str) -> ProviderError:
        """A provider's error, signed, without secrets, and without the exception that made the provider raise it."""
        redact = self._provider.redact
        error.provider, error.operation = self.name, operation
        error.detail, error.vendor_code = redact(error.detail), redact(error.vendor_code)
        if isinstance(error, Rejected):
            error.fields = {name: redact(told) for name, told in error.fields.items()}
        error.__cause__ = error.__context__ = None
        return error

    def _bug(self, detail: str, operation: str) -> OutcomeUnknown:
        return OutcomeUnknown(detail, code=Code.PLUGIN_BUG, provider=self.name, operation=operation)


def _payload(hook: str, operation: Operation) -> dict[str, Any]:
    match hook:
        case Kind.CREATE_LEAD:
            return {"lead": operation.lead}
        case Kind.UPDATE_LEAD:
            return {"lead": operation.lead, "lead_id": operation.lead_id}
        case Kind.LOG_ACTIVITY:
            return {"activity": operation.activity, "lead_id": operation.lead_id}
        case Kind.CREATE_MINIMAL_LEAD:
            return {"activity": operation.activity}
    return {}


def _where(error: BaseException, module: str) -> str:
    """Type and place of an exception: the last line of `module` that it passed through, else where it was raised."""
    places = [(frame.f_globals.get("__name__"), frame.f_code.co_filename, line)
              for frame, line in traceback.walk_tb(error.__traceback__)]  # fmt: skip
    own = [place for place in places if place[0] == module]
    _, file, line = (own or places)[-1]
    return f"{type(error).__name__} in {Path(file).name}:{line}"


def notify(manager: pluggy.PluginManager, hook: str, **arguments: Any) -> None:
    """Call a listener hook on every plugin that has it; what one raises is logged and disturbs no other."""
    for listener in reversed(getattr(manager.hook, hook).get_hookimpls()):  # the order in which pluggy calls them
        try:
            listener.function(*(arguments[name] for name in listener.argnames))
        except Exception as error:
            where = _where(error, listener.function.__module__)
            log.error("listener %s of %s failed: %s", hook, listener.plugin_name, where)

"""Calls the hooks of one provider, and the hooks of all listeners. Isolates exceptions of plugins."""

from __future__ import annotations

import logging
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import pluggy

from crmgate import hookspecs
from crmgate.errors import AuthFailed, Code, ConfigError, OutcomeUnknown, ProviderError, Rejected, Unsupported
from crmgate.model import Check, Connection, CrmField, Delivered, Kind, Operation, Provision, Rate
from crmgate.plugin_kit.transport import time_budget
from crmgate.provider import CRMProvider

log = logging.getLogger(__name__)


def hook_manager() -> pluggy.PluginManager:
    """A plugin manager with the hook specifications and without plugins."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


HOOKS = tuple(sorted(name for name in vars(hook_manager().hook) if not name.startswith("_")))


class HookCaller:
    """Calls the hooks of one provider within a time budget. Converts every exception into a `ProviderError`.

    Registers the provider in `manager` as a listener; it replaces an earlier provider of the same name.
    """

    def __init__(self, manager: pluggy.PluginManager, provider: CRMProvider) -> None:
        self.name = provider.name
        self.label = provider.label or provider.name
        self._provider = provider
        alone = hook_manager()  # no other plugin is ever registered in it, so no other plugin is called
        alone.register(provider)
        self._hooks = alone.hook
        listener = f"provider:{provider.name}"
        if manager.has_plugin(listener):
            manager.unregister(name=listener)
        manager.register(provider, name=listener)

    @property
    def credentials(self) -> str:
        """Digest of the settings. It changes when a setting changes, and reveals none."""
        return self._provider.fingerprint()

    @property
    def rate(self) -> Rate | None:
        """Number of requests that the vendor allows; None: no limit."""
        return self._provider.rate

    def supports(self, kind: str) -> bool:
        """Whether the plugin implements operations of this kind."""
        return bool(getattr(self._hooks, kind).get_hookimpls())

    def used(self) -> int:
        """Number of requests that this thread sent since its previous call of `used`."""
        return self._provider.used()

    def deliver(self, operation: Operation, budget: float) -> Delivered:
        """Deliver an operation to the CRM within `budget` seconds. Raises `ProviderError`."""
        delivered = self._call(operation.kind, operation, budget)
        if not isinstance(delivered, Delivered):
            raise self._bug(f"{operation.kind} returned {type(delivered).__name__} instead of Delivered", operation.id)
        return delivered

    def find(self, operation: Operation, budget: float) -> Delivered | None:
        """Find the record of an earlier attempt within `budget` seconds; None: it left none. Raises `ProviderError`."""
        found = self._call("find_lead", operation, budget)
        if found is not None and not isinstance(found, Delivered):
            raise self._bug(f"find_lead returned {type(found).__name__} instead of Delivered or None", operation.id)
        return found

    def test_connection(self, budget: float) -> Connection:
        """Run the connection test within `budget` seconds. An exception becomes a failed check; nothing is raised."""
        try:
            with time_budget(budget):
                result = self._hooks.test_connection()
        except ProviderError as error:
            return replace(self._failed_test(str(error)), refused=isinstance(error, AuthFailed))
        except Exception as error:
            return self._failed_test(where(error, type(self._provider).__module__))
        if not isinstance(result, Connection):
            return self._failed_test(f"test_connection returned {type(result).__name__} instead of Connection")
        checks = tuple(replace(check, detail=self._provider.redact(check.detail)) for check in result.checks)
        return replace(result, checks=checks)

    def describe_fields(self, budget: float) -> tuple[CrmField, ...]:
        """Compare the mapping with the CRM. Raises `ProviderError`; `Unsupported` if the plugin has no such hook."""
        described: tuple[CrmField, ...] = self._ask("describe_fields", budget)
        return described

    def provision(self, budget: float, *, apply: bool) -> Provision:
        """List the steps of the setup; with `apply`, carry them out. Raises `ProviderError` and `ConfigError`."""
        provision: Provision = self._ask("provision", budget, apply=apply)
        return provision

    def _ask(self, hook: str, budget: float, **arguments: Any) -> Any:
        """Call a hook that has no operation. Raises `ProviderError` and `ConfigError`."""
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
            failure = self._bug(where(error, type(self._provider).__module__), "")
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
            # The text of the exception can contain what the visitor typed. The error has only its type and place.
            failure = self._bug(where(error, type(self._provider).__module__), operation.id)
        raise failure  # not inside `except`: its context would be the other exception

    def _own(self, error: ProviderError, operation: str) -> ProviderError:
        """The error of a provider with its name and the operation, but without secrets, cause and context."""
        redact = self._provider.redact
        error.provider, error.operation = self.name, operation
        error.detail, error.vendor_code = redact(error.detail), redact(error.vendor_code)
        if isinstance(error, Rejected):
            error.fields = {name: redact(reason) for name, reason in error.fields.items()}
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


def where(error: BaseException, module: str) -> str:
    """Type and place of an exception: the last line inside the package of `module` in its traceback.

    Without such a line, the place is where it was raised.
    """
    package = f"{module.partition('.')[0]}."
    places = [(frame.f_globals.get("__name__"), frame.f_code.co_filename, line)
              for frame, line in traceback.walk_tb(error.__traceback__)]  # fmt: skip
    own = [place for place in places if f"{place[0]}.".startswith(package)]
    _, name, line = (own or places)[-1]
    file = Path(name)
    shown = f"{file.parent.name}/{file.name}" if file.stem == "__init__" else file.name
    return f"{type(error).__name__} in {shown}:{line}"


def notify(manager: pluggy.PluginManager, hook: str, **arguments: Any) -> None:
    """Call a listener hook on every plugin that has it. Logs the exception of a listener and calls the next one."""
    for listener in reversed(getattr(manager.hook, hook).get_hookimpls()):  # the order in which pluggy calls them
        try:
            listener.function(*(arguments[name] for name in listener.argnames))
        except Exception as error:
            place = where(error, listener.function.__module__)
            log.error("listener %s of %s failed: %s", hook, listener.plugin_name, place)

"""Calls the hooks of the active provider and of all listeners. An error in one of them stays there."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, assert_never

import pluggy

from crmgate import hookspecs
from crmgate.errors import AuthFailed, Code, ConfigError, OutcomeUnknown, ProviderError, Rejected, Unsupported
from crmgate.model import Check, Connection, CrmField, Delivered, Kind, Operation, Provision, Rate
from crmgate.plugin_kit.transport import time_budget
from crmgate.provider import CRMProvider

log = logging.getLogger(__name__)


def hook_manager() -> pluggy.PluginManager:
    """A plugin manager that knows the hooks, with no plugin in it."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


_TOO_OLD = "a newer version of crmgate made this operation ({}): update this one, then release the dead letter"
HOOKS = tuple(sorted(name for name in vars(hook_manager().hook) if not name.startswith("_")))


class HookCaller:
    """Calls the hooks of one provider, inside a time budget, with every error turned into a `ProviderError`.

    `manager` gets the provider as a listener, in place of an earlier one of that name.
    """

    def __init__(self, manager: pluggy.PluginManager, provider: CRMProvider) -> None:
        self.name = provider.name
        self.label = provider.label or provider.name
        self._provider = provider
        alone = hook_manager()  # with no other plugin in it, now or later, there is nobody else to be called
        alone.register(provider)
        self._hooks = alone.hook
        listener = f"provider:{provider.name}"
        if manager.has_plugin(listener):
            manager.unregister(name=listener)
        manager.register(provider, name=listener)

    @property
    def credentials(self) -> str:
        """Digest of the settings: it changes when they do, and does not reveal them."""
        return self._provider.fingerprint()

    @property
    def rate(self) -> Rate | None:
        """How many requests the vendor allows."""
        return self._provider.rate

    def supports(self, kind: Kind) -> bool:
        """Whether the plugin can carry out an operation of this kind."""
        return bool(getattr(self._hooks, kind).get_hookimpls())

    def used(self) -> int:
        """Number of requests that this thread sent since its last call."""
        return self._provider.used()

    def deliver(self, operation: Operation, budget: float) -> Delivered:
        """Carry an operation out in the CRM within `budget` seconds. Raises `ProviderError`."""
        delivered = self._call(operation.kind, operation, budget, _payload)
        if not isinstance(delivered, Delivered):
            raise self._bug(f"{operation.kind} returned {type(delivered).__name__} instead of Delivered", operation.id)
        return delivered

    def find(self, operation: Operation, budget: float) -> Delivered | None:
        """The record that an earlier attempt left in the CRM, or None. Raises `ProviderError`."""
        found = self._call("find_lead", operation, budget, lambda _: {})
        if found is not None and not isinstance(found, Delivered):
            raise self._bug(f"find_lead returned {type(found).__name__} instead of Delivered or None", operation.id)
        return found

    def test_connection(self, budget: float) -> Connection:
        """Result of the provider's connection test. An error in it becomes a failed check; nothing is raised."""
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
        """The mapping beside the fields of the CRM. Raises `ProviderError`; `Unsupported` without such a hook."""
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
            failure = self._bug(where(error, type(self._provider).__module__), "")
        raise failure

    def _failed_test(self, detail: str) -> Connection:
        check = Check("connection", ok=False, detail=self._provider.redact(detail))
        return Connection(self.name, connected=False, latency_ms=0.0, checks=(check,))

    def _call(
        self, hook: str, operation: Operation, budget: float, payload: Callable[[Operation], dict[str, Any]]
    ) -> Any:
        if not operation.kind.known:
            raise Unsupported(_TOO_OLD.format(operation.kind), provider=self.name, operation=operation.id)
        if not getattr(self._hooks, hook).get_hookimpls():
            raise Unsupported(f"{hook} is not supported", provider=self.name, operation=operation.id)
        try:
            with time_budget(budget):
                return getattr(self._hooks, hook)(operation=operation, **payload(operation))
        except ProviderError as error:
            failure: ProviderError = self._own(error, operation.id)
        except Exception as error:
            # The exception's own text may hold what the visitor typed: only its type and place are reported.
            failure = self._bug(where(error, type(self._provider).__module__), operation.id)
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


def _payload(operation: Operation) -> dict[str, Any]:
    """The arguments of the hook that carries an operation out, beside the operation."""
    match operation.kind:
        case Kind.CREATE_LEAD:
            return {"lead": operation.lead}
        case Kind.UPDATE_LEAD:
            return {"lead": operation.lead, "lead_id": operation.lead_id}
        case Kind.LOG_ACTIVITY:
            return {"activity": operation.activity, "lead_id": operation.lead_id}
        case Kind.CREATE_MINIMAL_LEAD:
            return {"activity": operation.activity}
        case _:
            assert_never(operation.kind)


def where(error: BaseException, module: str) -> str:
    """Type and place of an exception: the last line of `module`, or of another file of its package, that it passed
    through, else where it was raised.
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
    """Call a listener hook on every plugin that has it; what one raises is logged and disturbs no other."""
    for listener in reversed(getattr(manager.hook, hook).get_hookimpls()):  # the order in which pluggy calls them
        try:
            listener.function(*(arguments[name] for name in listener.argnames))
        except Exception as error:
            place = where(error, listener.function.__module__)
            log.error("listener %s of %s failed: %s", hook, listener.plugin_name, place)

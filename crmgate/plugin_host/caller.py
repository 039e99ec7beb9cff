"""Calls the hooks of one provider. Whatever a hook raises or returns becomes a result or a `ProviderError`."""

from __future__ import annotations

import signal
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, assert_never

import pluggy

from crmgate import hookspecs
from crmgate.errors import AuthFailed, Code, ConfigError, OutcomeUnknown, ProviderError, Rejected, Unsupported
from crmgate.kinds import about_a_lead, traits
from crmgate.model import Check, Connection, CrmField, Delivered, Kind, Operation, Preview, Provision, Rate
from crmgate.plugin_host.output import caught
from crmgate.plugin_host.privacy import mask
from crmgate.plugin_kit.transport import time_budget
from crmgate.policy import DeliveryMode
from crmgate.provider import CRMProvider


def hook_manager() -> pluggy.PluginManager:
    """A plugin manager with the hook specifications and without plugins."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


_TOO_OLD = "a newer version of crmgate made this operation ({}): update this one, then release the dead letter"
WRITE_DELIVERED = "Write self.delivered(str(id)), with the id that the CRM confirmed."
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
    def provider(self) -> CRMProvider:
        """The provider itself, for its settings. Call its hooks with this class only."""
        return self._provider

    @property
    def credentials(self) -> str:
        """A digest of the settings: it changes when they do, and does not reveal them."""
        return self._provider.fingerprint()

    @property
    def delivery(self) -> DeliveryMode:
        """What a request of unknown outcome leads to."""
        return DeliveryMode(self._provider.delivery)

    @property
    def settle_seconds(self) -> float:
        """Seconds for which a request of unknown outcome may be stored late, or not be found yet."""
        return self._provider.settle_seconds

    @property
    def rate(self) -> Rate | None:
        """Number of requests that the vendor allows; None: no limit."""
        return self._provider.rate

    def supports(self, kind: Kind) -> bool:
        """Whether the plugin can carry out an operation of this kind."""
        return bool(getattr(self._hooks, kind).get_hookimpls())

    def fact_of(self, field: str) -> str:
        """The fact that the mapping sends as a field of the CRM; empty if none is mapped to it."""
        names = self._provider.field_map.names
        return next((fact for fact, name in names.items() if name == field), "")

    def used(self) -> int:
        """Number of requests that this thread sent since its previous call of `used`."""
        return self._provider.used()

    def deliver(self, operation: Operation, budget: float) -> Delivered:
        """Carry an operation out in the CRM within `budget` seconds. Raises `ProviderError`."""
        return self._delivered(operation.kind, self._call(operation.kind, operation, budget, _payload), operation.id)

    def find(self, operation: Operation, budget: float) -> Delivered | None:
        """The record that an earlier attempt left in the CRM, or None. Raises `ProviderError`."""
        found = self._call("find_lead", operation, budget, lambda _: {})
        return None if found is None else self._delivered("find_lead", found, operation.id)

    @property
    def leads_at_once(self) -> int:
        """Largest number of leads that the plugin creates together; 0: it creates one at a time."""
        return self._provider.leads_at_once if self._hooks.create_leads.get_hookimpls() else 0

    def create_leads(
        self, operations: Sequence[Operation], budget: float
    ) -> Mapping[str, Delivered | ProviderError | None]:
        """Create the leads of several operations within `budget` seconds; the outcome of each, by operation id.

        None: nothing was sent for this operation. Raises a `ProviderError` that applies to all of them.
        """
        leads = [(one.lead, one) for one in operations]
        found = self._call_for_many("create_leads", operations, budget, leads=leads)
        return {one.id: self._outcome("create_leads", found, one) for one in operations}

    def find_leads(self, operations: Sequence[Operation], budget: float) -> Mapping[str, Delivered]:
        """The records that earlier attempts left in the CRM, by operation id. Raises `ProviderError`."""
        found = self._call_for_many("find_leads", operations, budget, operations=operations)
        known = [one for one in operations if one.id in found]
        return {one.id: self._delivered("find_leads", found[one.id], one.id) for one in known}

    def _call_for_many(
        self, hook: str, about: Sequence[Operation], budget: float, **arguments: Any
    ) -> Mapping[str, Any]:
        try:
            with time_budget(budget), caught(self.name, hook):
                found = getattr(self._hooks, hook)(**arguments)
        except ProviderError as error:
            failure: ProviderError = error
            for operation in about:  # it may quote any of them
                failure = self._own(failure, operation)
            failure.operation = ""
        except BaseException as error:
            if ends_process(error):
                raise
            failure = self._bug(where(error, type(self._provider).__module__), "")
        else:
            if isinstance(found, Mapping):
                return found
            failure = self._bug(f"{hook} returned {type(found).__name__} instead of a mapping", "")
        raise failure

    def _outcome(self, hook: str, found: Mapping[str, Any], operation: Operation) -> Delivered | ProviderError | None:
        """The checked outcome of one operation. What is missing or wrong is an `OutcomeUnknown`."""
        if operation.id not in found:
            return self._bug(f"{hook} returned no outcome for this operation", operation.id)
        outcome = found[operation.id]
        if outcome is None:
            return None
        if isinstance(outcome, ProviderError):
            return self._own(outcome, operation)
        try:
            return self._delivered(hook, outcome, operation.id)
        except OutcomeUnknown as bug:
            return bug

    @property
    def finds_many(self) -> bool:
        """Whether the plugin looks many operations up at once."""
        return bool(self._hooks.find_many.get_hookimpls())

    def find_many(self, operations: Sequence[Operation], budget: float) -> Mapping[str, str]:
        """Ids of the records of those delivered operations that the CRM has, by the ids of the operations.

        Calls `find_lead` for one after the other if the plugin has no `find_many`. `budget` is in seconds, for all of
        them. Raises `ProviderError`.
        """
        deadline = time.monotonic() + budget
        if not self.finds_many:
            looked = ((one.id, self._find_delivered(one, deadline)) for one in operations)
            return {operation_id: found.record_id for operation_id, found in looked if found}
        found = self._ask("find_many", budget, operations=operations)
        if not isinstance(found, Mapping) or not found.keys() <= {one.id for one in operations}:
            raise self._bug("find_many returned something else than records of these operations", "")
        return found

    def _find_delivered(self, operation: Operation, deadline: float) -> Delivered | None:
        """The record of a delivered operation. If the person was known, the operation left its traces on a lead."""
        about = [operation]
        if operation.delivered and operation.delivered.adopted and not traits(operation.kind).needs_lead:
            lead = operation.delivered.record_id
            about += [replace(operation, kind=kind, lead_id=lead) for kind in about_a_lead()]
        found = (self.find(one, max(deadline - time.monotonic(), 0.0)) for one in about)
        return next(filter(None, found), None)

    def test_connection(self, budget: float) -> Connection:
        """Run the connection test within `budget` seconds. An exception becomes a failed check; nothing is raised."""
        try:
            with time_budget(budget), caught(self.name, "test_connection"):
                result = self._hooks.test_connection()
        except ProviderError as error:
            return replace(self._failed_test(str(error)), refused=isinstance(error, AuthFailed))
        except BaseException as error:
            if ends_process(error):
                raise
            return self._failed_test(where(error, type(self._provider).__module__))
        if not isinstance(result, Connection):
            return self._failed_test(f"test_connection returned {type(result).__name__} instead of Connection")
        checks = tuple(replace(check, detail=self._provider.redact(check.detail)) for check in result.checks)
        return replace(result, checks=checks)

    def describe_fields(self, budget: float) -> tuple[CrmField, ...]:
        """Compare the mapping with the CRM. Raises `ProviderError`; `Unsupported` if the plugin has no such hook."""
        described: tuple[CrmField, ...] = self._ask("describe_fields", budget)
        return tuple(replace(line, problem=self._provider.redact(line.problem)) for line in described)

    def preview(self, operation: Operation) -> Preview:
        """The request that would be sent for an operation now. The hook has no time for a request.

        Raises `ProviderError`; `Unsupported` if the plugin has no such hook.
        """
        shown: Preview = self._call("preview", operation, 0.0, lambda _: {})
        return shown

    def provision(self, budget: float, *, apply: bool) -> Provision:
        """List the steps of the setup; with `apply`, carry them out. Raises `ProviderError` and `ConfigError`."""
        provision: Provision = self._ask("provision", budget, apply=apply)
        steps = tuple(replace(step, what=self._provider.redact(step.what)) for step in provision.steps)
        return replace(provision, steps=steps)

    def _ask(self, hook: str, budget: float, **arguments: Any) -> Any:
        """Call a hook that has no operation. Raises `ProviderError` and `ConfigError`."""
        if not getattr(self._hooks, hook).get_hookimpls():
            raise Unsupported(f"the plugin has no {hook}", provider=self.name)
        try:
            with time_budget(budget), caught(self.name, hook):
                return getattr(self._hooks, hook)(**arguments)
        except ProviderError as error:
            failure: ProviderError = self._own(error)
        except ConfigError:
            raise
        except BaseException as error:
            if ends_process(error):
                raise
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
            with time_budget(budget), caught(self.name, hook):
                return getattr(self._hooks, hook)(operation=operation, **payload(operation))
        except ProviderError as error:
            failure: ProviderError = self._own(error, operation)
        except BaseException as error:
            if ends_process(error):
                raise
            # The exception's own text may hold what the visitor typed: only its type and place are kept.
            failure = self._bug(where(error, type(self._provider).__module__), operation.id)
        raise failure  # not inside `except`: its context would be the other exception

    def _own(self, error: ProviderError, operation: Operation | None = None) -> ProviderError:
        """An error of the provider with its name, without secrets, without its cause, and without personal data.

        The reason of a CRM may quote what the visitor typed: values of the operation are replaced by `…`.
        """
        payload = operation.payload if operation else {}

        def redact(text: str) -> str:
            return mask(self._provider.redact(text), payload)

        error.provider, error.operation = self.name, operation.id if operation else ""
        error.detail, error.vendor_code = redact(error.detail), redact(error.vendor_code)
        if isinstance(error, Rejected):
            error.fields = {name: redact(fault) for name, fault in error.fields.items()}
        error.__cause__ = error.__context__ = None
        return error

    def _delivered(self, hook: str, result: object, operation: str) -> Delivered:
        """The checked result of a hook. Raises `OutcomeUnknown` that names the hook and the fault."""
        if not isinstance(result, Delivered):
            wanted = "Delivered or None" if hook == "find_lead" else "Delivered"
            raise self._bug(f"{hook} returned {type(result).__name__} instead of {wanted}", operation)
        if fault := delivered_fault(result, self.name):
            raise self._bug(f"{hook} returned a Delivered whose {fault}. {WRITE_DELIVERED}", operation)
        return result

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


def delivered_fault(delivered: Delivered, provider: str) -> str:
    """Description of the first wrong field of `delivered`, a confirmation of `provider`; empty if all are right."""
    for name in ("provider", "record_id", "url"):
        value: object = getattr(delivered, name)
        if not isinstance(value, str):
            return f"{name} is of type {type(value).__name__} instead of str"
    if not delivered.record_id.strip():
        return "record_id is empty"
    return "" if delivered.provider == provider else f"provider is not {provider!r}"


def ends_process(error: BaseException) -> bool:
    """Whether `error`, caught around a plugin's code, is the end of the process and has to pass.

    Signals reach only the main thread: Ctrl-C is a `KeyboardInterrupt`, and a server's signal handler may exit. Every
    other `SystemExit`, and everything on another thread, is the plugin's own.
    """
    if isinstance(error, Exception) or threading.current_thread() is not threading.main_thread():
        return False
    return isinstance(error, KeyboardInterrupt) or _raised_by_signal_handler(error)


def _raised_by_signal_handler(error: BaseException) -> bool:
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    codes = {getattr(handler, "__code__", None) for handler in handlers}
    return any(frame.f_code in codes for frame, _ in traceback.walk_tb(error.__traceback__))


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

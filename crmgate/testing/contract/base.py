"""The author's description of a plugin and its CRM, and helpers that the checks share."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar, NoReturn, assert_never

import pluggy

from crmgate.errors import OutcomeUnknown
from crmgate.model import Activity, Delivered, Kind, Lead, Operation, new_id
from crmgate.plugin_host.caller import WRITE_DELIVERED, delivered_fault, hook_manager
from crmgate.plugin_host.loader import discover
from crmgate.policy import DeliveryMode
from crmgate.provider import CRMProvider, time_budget
from crmgate.testing.contract import samples
from crmgate.testing.contract.applies import leave_out, mode_of
from crmgate.testing.contract.text import HTML_TAG, contains, decoded, sent_texts
from crmgate.testing.transport import READ, FakeDestination, Request

BUDGET = 10.0
"""Time limit in seconds of a call that is expected to finish."""
GRACE = 0.8
"""Seconds by which a call may exceed its time limit: a busy machine must not fail a check."""
LEVELS = {"": logging.DEBUG, "urllib3": logging.WARNING}
"""Log levels during a call. crmgate silences urllib3 below WARNING because it logs addresses."""
FIND = "Let find_lead find the record by the operation id and return Delivered(..., adopted=True)."


@dataclass(frozen=True)
class CallResult:
    """Result of calling a hook: a value or an exception, the duration, the requests and the output."""

    hook: str
    operation: Operation
    result: Any
    error: Exception | None
    seconds: float
    requests: tuple[Request, ...]
    output: str
    """Text that was logged or printed."""
    provider: str

    def __str__(self) -> str:
        if self.error is None:
            return f"{self.hook} returned {type(self.result).__name__ if self.result is not None else 'None'}"
        return f"{self.hook} raised {type(self.error).__name__}"


class Contract:
    """Description of a plugin by its author. `plugin`, `fake` and `settings` are required; the rest has defaults."""

    plugin: ClassVar[Path | str | type[CRMProvider]]
    """The plugin's file or folder, or its provider class."""
    provider_name: ClassVar[str] = ""
    """Name of the provider to check, if the plugin has several."""
    patience: ClassVar[float] = 0.4
    """Time limit in seconds of a call if the CRM does not answer. It must suffice for the requests before a create."""
    body_confirms: ClassVar[bool] = True
    """Whether a confirmation needs data in the answer, such as the id of the record.

    False for a receiver whose successful status alone confirms: the checks of answers without data do not apply."""
    batches: ClassVar[bool] = True
    """Whether `create_leads` takes at least 4 leads with these settings. False: its checks do not apply."""
    unknown_lead_id: ClassVar[str] = "999999999"
    """Id of a lead that does not exist, in the format of the CRM's ids."""

    def fake(self) -> FakeDestination:
        """A new fake of the CRM, not started: a `FakeCRM`, or a `FakeDestination` for a transport without HTTP.

        Each check gets its own fake.
        """
        raise NotImplementedError("Give the contract a fake of your CRM: `def fake(self): return FakeAcme()`.")

    def fake_before_setup(self) -> FakeDestination:
        """A new fake of the CRM, not started, that lacks what `provision` creates. Default: that of `fake`.

        Without it the checks of `provision` see only that nothing is created twice.
        """
        return self.fake()

    def settings(self, fake: Any) -> Mapping[str, str]:
        """Settings with which the plugin reaches `fake`, by the names of the environment variables.

        Include an administrator's settings to check `provision`. Use secrets that no error contains by chance.
        """
        raise NotImplementedError("Give the settings that reach the fake: `return {'ACME_URL': fake.url, ...}`.")

    def bad_credentials(self, fake: Any) -> None:
        """Make the CRM refuse the plugin's credentials. Default: it answers 401."""
        fake.fail("answer", status=401, body="{}", content_type="application/json")

    def rate_limit(self, fake: Any) -> float | None:
        """Make the CRM limit the rate. Returns the seconds to wait that its answer has; None: it has none.

        Default: it answers 429 with `Retry-After: 7`.
        """
        fake.fail("answer", status=429, headers={"Retry-After": "7"})
        return 7.0

    def refusal(self, fake: Any) -> None:
        """Make the CRM refuse the value of a field of the full lead. Default: it answers a create with 422."""
        self.fail_writes(fake, "answer", status=422, body="{}", content_type="application/json")

    def refused_lead(self, fake: Any) -> Lead | None:
        """A lead that the CRM refuses, while it accepts the sample leads. Its check applies if it is overridden."""
        return None

    def is_write(self, request: Request) -> bool:
        """Whether a request changes something in the CRM. Default: every method except GET, HEAD and OPTIONS.

        A request of a `FakeDestination` says itself whether it `reads`. Override it for a CRM that reads with POST, or
        that requires a login request.
        """
        return request.method not in ("GET", "HEAD", "OPTIONS", READ)

    def idempotency_key(self, request: Request) -> str:
        """The key by which the receiver recognizes a repetition, for a plugin with `delivery = "idempotent"`.

        Default: the header `Idempotency-Key`, or `webhook-id` of Standard Webhooks.
        """
        return request.header("Idempotency-Key") or request.header("webhook-id")

    def final_writes(self, requests: tuple[Request, ...]) -> list[Request]:
        """The writes whose content the CRM has after a delivery with refused attempts. Default: the last write.

        Override it for a CRM in which a submission becomes several records.
        """
        return self.writes(requests)[-1:]

    def adapted(self, lead: Lead) -> Lead:
        """A sample lead, changed to values that this CRM accepts (`dataclasses.replace`). Default: unchanged."""
        return lead

    def sent_text(self, request: Request) -> str:
        """All decoded text of a request. The default reads the address, JSON, forms and any other text."""
        return decoded(request)

    def html_texts(self, request: Request) -> Iterable[str]:
        """The texts of a request that the CRM shows as HTML. Default: those with a tag of HTML, such as `<br>`.

        Override it for a CRM that reads a field as HTML although the plugin writes no tags.
        """
        return [text for text in sent_texts(request) if HTML_TAG.search(text)]

    def arrived(self, value: str, sent: str) -> bool:
        """Whether the text `sent` contains a value of a lead. The default compares words, and the digits of phones."""
        return contains(sent, value)

    def stored(self, fake: FakeDestination, text: str) -> int:
        """Number of records of the CRM that contain `text`. The default searches `fake.records()`."""
        everything = (record for records in fake.records().values() for record in records)
        return sum(text in json.dumps(record, ensure_ascii=False, default=str) for record in everything)

    def __init_subclass__(cls, **options: Any) -> None:
        """Leave out the checks that do not apply. Those of a plugin that cannot be loaded remain, and say why."""
        super().__init_subclass__(**options)
        leave_out(cls)

    # Helpers of the checks; own checks may use them.

    crm: FakeDestination
    """The running fake of this check."""

    def setup_method(self) -> None:
        """Start the fake (called by pytest before each check)."""
        self._start(self.fake())

    def _start(self, fake: FakeDestination) -> None:
        self._open = contextlib.ExitStack()
        self.crm = self._open.enter_context(fake)
        self._environ = dict(self.settings(self.crm))  # now: a check may change the fake before it creates the provider

    def teardown_method(self) -> None:
        """Stop the fake (called by pytest after each check)."""
        self._open.close()
        if self.crm.mistakes:
            fail(f"{self.crm.mistakes[0]} Correct the fake: the plugin saw only that the connection was cut.")

    @classmethod
    def provider_class(cls) -> type[CRMProvider]:
        """The provider class to check."""
        plugin = getattr(cls, "plugin", None)
        if isinstance(plugin, type):
            return plugin
        if not isinstance(plugin, Path | str):
            fail("The class of the contract has no `plugin`. Set it there to the plugin's file, folder or class.")
        providers = _providers(Path(plugin).resolve())
        if cls.provider_name in providers:
            return providers[cls.provider_name]
        if cls.provider_name or len(providers) != 1:
            fail(f"{cls.plugin} has the providers {sorted(providers)}. Set `provider_name` to one of them.")
        return next(iter(providers.values()))

    @cached_property
    def provider(self) -> CRMProvider:
        """The provider, configured for the fake."""
        return self.provider_class()(self._environ, timeout=BUDGET)

    def restart(self, fake: FakeDestination | None = None, **policies: Any) -> None:
        """Begin again with a new fake, and with a provider that has these policies, such as `on_duplicate`."""
        self.teardown_method()
        self._start(fake or self.fake())
        vars(self).pop("hooks", None)
        vars(self)["provider"] = self.provider_class()(self._environ, timeout=BUDGET, **policies)

    @cached_property
    def hooks(self) -> pluggy.HookRelay:
        """The provider's hooks, called as crmgate calls them. Exceptions are not converted."""
        manager = hook_manager()
        manager.register(self.provider)
        return manager.hook

    def implements(self, hook: str) -> bool:
        """Whether the provider implements a hook."""
        return bool(getattr(self.hooks, hook).get_hookimpls())

    @property
    def mode(self) -> DeliveryMode:
        """What crmgate does after an unknown outcome. `test_delivery_is_a_mode` reports a wrong one."""
        return mode_of(self.provider)

    def finds(self, budget: float = BUDGET) -> list[CallResult]:
        """The result of `find_lead` for an operation that was never sent; nothing for a plugin without a search."""
        return [self.find(budget=budget)] if self.mode.searched else []

    @property
    def silence(self) -> float:
        """Seconds for which a silent CRM does not answer: longer than the time limit, so that a missing limit shows."""
        return self.patience + 2 * GRACE

    def fail_writes(self, fake: FakeDestination, kind: Any, **options: Any) -> None:
        """Add a fault (see `Fault`) that applies only to requests that change something in the CRM."""
        with fake.lock:
            fake.faults.append(samples.WriteFault(kind, writes=self.is_write, **options))

    def writes(self, requests: tuple[Request, ...]) -> list[Request]:
        """The requests that change something in the CRM."""
        return [request for request in requests if self.is_write(request)]

    def full_lead(self) -> Lead:
        """The sample lead with a value for every fact."""
        return self.adapted(copy.deepcopy(samples.FULL))  # a copy, because a plugin may change it

    def create(
        self, lead: Lead | None = None, operation: Operation | None = None, budget: float = BUDGET
    ) -> CallResult:
        """Create a lead; the full one by default."""
        return self.deliver(operation or made(Kind.CREATE_LEAD, lead or self.full_lead()), budget, lead)

    def click(self, operation: Operation | None = None, budget: float = BUDGET) -> CallResult:
        """Create the lead of a messenger click."""
        return self.deliver(operation or made(Kind.CREATE_MINIMAL_LEAD, copy.deepcopy(samples.CLICK)), budget)

    def creates(self, budget: float = BUDGET) -> Iterator[CallResult]:
        """Create a lead and a minimal lead, one after the other."""
        yield self.create(budget=budget)
        yield self.click(budget=budget)

    def find(self, operation: Operation | None = None, budget: float = BUDGET) -> CallResult:
        """Call `find_lead` for an operation; default: one that was never sent."""
        return self.call("find_lead", operation or made(Kind.CREATE_LEAD, self.full_lead()), budget)

    def update(self, lead_id: str, lead: Lead, operation: Operation | None = None) -> CallResult:
        """Update a lead."""
        return self.deliver(operation or made(Kind.UPDATE_LEAD, lead, lead_id, self.provider.name), data=lead)

    def log(self, lead_id: str, activity: Activity, operation: Operation | None = None) -> CallResult:
        """Log an activity on a lead."""
        return self.deliver(operation or made(Kind.LOG_ACTIVITY, activity, lead_id, self.provider.name), data=activity)

    def deliver(
        self, operation: Operation, budget: float = BUDGET, data: Lead | Activity | None = None
    ) -> CallResult:  # fmt: skip
        """Call the hook that carries an operation out. `data` is its payload as an object, made from it by default."""
        lead = data if isinstance(data, Lead) else operation.lead
        activity = data if isinstance(data, Activity) else operation.activity
        match kind := operation.kind:
            case Kind.CREATE_LEAD:
                return self.call(kind, operation, budget, lead=lead)
            case Kind.UPDATE_LEAD:
                return self.call(kind, operation, budget, lead=lead, lead_id=operation.lead_id)
            case Kind.CREATE_MINIMAL_LEAD:
                return self.call(kind, operation, budget, activity=activity)
            case Kind.LOG_ACTIVITY:
                return self.call(kind, operation, budget, activity=activity, lead_id=operation.lead_id)
            case _:
                assert_never(kind)

    def retried(self, operation: Operation, send: Callable[[Operation], CallResult]) -> CallResult:
        """Send an operation as crmgate does: after an unknown outcome call `find_lead`; retry if it returns None.

        An idempotent receiver gets it again without a look-up, and one that takes it at most once does not.
        """
        first = send(operation)
        if not isinstance(first.error, OutcomeUnknown) or not self.mode.repeatable:
            return first
        if not self.mode.searched:
            return send(operation)
        found = self.find(operation)
        expect(found.error is None, f"{found}{reason(found)}, but the CRM works again. {FIND}")
        return found if found.result is not None else send(operation)

    def created_id(self, lead: Lead | None = None) -> str:
        """Id of a new lead."""
        return delivered(self.create(lead)).record_id

    def call(self, hook: str, operation: Operation, budget: float = BUDGET, **arguments: Any) -> CallResult:
        """Call a hook that has an operation and return the result."""
        return self.ask(hook, budget, operation, operation=operation, **arguments)

    def ask(self, hook: str, budget: float = BUDGET, about: Operation | None = None, **arguments: Any) -> CallResult:
        """Call a hook and return the result; nothing is raised."""
        hooks, result, error = self.hooks, None, None
        seen, begun = len(self.crm.requests), time.monotonic()
        with _captured_output() as output:
            try:
                with time_budget(budget):
                    result = getattr(hooks, hook)(**arguments)
            except Exception as raised:
                error = raised
        seconds = time.monotonic() - begun
        operation = about or made(Kind.CREATE_LEAD, Lead())
        requests, name = tuple(self.crm.requests[seen:]), self.provider.name
        return CallResult(hook, operation, result, error, seconds, requests, output.getvalue(), name)


def made(kind: Kind, data: Lead | Activity, lead_id: str = "", provider: str = "") -> Operation:
    """A new operation."""
    return Operation(new_id(), kind, data.to_dict(), time.time(), lead_id=lead_id, provider=provider)


def delivered(outcome: CallResult) -> Delivered:
    """The result of a call that must succeed."""
    if not isinstance(outcome.result, Delivered):
        fail(f"{outcome}{reason(outcome)}, but the CRM works. Return the Delivered that the CRM confirmed.")
    if fault := delivered_fault(outcome.result, outcome.provider):
        fail(f"{outcome.hook} returned a Delivered whose {fault}. {WRITE_DELIVERED}")
    return outcome.result


def expect(condition: object, message: str) -> None:
    """Fail the check with `message` if the condition is false. The message says what the plugin has to do."""
    __tracebackhide__ = True
    if not condition:
        fail(message)


def fail(message: str) -> NoReturn:
    """Fail the check. An AssertionError, so that the kit does not import pytest."""
    __tracebackhide__ = True
    raise AssertionError(message)


def reason(outcome: CallResult) -> str:
    """Text of an unexpected exception in parentheses; empty without one."""
    return f" ({outcome.error})" if outcome.error is not None and str(outcome.error) else ""


@lru_cache(maxsize=32)
def _providers(file: Path) -> dict[str, type[CRMProvider]]:
    """Provider classes of a plugin, loaded as crmgate loads it."""
    found = discover(file.parent, (file.stem,))
    for problem in found.quarantined:
        if problem.file == str(file):
            raise problem
    return {name: found.providers[name] for name, where in found.files.items() if where == str(file)}


@contextlib.contextmanager
def _captured_output() -> Iterator[io.StringIO]:
    """Capture everything that is logged, at any level, or printed."""
    output = io.StringIO()
    handler, root = logging.StreamHandler(output), logging.getLogger()
    before = {name: logging.getLogger(name).level for name in LEVELS}
    root.addHandler(handler)
    _set_levels(LEVELS)
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            yield output
    finally:
        _set_levels(before)
        root.removeHandler(handler)


def _set_levels(levels: Mapping[str, int]) -> None:
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)

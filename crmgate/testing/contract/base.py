"""What an author tells the contract about a plugin and its CRM, and the tools that the checks share."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import time
import unittest
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar, NoReturn, assert_never

import pluggy

from crmgate import hookspecs
from crmgate.errors import OutcomeUnknown
from crmgate.model import Activity, Delivered, Kind, Lead, Operation, new_id
from crmgate.plugin_host.loader import discover
from crmgate.provider import CRMProvider, time_budget
from crmgate.testing.contract import samples
from crmgate.testing.contract.text import contains, decoded
from crmgate.testing.server import FakeCRM, Request

BUDGET = 10.0
"""Seconds for a call that is not to run into its time limit."""
GRACE = 0.8
"""Seconds that a call may take longer than it should: a busy machine is no breach of contract."""
LEVELS = {"": logging.DEBUG, "urllib3": logging.WARNING}
"""A plugin's log is read whole; urllib3 tells addresses, and crmgate silences it."""
FIND = "find_lead has to find the record by the operation id and return it as Delivered(..., adopted=True)."


@dataclass(frozen=True)
class CallResult:
    """What came of calling a hook: a result or an exception, how long it took, what arrived meanwhile and was told."""

    hook: str
    operation: Operation
    result: Any
    error: Exception | None
    seconds: float
    requests: tuple[Request, ...]
    told: str
    """Whatever was logged or printed."""

    def __str__(self) -> str:
        if self.error is None:
            shown = type(self.result).__name__ if self.result is not None else "None"
            return f"{self.hook} returned {shown}"
        return f"{self.hook} raised {type(self.error).__name__}"


class Contract:
    """What an author tells about a plugin. `plugin`, `fake` and `settings` are needed; the rest has defaults."""

    plugin: ClassVar[Path | str | type[CRMProvider]]
    """The plugin's file or folder, or its provider class."""
    provider_name: ClassVar[str] = ""
    """Which provider of the file is meant, if it holds several."""
    patience: ClassVar[float] = 0.4
    """Seconds that a call gets when the CRM does not answer: enough for the requests that come before a create."""
    unknown_lead_id: ClassVar[str] = "999999999"
    """The id of a lead that the CRM does not have, in a form that it takes for an id."""

    def fake(self) -> FakeCRM:
        """A fake of the CRM, not started yet; each check gets one of its own."""
        raise NotImplementedError("Give the contract a fake of your CRM: `def fake(self): return FakeAcme()`.")

    def settings(self, fake: FakeCRM) -> Mapping[str, str]:
        """The settings with which the plugin reaches `fake`, by the names of the environment.

        With an administrator's settings among them, `provision` is checked too. Make the secrets longer than a word
        that could stand in an error by chance.
        """
        raise NotImplementedError("Give the settings that reach the fake: `return {'ACME_URL': fake.url, ...}`.")

    def bad_credentials(self, fake: FakeCRM) -> None:
        """Make the CRM refuse the plugin's credentials. Default: it answers 401."""
        fake.fail("answer", status=401, body="{}", content_type="application/json")

    def rate_limit(self, fake: FakeCRM) -> float | None:
        """Make the CRM say that there are too many requests; returns the seconds that it wants crmgate to wait.

        None when it does not tell. Default: it answers 429 with `Retry-After: 7`.
        """
        fake.fail("answer", status=429, headers={"Retry-After": "7"})
        return 7.0

    def refusal(self, fake: FakeCRM) -> None:
        """Make the CRM refuse the value of a field of the full lead. Default: it answers a create with 422."""
        self.fail_writes(fake, "answer", status=422, body="{}", content_type="application/json")

    def is_write(self, request: Request) -> bool:
        """Whether a request changes something in the CRM. Default: every method but GET and HEAD.

        Override it for a CRM that reads with POST, or where a login comes before the write.
        """
        return request.method not in ("GET", "HEAD")

    def adapted(self, lead: Lead) -> Lead:
        """A sample lead as this CRM can take it (`dataclasses.replace`). Default: as it is."""
        return lead

    def sent_text(self, request: Request) -> str:
        """All that a request says, decoded. The default reads JSON, forms and any other text, and the address."""
        return decoded(request)

    def arrived(self, value: str, told: str) -> bool:
        """Whether a value of a lead stands in what was sent. The default compares words, and of phones the digits."""
        return contains(told, value)

    def stored(self, fake: FakeCRM, text: str) -> int:
        """How many records of the CRM hold `text`. The default searches `fake.records()`."""
        everything = (record for records in fake.records().values() for record in records)
        return sum(text in json.dumps(record, ensure_ascii=False, default=str) for record in everything)

    # What the checks use; a check of your own may too.

    crm: FakeCRM
    """The fake of this check, running."""

    def setup_method(self) -> None:
        """Start the fake (called by pytest before each check)."""
        self._open = contextlib.ExitStack()
        self.crm = self._open.enter_context(self.fake())
        self._environ = dict(self.settings(self.crm))  # now: a check may change the fake before the provider is made

    def teardown_method(self) -> None:
        """Stop it."""
        self._open.close()

    def provider_class(self) -> type[CRMProvider]:
        """The provider class that is held against the contract."""
        if isinstance(self.plugin, type):
            return self.plugin
        providers = _providers(Path(self.plugin).resolve())
        if self.provider_name in providers:
            return providers[self.provider_name]
        if self.provider_name or len(providers) != 1:
            fail(f"{self.plugin} holds {sorted(providers)}. Say in `provider_name` which of them is meant.")
        return next(iter(providers.values()))

    @cached_property
    def provider(self) -> CRMProvider:
        """The provider, configured for the fake."""
        return self.provider_class()(self._environ, timeout=BUDGET)

    @cached_property
    def hooks(self) -> pluggy.HookRelay:
        """The provider's hooks, called as crmgate calls them; what they raise comes as it is."""
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        manager.register(self.provider)
        return manager.hook

    def implements(self, hook: str) -> bool:
        """Whether the provider has a hook."""
        return bool(getattr(self.hooks, hook).get_hookimpls())

    def needs(self, hook: str) -> None:
        """Skip the check for a provider without this optional hook."""
        if not self.implements(hook):
            raise unittest.SkipTest(f"the plugin has no {hook}")  # pytest knows it, and need not be imported

    @property
    def silence(self) -> float:
        """Seconds that a CRM which does not answer keeps silent: so a plugin without a time limit shows."""
        return self.patience + 2 * GRACE

    def fail_writes(self, fake: FakeCRM, kind: Any, **options: Any) -> None:
        """Add a fault (see `Fault`) that strikes only what changes something in the CRM."""
        with fake.lock:
            fake.faults.append(samples.WriteFault(kind, writes=self.is_write, **options))

    def writes(self, requests: tuple[Request, ...]) -> list[Request]:
        """Those requests that change something in the CRM."""
        return [request for request in requests if self.is_write(request)]

    def full_lead(self) -> Lead:
        """The lead with a value for everything."""
        return self.adapted(copy.deepcopy(samples.FULL))  # a copy: a plugin that changes it must not disturb others

    def create(
        self, lead: Lead | None = None, operation: Operation | None = None, budget: float = BUDGET
    ) -> CallResult:
        """Create a lead; the full one by default."""
        return self.deliver(operation or made(Kind.CREATE_LEAD, lead or self.full_lead()), budget, lead)

    def click(self, operation: Operation | None = None, budget: float = BUDGET) -> CallResult:
        """Create the lead of a messenger click."""
        return self.deliver(operation or made(Kind.CREATE_MINIMAL_LEAD, copy.deepcopy(samples.CLICK)), budget)

    def creates(self, budget: float = BUDGET) -> Iterator[CallResult]:
        """Both ways to make a lead, one after the other."""
        yield self.create(budget=budget)
        yield self.click(budget=budget)

    def find(self, operation: Operation | None = None, budget: float = BUDGET) -> CallResult:
        """Look up what an operation left in the CRM; by default one that was never sent."""
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
        """What crmgate does: send it and, if nobody knows what came of it, look in the CRM and send it again."""
        first = send(operation)
        if not isinstance(first.error, OutcomeUnknown):
            return first
        found = self.find(operation)
        expect(found.error is None, f"{found}{reason(found)}, but the CRM works again. {FIND}")
        return found if found.result is not None else send(operation)

    def created_id(self, lead: Lead | None = None) -> str:
        """The id of a lead that was just made."""
        return delivered(self.create(lead)).record_id

    def call(self, hook: str, operation: Operation, budget: float = BUDGET, **arguments: Any) -> CallResult:
        """Call a hook that is about an operation, and look at what came of it."""
        return self.ask(hook, budget, operation, operation=operation, **arguments)

    def ask(self, hook: str, budget: float = BUDGET, about: Operation | None = None, **arguments: Any) -> CallResult:
        """Call a hook and look at what came of it; nothing is raised."""
        hooks, result, error = self.hooks, None, None
        seen, begun = len(self.crm.requests), time.monotonic()
        with _told() as told:
            try:
                with time_budget(budget):
                    result = getattr(hooks, hook)(**arguments)
            except Exception as raised:
                error = raised
        seconds = time.monotonic() - begun
        operation = about or made(Kind.CREATE_LEAD, Lead())
        return CallResult(hook, operation, result, error, seconds, tuple(self.crm.requests[seen:]), told.getvalue())


def made(kind: Kind, data: Lead | Activity, lead_id: str = "", provider: str = "") -> Operation:
    """A new operation."""
    return Operation(new_id(), kind, data.to_dict(), time.time(), lead_id=lead_id, provider=provider)


def delivered(outcome: CallResult) -> Delivered:
    """The result of a call that has to succeed."""
    if not isinstance(outcome.result, Delivered):
        fail(f"{outcome}{reason(outcome)}, but the CRM works. It has to return the Delivered that the CRM confirmed.")
    return outcome.result


def expect(condition: object, message: str) -> None:
    """Fail the check with `message`, which says what the plugin has to do."""
    __tracebackhide__ = True
    if not condition:
        fail(message)


def fail(message: str) -> NoReturn:
    """Fail the check; plain, so that pytest need not be imported."""
    __tracebackhide__ = True
    raise AssertionError(message)


def reason(outcome: CallResult) -> str:
    """What an unexpected exception says, in parentheses; it may be a mistake in the plugin."""
    return f" ({outcome.error})" if outcome.error is not None and str(outcome.error) else ""


@lru_cache(maxsize=32)
def _providers(file: Path) -> dict[str, type[CRMProvider]]:
    """The provider classes of a plugin's file or folder, loaded as crmgate loads it."""
    found = discover(file.parent, (file.stem,))
    for problem in found.quarantined:
        if problem.file == str(file):
            raise problem
    return {name: found.providers[name] for name, where in found.files.items() if where == str(file)}


@contextlib.contextmanager
def _told() -> Iterator[io.StringIO]:
    """Whatever is logged, at any level, or printed meanwhile."""
    told = io.StringIO()
    handler, root = logging.StreamHandler(told), logging.getLogger()
    before = {name: logging.getLogger(name).level for name in LEVELS}
    root.addHandler(handler)
    _set_levels(LEVELS)
    try:
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            yield told
    finally:
        _set_levels(before)
        root.removeHandler(handler)


def _set_levels(levels: Mapping[str, int]) -> None:
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)

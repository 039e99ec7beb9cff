"""The steps of a trial: it calls the hooks of a plugin one after the other with test data, as the gateway would."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from crmgate.errors import (
    AuthFailed,
    Code,
    ConfigError,
    NotFound,
    ProviderError,
    RateLimited,
    Rejected,
    Unavailable,
    Unsupported,
)
from crmgate.kinds import traits
from crmgate.model import Delivered, Kind, Operation
from crmgate.plugin_host.caller import HookCaller
from crmgate.plugin_host.trial.data import TrialData
from crmgate.plugin_host.trial.exchanges import Exchange
from crmgate.plugin_kit.transport import observing, time_budget

T = TypeVar("T")
GRACE = 5.0
"""Seconds after the time budget of a hook, after which it counts as hanging."""
PATIENCE = 30
"""Minimum number of seconds for which a record is searched that the CRM does not show at once."""
DELETE = "delete_test_record"
"""Name of the optional method of a provider that deletes a record of a trial: `delete_test_record(record_id)`."""
_FIND = "Let find_lead search for operation.id, and let it return self.delivered(id, adopted=True)."


class _Failed(Exception):
    """A step failed: what happened and what to do."""

    def __init__(self, detail: str, remedy: str) -> None:
        self.detail, self.remedy = detail, remedy
        super().__init__(detail)


class _Hung(_Failed):
    """A hook does not end."""


class _Skipped(Exception):
    """The plugin cannot do this step."""


@dataclass(frozen=True)
class TrialStep:
    """Result of a step. `ok` is None if the step was skipped. `seconds` is its duration."""

    name: str
    hook: str
    ok: bool | None
    seconds: float
    detail: str
    remedy: str = ""
    exchanges: tuple[Exchange, ...] = ()


@dataclass(frozen=True)
class TrialRecord:
    """A record that the trial left in the CRM. `id` is empty if it is not known whether the record exists."""

    step: str
    id: str
    url: str
    tracking_code: str


@dataclass(frozen=True)
class _Plan:
    name: str
    hook: str
    run: Callable[[], str]
    vital: bool = False
    """Whether no later step can be run if this one fails."""


class Trial:
    """Runs the steps.

    `budget` is the time for the requests of one hook in seconds; a hook that takes `grace` seconds more hangs. `sleep`
    waits between two searches.
    """

    def __init__(
        self, caller: HookCaller, sample: TrialData, *, budget: float, grace: float = GRACE,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self._caller, self._sample = caller, sample
        self._budget, self._limit, self._sleep = budget, budget + grace, sleep
        self._delivered = dict[str, tuple[Operation, Delivered]]()
        self._unsure = list[TrialRecord]()
        self._deleted = set[str]()
        self._exchanges = list[Exchange]()

    @property
    def records(self) -> list[TrialRecord]:
        """The records that are in the CRM, or can be, and that the clean-up has not deleted."""
        made = [self._record(step) for step in ("create", "minimal") if step in self._delivered]
        return [one for one in made if one.id not in self._deleted] + self._unsure

    def _record(self, step: str) -> TrialRecord:
        operation, delivered = self._delivered[step]
        return TrialRecord(step, delivered.record_id, delivered.url, operation.tracking_code)

    def plan(self) -> list[str]:
        """The names of the steps."""
        return [one.name for one in self._plans()]

    def run(self) -> Iterator[TrialStep]:
        """Run the steps, and yield the result of each. A hook that hangs is the last step."""
        stopped = ""
        for plan in self._plans():
            if stopped and plan.name != "clean-up":
                yield TrialStep(plan.name, plan.hook, None, 0.0, f"not run, because {stopped} failed")
                continue
            step, hung = self._step(plan)
            yield step
            if hung:
                return
            if step.ok is False and plan.vital:
                stopped = plan.name

    def _step(self, plan: _Plan) -> tuple[TrialStep, bool]:
        self._exchanges = []
        begun, hung, remedy = time.monotonic(), False, ""
        ok: bool | None = True
        try:
            detail = plan.run()
        except _Skipped as skipped:
            ok, detail = None, str(skipped)
        except _Failed as failed:
            ok, detail, remedy, hung = False, failed.detail, failed.remedy, isinstance(failed, _Hung)
        except Unsupported as error:
            ok, detail = False if plan.hook == Kind.CREATE_LEAD else None, error.detail
        except ConfigError as error:
            ok, detail, remedy = False, "; ".join(error.problems), "Correct the settings."
        except ProviderError as error:
            ok, detail, remedy = False, str(error), _remedy(error, plan.hook)
        seconds = time.monotonic() - begun
        return TrialStep(plan.name, plan.hook, ok, seconds, detail, remedy, tuple(self._exchanges)), hung

    def _plans(self) -> list[_Plan]:
        return [
            _Plan("connection", "test_connection", self._connection, vital=True),
            _Plan("fields", "describe_fields", self._fields),
            _Plan("search", "find_lead", self._absent, vital=True),
            _Plan("create", Kind.CREATE_LEAD, self._create, vital=True),
            _Plan("find", "find_lead", partial(self._find, "create")),
            _Plan("update", Kind.UPDATE_LEAD, self._update),
            _Plan("note", Kind.LOG_ACTIVITY, self._note),
            _Plan("find note", "find_lead", partial(self._find, "note")),
            _Plan("minimal", Kind.CREATE_MINIMAL_LEAD, self._minimal),
            _Plan("find minimal", "find_lead", partial(self._find, "minimal")),
            _Plan("find many", "find_many", self._find_many),
            _Plan("clean-up", DELETE, self._clean_up),
        ]

    # The steps: each returns what it found, or raises.

    def _connection(self) -> str:
        connection = self._call("test_connection", lambda: self._caller.test_connection(self._budget))
        wrong = [f"{check.name}: {check.detail or 'failed'}" for check in connection.checks if not check.ok]
        if not connection.connected:
            raise _Failed("not connected. " + "; ".join(wrong), "Correct what the check names, mostly address or key.")
        return f"connected in {connection.latency_ms:.0f} ms" + (f"; but {'; '.join(wrong)}" if wrong else "")

    def _fields(self) -> str:
        lines = self._call("describe_fields", lambda: self._caller.describe_fields(self._budget))
        wrong = [f"{line.fact or line.name}: {line.problem}" for line in lines if line.problem]
        if wrong:
            setting = f"{self._caller.name.upper()}_MAP_<FACT>"
            raise _Failed("; ".join(wrong), f"Create the fields in the CRM, or map the facts to others with {setting}.")
        return f"all {len(lines)} fields exist"

    def _absent(self) -> str:
        operation = self._sample.operation("absent", Kind.CREATE_LEAD, self._sample.lead())
        if found := self._search(operation):
            raise _Failed(f"find_lead found {found.record_id} for an operation that was never sent", _FIND)
        return "nothing is found for an operation that was never sent"

    def _create(self) -> str:
        return self._send("create", self._sample.operation("create", Kind.CREATE_LEAD, self._sample.lead()))

    def _update(self) -> str:
        operation = self._sample.operation("update", Kind.UPDATE_LEAD, self._sample.changed(), *self._lead())
        return self._send("update", operation)

    def _note(self) -> str:
        operation = self._sample.operation("note", Kind.LOG_ACTIVITY, self._sample.activity(), *self._lead())
        return self._send("note", operation)

    def _minimal(self) -> str:
        operation = self._sample.operation("minimal", Kind.CREATE_MINIMAL_LEAD, self._sample.activity())
        return self._send("minimal", operation)

    def _find(self, step: str) -> str:
        if step not in self._delivered:
            raise _Skipped(f"there is nothing to find, because {step} was not delivered")
        operation, delivered = self._delivered[step]
        found, waited = self._until(partial(self._search, operation), lambda found: found is not None)
        if found is None:
            raise _Failed(f"find_lead does not find {delivered.record_id} after {waited} s", _FIND)
        if found.record_id != delivered.record_id:
            raise _Failed(f"find_lead found {found.record_id} instead of {delivered.record_id}", _FIND)
        return self._settled(found.record_id, waited)

    def _find_many(self) -> str:
        if not self._caller.finds_many:
            raise _Skipped("find_many is not supported")
        made = [replace(operation, payload={}, delivered=one) for operation, one in self._delivered.values()]
        wanted = {one.id: one.delivered.record_id for one in made if one.delivered}
        found, waited = self._until(partial(self._search_many, made), lambda found: found == wanted)
        if found != wanted:
            lacking = ", ".join(step for step, (one, _) in self._delivered.items() if one.id not in found)
            remedy = "Let find_many return the id of the record by the id of the operation, for each kind of operation."
            raise _Failed(f"find_many lacks {lacking}" if lacking else "find_many returned other records", remedy)
        return self._settled(f"{len(found)} operations", waited)

    def _clean_up(self) -> str:
        delete = getattr(self._caller.provider, DELETE, None)
        if delete is None:
            raise _Skipped(f"the plugin has no {DELETE}: delete the records by hand")
        for record_id in dict.fromkeys(one.id for one in self.records if one.id):
            self._call(DELETE, partial(self._delete, delete, record_id))
            self._deleted.add(record_id)
        return f"{len(self._deleted)} records deleted"

    # Parts of the steps.

    def _search(self, operation: Operation) -> Delivered | None:
        return self._call("find_lead", lambda: self._caller.find(operation, self._budget))

    def _search_many(self, operations: Sequence[Operation]) -> dict[str, str]:
        return dict(self._call("find_many", lambda: self._caller.find_many(operations, self._budget)))

    def _send(self, step: str, operation: Operation) -> str:
        if traits(operation.kind).needs_lead and not operation.lead_id:
            raise _Skipped("there is no lead, because create was not delivered")
        perhaps = TrialRecord(step, "", "", operation.tracking_code)
        self._unsure.append(perhaps)
        try:
            made = self._call(operation.kind, lambda: self._caller.deliver(operation, self._budget))
        except (Rejected, AuthFailed, RateLimited, Unavailable, Unsupported):
            self._unsure.remove(perhaps)
            raise
        self._unsure.remove(perhaps)
        self._delivered[step] = operation, made
        if operation.lead_id and made.record_id != operation.lead_id:
            raise _Failed(
                f"the result names {made.record_id} instead of the lead {operation.lead_id}", "Name the lead."
            )
        return ", ".join(filter(None, _outcome(made)))

    def _lead(self) -> tuple[str, str]:
        """Id of the created lead, and the provider; the id is empty without one."""
        made = self._delivered.get("create")
        return made[1].record_id if made else "", self._caller.name

    def _until(self, ask: Callable[[], T], enough: Callable[[T], bool]) -> tuple[T, int]:
        """The first answer that is enough, or the last one; and the seconds that were waited between the questions."""
        most = max(int(self._caller.settle_seconds), PATIENCE)
        for waited in range(most):
            if enough(answer := ask()):
                return answer, waited
            self._sleep(1)
        return ask(), most

    def _settled(self, found: str, waited: int) -> str:
        if not waited:
            return f"{found}, at once"
        if waited > self._caller.settle_seconds:
            seconds = f"settle_seconds is {self._caller.settle_seconds:g}"
            remedy = f"Write settle_seconds = {2 * waited} in the class: a lost answer would make a second lead."
            raise _Failed(f"{found} was found after {waited} s, but {seconds}", remedy)
        return f"{found}, after {waited} s"

    def _delete(self, delete: Callable[[str], object], record_id: str) -> None:
        try:
            with time_budget(self._budget):
                delete(record_id)
        except ProviderError:
            raise
        except Exception as error:
            raise _Failed(f"{type(error).__name__} in {DELETE}", "Correct the method.") from None

    def _call(self, hook: str, call: Callable[[], T]) -> T:
        """The result of a hook. Raises `_Hung` if it does not end; its thread then runs until the process ends."""
        results, errors = list[T](), list[BaseException]()
        exchanges = self._exchanges

        def run() -> None:
            try:
                with observing(lambda request, answer: exchanges.append(Exchange.observed(request, answer))):
                    results.append(call())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True)
        thread.start()
        thread.join(self._limit)
        if thread.is_alive():
            raise _Hung(
                f"{hook} hangs: it did not end within {self._limit:.0f} s",
                "Send each request with self.request, which has a time limit, and call no code that can block.",
            )
        if errors:
            raise errors[0]
        return results[0]


def _outcome(made: Delivered) -> Iterator[str]:
    """What a delivery says about its record."""
    yield made.record_id
    yield made.url
    if made.adopted:
        yield "the CRM knew the person: delete the records of earlier runs"
    if made.dropped:
        yield f"not stored by the CRM: {', '.join(made.dropped)}"
    if made.moved:
        yield f"refused, so in the description: {', '.join(made.moved)}"


def _remedy(error: ProviderError, hook: str) -> str:
    """What to do after an error of the plugin."""
    if error.code is Code.PLUGIN_BUG:
        return f"Correct {hook} at that line, or what it returns."
    match error:
        case AuthFailed():
            return "Check the key, and the rights of its user in the CRM."
        case RateLimited():
            wait = f"{error.retry_after:.0f} s" if error.retry_after else "a minute"
            return f"Wait {wait}, and set `rate` in the class if the CRM limits the rate."
        case NotFound():
            return "The CRM does not find its own record: check the id in the result of create_lead."
        case Rejected() if error.fields:
            return f"The CRM refuses {', '.join(error.fields)}: map them to other fields, or convert their values."
        case Rejected():
            return "Compare the request in the recording (--record) with the reference of the CRM."
        case Unavailable():
            return "Check the address, and whether the CRM works."
    return "The request may have been carried out: search for the email of the test. See the recording (--record)."

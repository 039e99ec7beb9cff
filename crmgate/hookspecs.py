"""Specifications of all plugin hooks (pluggy, https://pluggy.readthedocs.io).

crmgate calls a provider hook on one provider: the one that the operation belongs to. A provider hook sends only the
requests that its work needs. It never waits and never retries, and raises only errors of `crmgate.errors`.

crmgate calls a listener hook on every plugin that has it, after the event, on a background thread of the plugin. It
logs the exception of a listener and continues.

`parse_source` is called in the request of a form tool, on one plugin after the other until one returns a result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pluggy

from crmgate.errors import ProviderError
from crmgate.model import Activity, Connection, CrmField, Delivered, Lead, Operation, Preview, Provision
from crmgate.sources import Handshake, Received, SourceRequest

PROJECT = "crmgate"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec(firstresult=True)
def create_lead(lead: Lead, operation: Operation) -> Delivered:
    """Create `lead` in the CRM, store `operation.id` in the record, and return the record that the CRM confirmed."""
    raise NotImplementedError


@hookspec(firstresult=True)
def create_leads(leads: Sequence[tuple[Lead, Operation]]) -> Mapping[str, Delivered | ProviderError | None]:
    """Create several leads with few requests. Return the outcome of each, by the id of its operation.

    Called with 2 to `CRMProvider.leads_at_once` leads while operations wait, and none of them was sent before. The
    outcome of one lead says nothing about the others: `OutcomeUnknown` if it may have been created, another error if it
    was not. None: nothing was sent for this lead, and crmgate calls `create_lead` for it later. Return None for a
    person whom the CRM knows, and for a lead that the CRM refuses if `create_lead` can correct it. An exception applies
    to all of the leads.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def create_minimal_lead(activity: Activity, operation: Operation) -> Delivered:
    """Create a lead for a visitor without a name: only a messenger click is known."""
    raise NotImplementedError


@hookspec(firstresult=True)
def update_lead(lead_id: str, lead: Lead, operation: Operation) -> Delivered:
    """Add the values of `lead` to a lead. Fill empty fields; describe or log a value that differs from the CRM's.

    No value of the CRM is lost (see `CRMProvider.plan_update`). An update that is sent again adds nothing twice.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def log_activity(activity: Activity, lead_id: str, operation: Operation) -> Delivered:
    """Log an activity on a lead."""
    raise NotImplementedError


@hookspec(firstresult=True)
def find_lead(operation: Operation) -> Delivered | None:
    """Find the record that an earlier attempt of `operation` left in the CRM; None if it left nothing.

    Called before the next attempt of an operation with an unknown outcome. Search by the operation id.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def find_leads(operations: Sequence[Operation]) -> Mapping[str, Delivered]:
    """Find the records that earlier attempts of these operations left in the CRM: one `Delivered` by operation id.

    Called for applications of unknown outcome, when several of them wait; `create_leads` needs it. An operation that is
    not in the result is searched with `find_lead` before it is sent again. Search by the operation ids with few
    requests, and change nothing.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def find_many(operations: Sequence[Operation]) -> Mapping[str, str]:
    """Which of these delivered operations the CRM has: ids of records by the ids of the operations.

    Called with up to 50 receipts when crmgate compares itself with the CRM. A receipt has no payload; its `delivered`
    names the record that the CRM confirmed. Search with as few requests as the CRM allows, and change nothing. An
    operation that the CRM no longer has, or whose activity it no longer has, is not in the result.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def test_connection() -> Connection:
    """Check address, credentials, rights and mapped fields. Report a failure as a failed `Check`; raise nothing."""
    raise NotImplementedError


@hookspec(firstresult=True)
def describe_fields() -> tuple[CrmField, ...]:
    """Compare the mapping with the fields of the CRM: one `CrmField` for each fact that has a field.

    Further ones, with an empty `fact`, are fields that the CRM requires and that no fact fills.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def preview(operation: Operation) -> Preview:
    """Show the request that would be sent for `operation` on the current mapping. Sends no request itself.

    Knowledge that was cached, such as the types of fields, may be used, however old it is.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def provision(apply: bool) -> Provision:
    """List the steps that set the CRM up: fields, roles, users, keys. With `apply`, carry out the missing steps.

    A second run changes nothing. Raises `ConfigError` if the administrator's settings are missing.
    """
    raise NotImplementedError


@hookspec
def operation_accepted(operation: Operation) -> None:
    """An operation was written to the ledger."""


@hookspec
def operation_delivered(operation: Operation, delivered: Delivered) -> None:
    """The CRM confirmed an operation."""


@hookspec
def operation_dead(operation: Operation) -> None:
    """An operation became a dead letter; its last event has the reason."""


@hookspec
def provider_paused(
    provider: str, error: ProviderError | None, cause: str, explanation: str, remedy: str, waiting: int
) -> None:
    """An incident of a provider began: nothing is sent to it. Called once, also if deliveries start and stop again.

    `cause`: `outage`, `refused` (credentials or a right) or `epidemic` (the same refusal of different operations).
    `explanation` and `remedy`: the cause and what to do, in words without personal data. `error`: the failure that
    caused it; None if a connection test failed for another reason. `waiting`: number of operations that wait, 0 if it
    is unknown.
    """


@hookspec
def provider_recovered(provider: str, waiting: int) -> None:
    """An incident ended: an operation was delivered, or the connection test passes and nothing failed for 120 s.

    `waiting`: number of operations that still wait, 0 if it is unknown.
    """


@hookspec
def worker_missing(seconds: float, waiting: int) -> None:
    """No worker has sent a heartbeat for `seconds` (at least 60). Called once, by one of the web processes.

    `waiting`: number of operations that wait.
    """


@hookspec
def worker_back() -> None:
    """A worker sends heartbeats again after `worker_missing`."""


@hookspec
def ledger_unavailable(reason: str, spooled: int | None) -> None:
    """Redis has accepted no write for 15 s. Called once, by the web process that has the watch.

    `reason`: the kind of error, without personal data. `spooled`: number of submissions in the spool of its host, None
    without a spool: then submissions are refused, unless the CRM confirms them at once. If the web processes start
    while Redis is unavailable, each of them calls it: they share nothing but Redis.
    """


@hookspec
def ledger_available(seconds: float) -> None:
    """Redis accepts writes again, `seconds` after the first failure. Called by the process that reported it."""


@hookspec
def ledger_nearly_full(share: float, waiting: int) -> None:
    """Redis uses 80 % of its `maxmemory` or more. When it is full, it accepts no submissions.

    Called once, by one of the web processes, and again after the use was less than 70 %. `share`: the part in use, 1 is
    full. `waiting`: number of operations that wait.
    """


@hookspec
def spool_waiting(operations: int, size: int, seconds: float, share: float) -> None:
    """The oldest submission has been in the spool of a host for `seconds` (at least 60), or the spool is 80 % full.

    Called once for each of the two, by one web process of the host, and again after the spool was empty. `operations`
    and `size`: number of submissions and bytes on the disk. `share`: the used part of `SPOOL_MAX`, 1 is full.
    """


@hookspec
def waiting_too_long(seconds: float, waiting: int) -> None:
    """The oldest operation has waited for `seconds`, longer than `ALERT_WAITING_MINUTES`.

    Called once, by one of the web processes, and again after the wait was less than half of that. `waiting`: number of
    operations that wait.
    """


@hookspec
def records_missing(missing: int, checked: int, operations: Sequence[str]) -> None:
    """The daily comparison with the CRM found delivered operations whose record the CRM no longer has.

    Called by the worker, once for each of these operations. `missing`: number of all such operations. `checked`: number
    of delivered operations that were looked for. `operations`: ids of the new ones, at most 5.
    """


@hookspec
def parse_source(source: str, request: SourceRequest) -> Sequence[Received] | Handshake | None:
    """Read the submissions in a request to `/in/<source>`; None if this plugin does not read this source.

    The request has the right secret or signature. Return one `Received` for each submission, an empty list if there is
    nothing to store, or a `Handshake`. `source` is the name in `SOURCE_<NAME>_SECRET`, in lower case. It may be that of
    a tool that crmgate knows: the plugin replaces its adapter. After an exception, or a wrong result, the body is kept
    as text for an operator.
    """

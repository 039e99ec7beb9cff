"""The plugin contract in one file (pluggy, https://pluggy.readthedocs.io).

Provider hooks are called on one provider at a time, the one that the operation belongs to. They make at most
the requests that their work needs, never wait and never retry: crmgate does that. They raise the errors of
`crmgate.errors` and nothing else.

Listener hooks are called on every plugin that has them, after the event, on a background thread of the plugin. What
they raise is logged and changes nothing.
"""

from __future__ import annotations

import pluggy

from crmgate.errors import ProviderError
from crmgate.model import Activity, Connection, CrmField, Delivered, Lead, Operation, Provision

PROJECT = "crmgate"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec(firstresult=True)
def create_lead(lead: Lead, operation: Operation) -> Delivered:
    """Create `lead` in the CRM, with `operation.id` stored in the record, and return what the CRM confirmed."""
    raise NotImplementedError


@hookspec(firstresult=True)
def create_minimal_lead(activity: Activity, operation: Operation) -> Delivered:
    """Create the lead of a visitor of whom only a messenger click is known."""
    raise NotImplementedError


@hookspec(firstresult=True)
def update_lead(lead_id: str, lead: Lead, operation: Operation) -> Delivered:
    """Bring a lead up to date with what is known now; what `lead` says nothing about stays as it is in the CRM."""
    raise NotImplementedError


@hookspec(firstresult=True)
def log_activity(activity: Activity, lead_id: str, operation: Operation) -> Delivered:
    """Log on a lead what its person did."""
    raise NotImplementedError


@hookspec(firstresult=True)
def find_lead(operation: Operation) -> Delivered | None:
    """What an earlier attempt of `operation` left in the CRM, found by the operation id; None if it left nothing.

    Called before an operation is tried again whose outcome is not known.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def test_connection() -> Connection:
    """Check address, credentials, rights and configured fields; raise nothing: what fails is a check that is not ok."""
    raise NotImplementedError


@hookspec(firstresult=True)
def describe_fields() -> tuple[CrmField, ...]:
    """The mapping beside what the CRM has: one line for each fact that has a field."""
    raise NotImplementedError


@hookspec(firstresult=True)
def provision(apply: bool) -> Provision:
    """What setting the CRM up takes: fields, roles, users, keys. Without `apply` nothing is changed.

    Doing it twice changes nothing the second time. Raises `ConfigError` when an administrator's settings are missing.
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
    """An operation became a dead letter; its last attempt says why."""


@hookspec
def provider_paused(provider: str, error: ProviderError) -> None:
    """Nothing is sent to a provider until a probe passes: it refused the credentials (`AuthFailed`), or is away."""


@hookspec
def provider_recovered(provider: str) -> None:
    """A paused provider works again."""

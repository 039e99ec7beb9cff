"""Number of records that an operation leaves in the CRM. A plugin may store its id in more than one of them."""

from __future__ import annotations

from crmgate.model import Activity, Kind, Lead
from crmgate.policy import DeliveryMode
from crmgate.testing.contract.base import Contract, delivered, expect, made

SEND_ID = {
    DeliveryMode.EXACTLY_ONCE: "Map `operation_id` in `lead_fields` to a field that the CRM can search.",
    DeliveryMode.IDEMPOTENT: "Send it as the key by which the receiver recognizes a repetition.",
    DeliveryMode.AT_MOST_ONCE: "Send it, so that a person can find what arrived.",
}
STORE_IT = "Let the fake store all that was sent, also the key of a repetition, and return it in `records`."


def usual(check: Contract, data: Lead | Activity) -> int:
    """Number of records with the operation id after a create that nothing disturbs. None is a failure.

    The check begins again with a new CRM before and after it.
    """
    check.restart()
    kind = Kind.CREATE_LEAD if isinstance(data, Lead) else Kind.CREATE_MINIMAL_LEAD
    outcome = check.deliver(made(kind, data))
    delivered(outcome)
    count = check.stored(check.crm, outcome.operation.id)
    expect(count, f"no record has the operation id after {kind}. {SEND_ID[check.mode]} {STORE_IT}")
    check.restart()
    return count

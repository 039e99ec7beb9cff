"""Any other sender: JSON or a form of unknown shape. Every value is read by its own name or by the label beside it.

Standard Webhooks (https://www.standardwebhooks.com): `Webhook-Id` is the delivery id. No member of the body is taken
for one, because it may be the same in every body: `SOURCE_<NAME>_ID` names it.
"""

from __future__ import annotations

from crmgate.schemas.labelled import labelled
from crmgate.sources.answers import collected, flat
from crmgate.sources.model import Received, SourceRequest


def parse(request: SourceRequest) -> list[Received]:
    """Read one submission, or each of a list of objects."""
    data = request.data()
    items = data if isinstance(data, list) and not all(map(labelled, data)) else [data]
    delivery = request.headers.get("webhook-id") or request.headers.get("idempotency-key") or ""
    several = len(items) > 1
    return [
        Received(collected(flat(item)), f"{delivery} {number}" if delivery and several else delivery)
        for number, item in enumerate(items)
    ]

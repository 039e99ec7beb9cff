"""Webflow: `{"triggerType": "form_submission", "payload": {...}}`; the payload of version 1 of the API without it.

https://developers.webflow.com/data/reference/webhooks/events/form-submission. Names are those that the designer gave.
"""

from __future__ import annotations

from crmgate.sources.answers import collected, flat
from crmgate.sources.model import Parsed, Received, SourceRequest


def parse(request: SourceRequest) -> Parsed:
    """Read one submission. Other events of the site have none."""
    data = request.mapping()
    if data.get("triggerType", "form_submission") != "form_submission":
        return []
    payload = data["payload"] if isinstance(data.get("payload"), dict) else data
    form = (("source_description",), payload.get("name", ""))
    delivery = payload.get("id") or payload.get("_id") or ""
    answers = payload["data"] if "data" in payload else payload["formResponse"]
    return [Received(collected([*flat(answers), form]), str(delivery))]

"""Meta Lead Ads: `entry[].changes[].value`, several leads in one body, each with `field_data`.

https://developers.facebook.com/docs/graph-api/webhooks/getting-started/webhooks-for-leadgen/. Meta itself sends only
the ids of a lead; `field_data` is what the Graph API answers for it. A lead without it is kept with its ids. A lead as
the Graph API returns it, or a list of them, is read as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from crmgate.schemas.labelled import Answer
from crmgate.sources.answers import collected
from crmgate.sources.model import Parsed, Received, SourceRequest

_ABOUT = ("form_id", "form_name", "ad_id", "ad_name", "adset_name", "adgroup_id", "campaign_id", "campaign_name",
          "page_id", "platform")  # fmt: skip


def parse(request: SourceRequest) -> Parsed:
    """Read each lead of the body."""
    return [_lead(lead) for lead in _leads(request.data())]


def _leads(data: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(data, list):
        for each in data:
            yield from _leads(each)
    elif "entry" in data:
        changes = (change for entry in data["entry"] for change in entry.get("changes") or [])
        yield from (change["value"] for change in changes if change.get("field", "leadgen") == "leadgen")
    elif isinstance(data.get("data"), list):
        yield from _leads(data["data"])
    else:
        yield data.get("value") or data


def _lead(lead: Mapping[str, Any]) -> Received:
    delivery = str(lead.get("leadgen_id") or lead.get("id") or "")
    return Received(collected([*_answers(lead), (("lead id",), delivery)]), delivery)


def _answers(lead: Mapping[str, Any]) -> Iterator[Answer]:
    answers = lead.get("field_data") or []
    for answer in answers:
        values = answer.get("values") if "values" in answer else answer.get("value")
        yield (str(answer.get("name", "")), str(answer.get("label") or answer.get("name", ""))), values
    if not answers:
        yield from (((name,), value) for name, value in lead.items() if isinstance(value, str | int))
        return
    yield from (((name,), lead[name]) for name in _ABOUT if name in lead)

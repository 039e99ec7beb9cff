"""Bitrix24, REST API over an inbound webhook (CRM 25.0.0 or later; older versions with BITRIX_API=lead).

Vendor's pages, under https://apidocs.bitrix24.com/: limits.html, api-reference/crm/universal/crm-item-add.html and
those beside it, and those of crm.lead.userfield.list, crm.status.list, crm.duplicate.findbycomm and
crm.timeline.comment.add, crm.lead.list, crm.settings.mode.get and user.get.

The address of a webhook is its credential. A lead holds the operation id in `originId`, with the `originatorId`
"crmgate". Bitrix24 has no unique fields, so after an unknown outcome `find_lead` searches for that id. Comments on the
timeline and updates contain the tracking code, by which `find_lead` finds them.

`Bitrix` (`provider`) has the hooks. It has a `BitrixApi` (`api`: requests; `answers`: errors; `values`: formats;
`text`: texts without markup), the `BitrixFields` of the portal (`fields`), `BitrixLeads` (`leads`: reads and writes
leads and comments), a `BitrixLookup` (`lookup`: leads and comments that exist), `BitrixChecks` (`checks`: the
connection test) and a `BitrixSetup` (`setup`).
"""

from __future__ import annotations

from .provider import Bitrix

__all__ = ["Bitrix"]

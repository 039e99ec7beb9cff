"""Bitrix24, REST API over an inbound webhook (CRM 25.0.0 or later; older versions with BITRIX_API=lead).

Vendor's pages, under https://apidocs.bitrix24.com/: limits.html, api-reference/crm/universal/crm-item-add.html (fields
of leads, deals and contacts) and those beside it, crm/universal/category/crm-category-list.html, and those of
crm.lead.userfield.list, crm.deal.userfield.list, crm.status.list (DEAL_STAGE), crm.duplicate.findbycomm,
crm.timeline.comment.add, crm.lead.list, crm.contact.list, crm.settings.mode.get and user.get.

The address of a webhook is its credential. With BITRIX_TARGET=lead a submission is a lead, with BITRIX_TARGET=deal a
deal whose contact has the name, the phone and the email. The lead or deal holds the operation id in `originId`, with
the `originatorId` "crmgate". Bitrix24 has no unique fields, so after an unknown outcome `find_lead` searches for that
id. Comments on the timeline and updates contain the tracking code, by which `find_lead` finds them.

`Bitrix` (`provider`) has the hooks. It has a `BitrixApi` (`api`: requests; `answers`: errors; `values`: formats;
`text`: texts without markup), the `BitrixFields` of the portal (`fields`), `BitrixRecords` (`records`: reads and writes
leads or deals, and comments), a `BitrixLookup` (`lookup`: records and comments that exist), `BitrixChecks` (`checks`:
the connection test) and a `BitrixSetup` (`setup`). For deals it also has `BitrixContacts` (`contacts`: the contact of
a deal, with `BitrixRecords` of its own) and a `BitrixPipeline` (`pipeline`).
"""

from __future__ import annotations

from .provider import Bitrix

__all__ = ["Bitrix"]

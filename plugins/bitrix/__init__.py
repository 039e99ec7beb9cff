"""Bitrix24, by its REST API over an inbound webhook (CRM 25.0.0 or later; older ones with BITRIX_API=lead).

Vendor's pages, under https://apidocs.bitrix24.com/: limits.html, api-reference/crm/universal/crm-item-add.html and
those beside it, and those of crm.lead.userfield.list, crm.status.list, crm.duplicate.findbycomm and
crm.timeline.comment.add.

A webhook's address is its credential. The operation id is the `originId`, with the `originatorId` "crmgate"; nothing is
unique in Bitrix24, so whether an earlier attempt made the lead is looked up there. What a lead is told afterwards
(timeline comments, updates) carries the tracking code and is found by that.

Each class adds to the one before: `portal` sends requests (`answers` says what a refusal means, `values` how a lead is
written), `fields` knows the portal's fields, `leads` reads and writes, `earlier` finds what is there, `provider` has
the hooks.
"""

from __future__ import annotations

from .provider import Bitrix

__all__ = ["Bitrix"]

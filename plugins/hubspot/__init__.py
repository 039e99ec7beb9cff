"""HubSpot, CRM API v3 with the token of a private app.

Vendor's pages, under https://developers.hubspot.com/docs/: api-reference/crm-contacts-v3/guide (contacts and
`idProperty`), api-reference/crm-notes-v3/guide (notes and their association, type 202),
api-reference/crm-properties-v3/guide (`hasUniqueValue`), api-reference/error-handling (errors, 207, 423, 477) and
developer-tooling/platform/usage-guidelines (429, `policyName`). The OpenAPI descriptions are in
https://github.com/HubSpot/HubSpot-public-api-spec-collection.

A submission is a contact. The contact holds the operation id in a property with unique values, so HubSpot refuses a
second contact of the same operation, as it refuses a second contact with the same email. A second property of this kind
holds the phone, because HubSpot itself has no unique phones. The plugin never uses HubSpot's search: its index shows a
record some seconds late. Records are read by id and by unique property.

`HubSpot` (`provider`) has the hooks. It has a `HubSpotApi` (`api`: requests; `answers`: errors), a `HubSpotLookup`
(`lookup`: contacts and notes that exist), and `HubSpotProperties` (`properties`: mapping, setup, connection test).
`records` has the formats of contacts and notes.
"""

from __future__ import annotations

from .provider import HubSpot

__all__ = ["HubSpot"]

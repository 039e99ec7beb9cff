"""EspoCRM 9.2, REST API v1 (https://docs.espocrm.com/development/api/).

EspoCRM has no idempotency keys. A lead holds the operation id in a field, and after an unknown outcome `find_lead`
searches for that id. A unique index on the field rejects a second lead if two attempts overlap. Calls, notes and
updates of an existing lead contain the tracking code, by which `find_lead` finds them.

`EspoCRM` (`provider`) has the hooks and writes leads. It has an `EspoApi` (`api`: requests; `answers`: errors), an
`EspoLookup` (`lookup`: leads, calls and notes that exist), `EspoActivities` (`activities`: new calls and notes),
`EspoChecks` (`checks`: the connection test) and an `EspoSetup` (`setup`, one at a time by a `SetupLock` in `lock`).
`EspoMetadata` (`metadata`) reads the definitions of Lead, `fields` compares the mapping with them, `EspoRequired`
(`required`) knows the required fields, `EspoRights` (`rights`) those of the API user, `rows` adds further emails
and phones, and `texts` joins and compares texts.
"""

from __future__ import annotations

from .provider import EspoCRM

__all__ = ["EspoCRM"]

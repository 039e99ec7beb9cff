"""The request of an operation, without a look at the portal."""

from __future__ import annotations

from typing import assert_never

from crmgate.model import Kind, Operation, Preview
from crmgate.provider import CRMProvider, FieldMap, Mapped

from .records import BitrixRecords
from .text import plain
from .values import MINIMAL, ORIGIN, title


def preview_of(crm: CRMProvider, records: BitrixRecords, field_map: FieldMap, operation: Operation) -> Preview:
    """The request that would be sent for `operation` with `field_map`."""
    mapped = crm.map_again(operation, field_map)
    text = plain(crm.text_of(mapped, operation))
    match operation.kind:
        case Kind.LOG_ACTIVITY:
            comment = {"entityId": operation.lead_id, "comment": crm.describe_all(operation.activity, operation)}
            return crm.previewed("POST", "crm.timeline.comment.add", comment, Mapped({}, []), operation)
        case Kind.UPDATE_LEAD:
            record, ref = mapped.fields | {"comments": text}, operation.lead_id
        case Kind.CREATE_LEAD | Kind.CREATE_MINIMAL_LEAD:
            names = MINIMAL if operation.kind is Kind.CREATE_MINIMAL_LEAD else {"title": title(operation.lead)}
            record = {**names, **mapped.fields, **ORIGIN, "originId": operation.id, "comments": text}
            ref = ""
        case _:
            assert_never(operation.kind)
    method, params = records.request(record, ref)
    return crm.previewed("POST", method, params, mapped, operation)

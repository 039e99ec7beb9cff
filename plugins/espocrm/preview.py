"""The request of an operation, without a look at the leads in EspoCRM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from crmgate.model import Kind, Operation, Preview
from crmgate.provider import CRMProvider, FieldMap, Mapped

from .activities import EspoActivities
from .api import lead_path
from .names import MINIMAL
from .required import DASH
from .texts import record_of


def preview_of(
    crm: CRMProvider, activities: EspoActivities, field_map: FieldMap, assigned: Mapping[str, str], operation: Operation
) -> Preview:  # fmt: skip
    """The request that would be sent for `operation`; a new lead belongs to the user in `assigned`."""
    mapped = crm.map_again(operation, field_map)
    text = crm.text_of(mapped, operation)
    match operation.kind:
        case Kind.LOG_ACTIVITY:
            call = activities.call_of(operation, crm.describe_all(operation.activity, operation))
            return crm.previewed("POST", "Call", call, Mapped({}, []), operation)
        case Kind.UPDATE_LEAD:
            path = lead_path(operation.lead_id)
            return crm.previewed("PUT", path, record_of({}, mapped.fields, text), mapped, operation)
        case Kind.CREATE_LEAD | Kind.CREATE_MINIMAL_LEAD:
            names = MINIMAL if operation.kind is Kind.CREATE_MINIMAL_LEAD else {"lastName": DASH}
            return crm.previewed(
                "POST", "Lead", {**record_of(names, mapped.fields, text), **assigned}, mapped, operation
            )
        case _:
            assert_never(operation.kind)

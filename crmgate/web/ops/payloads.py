"""The payload of an operation as the operator may see it. A view in clear is in the audit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crmgate.model import Operation
from crmgate.store.audit import Action
from crmgate.web.ops.shell import actor, require_operate
from crmgate.web.services import services

HIDDEN = "•••"
"""What replaces a value that is not shown."""


def hidden(operation: Operation) -> Mapping[str, Any]:
    """The names of the fields of the payload."""
    return dict.fromkeys(operation.payload, HIDDEN)


def shown(operation: Operation) -> Mapping[str, Any]:
    """The payload. The audit records the view."""
    require_operate()
    if operation.payload:
        services().audit.record(actor(), Action.VIEW, operation.id)
    return operation.payload

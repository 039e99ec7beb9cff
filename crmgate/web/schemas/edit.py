"""An operator's edit of a submission, checked by the schema of the door that took it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from marshmallow import Schema
from marshmallow import fields as marshmallow_fields

from crmgate.errors import NotEditable
from crmgate.model import Kind, Lead, Operation
from crmgate.web.codes import FieldCode
from crmgate.web.problems import FieldError, InvalidBody
from crmgate.web.schemas.application import ApplicationSchema
from crmgate.web.schemas.canonical import FieldWarning
from crmgate.web.schemas.parse import parse_application

APPLICATIONS = (Kind.CREATE_LEAD, Kind.UPDATE_LEAD)
EDITABLE = frozenset(field.name for field in fields(Lead)) - {"session"}
"""The session says what an operation waits for, and that was settled when it was accepted."""


class PatchSchema(Schema):
    """Fields of the payload with their new values; null takes one away (RFC 7396)."""


def edited(
    operation: Operation, patch: Mapping[str, Any], *, default_region: str
) -> tuple[dict[str, Any], tuple[FieldWarning, ...]]:  # fmt: skip
    """The payload with `patch` applied (RFC 7396), by the names that a payload has, and what the editor should know.

    Raises `InvalidBody` with every fault by the same names, and `NotEditable` for a click.
    """
    if operation.kind not in APPLICATIONS:
        raise NotEditable
    unknown = [_unknown(name) for name in patch if name not in EDITABLE]
    try:
        parsed = parse_application(_merged(operation.payload, patch), default_region=default_region)
    except InvalidBody as invalid:
        faults = [FieldError(_NAMES.get(error.field, error.field), error.code, error.message)
                  for error in invalid.errors]  # fmt: skip
        raise InvalidBody([*unknown, *faults]) from None
    if unknown:
        raise InvalidBody(unknown)
    return parsed.lead.to_dict(), parsed.warnings


def _unknown(name: str) -> FieldError:
    told = "It cannot be changed." if name == "session" else "There is no such field; `custom` takes others."
    return FieldError(name[:64], FieldCode.UNKNOWN_FIELD, told)


def _merged(target: Any, patch: Any) -> Any:
    """A merge patch (RFC 7396): null takes a member away."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), value)
    return result


def _names() -> Iterator[tuple[str, str]]:
    """The path of a field in a submission, with its name in a payload."""
    for group, declared in ApplicationSchema().fields.items():
        if isinstance(declared, marshmallow_fields.Nested) and group not in ("utm", "consent"):
            for leaf, inner in declared.schema.fields.items():
                yield f"{group}.{leaf}", inner.attribute or leaf


_NAMES = dict(_names())

"""An operator's edit of a submission, validated with the schema for new submissions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, fields, replace
from typing import Any, assert_never

from marshmallow import fields as marshmallow_fields

from crmgate.kinds import Editor, traits
from crmgate.model import Activity, Lead, Operation
from crmgate.schemas.application import ApplicationSchema
from crmgate.schemas.canonical import FieldWarning
from crmgate.schemas.codes import FieldCode
from crmgate.schemas.event import MetadataSchema
from crmgate.schemas.faults import FieldError, InvalidFields
from crmgate.schemas.fields import Text
from crmgate.schemas.parse import Sender, parse_application, parse_event

SETTLED = frozenset({"session", "occurred_at"})
"""Fields that an edit cannot change: `session` decides the order of operations, `occurred_at` is a fact."""

Edited = tuple[dict[str, Any], tuple[FieldWarning, ...]]


@dataclass(frozen=True, slots=True)
class _Payload:
    """One kind of payload: its fields, the field for unknown ones, and the payload's names by submission path."""

    fields: frozenset[str]
    rest: str
    names: Mapping[str, str]

    def unknown(self, name: str) -> FieldError | None:
        """The error for the name of a changed field; None if it may be changed."""
        if name in self.fields - SETTLED:
            return None
        if name in self.fields:
            return FieldError(name[:64], FieldCode.UNKNOWN_FIELD, "It cannot be changed.")
        return FieldError(name[:64], FieldCode.UNKNOWN_FIELD, f"There is no such field; `{self.rest}` takes others.")

    def renamed(self, error: FieldError) -> FieldError:
        """The error with the payload's name of its field."""
        for path, name in self.names.items():
            if f"{error.field}.".startswith(f"{path}."):
                return replace(error, field=name + error.field.removeprefix(path))
        return error


def edited(operation: Operation, patch: Mapping[str, Any], *, default_region: str, channels: Set[str]) -> Edited:
    """Apply `patch` (RFC 7396) to the payload of an operation; returns the new payload and the warnings.

    `patch` and the errors use the payload's field names. `default_region` is the ISO 3166 country of phone numbers
    without a country code, `channels` are the accepted channels of a click. Raises `InvalidFields` with every error.
    """
    if not operation.kind.known:
        raise InvalidFields(
            [FieldError("kind", FieldCode.INVALID_CHOICE, "Only a newer version of crmgate can edit this.")]
        )
    if operation.unreadable:
        raise InvalidFields([FieldError("payload", FieldCode.INVALID_TYPE, f"{operation.unreadable}.")])
    payload = _merged(operation.payload, patch)
    match traits(operation.kind).editor:
        case Editor.APPLICATION:
            return _checked(_APPLICATION, patch, lambda: _application(payload, default_region))
        case Editor.CLICK:
            return _checked(_CLICK, patch, lambda: _click(operation.activity, payload, channels))
        case editor:
            assert_never(editor)


def _checked(form: _Payload, patch: Mapping[str, Any], parse: Callable[[], Edited]) -> Edited:
    """The result of `parse`. Raises `InvalidFields` with its errors and those for the names in `patch`."""
    unknown = [fault for fault in map(form.unknown, patch) if fault]
    try:
        result = parse()
    except InvalidFields as invalid:
        raise InvalidFields([*unknown, *map(form.renamed, invalid.errors)]) from None
    if unknown:
        raise InvalidFields(unknown)
    return result


def _application(payload: Mapping[str, Any], default_region: str) -> Edited:
    parsed = parse_application(payload, default_region=default_region, sender=Sender.OPERATOR)
    return parsed.lead.to_dict(), parsed.warnings


def _click(before: Activity, payload: Mapping[str, Any], channels: Set[str]) -> Edited:
    raw = {name: value for name, value in payload.items() if name != "occurred_at"}
    if isinstance(raw.get("metadata"), Mapping):
        raw["metadata"], raw["custom"] = _as_sent(raw["metadata"])
    # The click's own channel stays accepted after it was removed from the configuration.
    known = channels | ({before.channel} - {""})
    parsed = parse_event(raw, channels=known, occurred_at=before.occurred_at)
    return parsed.activity.to_dict(), parsed.warnings


def _as_sent(metadata: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a click's metadata into known fields and the rest, because different limits apply to them."""
    known, rest = dict[str, Any](), dict[str, Any]()
    for name, value in metadata.items():
        declared = _METADATA.get(name)
        if declared is None:
            rest[name] = value
        elif isinstance(value, str) and not declared.lines:
            # A second value of a one-line field is kept below the first.
            known[name], _, rest[name] = value.partition("\n")
        else:
            known[name] = value
    return known, rest


def _merged(target: Any, patch: Any) -> Any:
    """Apply a merge patch (RFC 7396): null removes a member."""
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
    """Yield the path of each grouped field in a submission with its name in the payload."""
    for group, declared in ApplicationSchema().fields.items():
        if isinstance(declared, marshmallow_fields.Nested) and group not in ("utm", "consent"):
            for leaf, inner in declared.schema.fields.items():
                yield f"{group}.{leaf}", inner.attribute or leaf


_METADATA = {name: declared for name, declared in MetadataSchema().fields.items() if isinstance(declared, Text)}
_APPLICATION = _Payload(frozenset(field.name for field in fields(Lead)), "custom", dict(_names()))
_CLICK = _Payload(frozenset(field.name for field in fields(Activity)), "metadata", {"custom": "metadata"})

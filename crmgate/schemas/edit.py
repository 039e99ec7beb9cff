"""An operator's edit of a submission, checked by the schema of the door that took it."""

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
from crmgate.schemas.parse import parse_application, parse_event

SETTLED = frozenset({"session", "occurred_at"})
"""Fields that an edit cannot change: the session decides the order of operations, and the time of a click is a fact."""

Edited = tuple[dict[str, Any], tuple[FieldWarning, ...]]


@dataclass(frozen=True, slots=True)
class _Payload:
    """One kind of payload: its fields, the one that takes others, and the payload's name of a submission's field."""

    fields: frozenset[str]
    rest: str
    names: Mapping[str, str]

    def unknown(self, name: str) -> FieldError | None:
        """What is wrong with the name of a changed field."""
        if name in self.fields - SETTLED:
            return None
        if name in self.fields:
            return FieldError(name[:64], FieldCode.UNKNOWN_FIELD, "It cannot be changed.")
        return FieldError(name[:64], FieldCode.UNKNOWN_FIELD, f"There is no such field; `{self.rest}` takes others.")

    def renamed(self, error: FieldError) -> FieldError:
        """An error by the names that a payload has."""
        for path, name in self.names.items():
            if f"{error.field}.".startswith(f"{path}."):
                return replace(error, field=name + error.field.removeprefix(path))
        return error


def edited(operation: Operation, patch: Mapping[str, Any], *, default_region: str, channels: Set[str]) -> Edited:
    """Apply `patch` (RFC 7396) to the payload of an operation; returns the new payload and warnings for the editor.

    Names are those of the payload, in the errors too. A click may name one of `channels`. Raises `InvalidFields` with
    every fault.
    """
    if not operation.kind.known:
        raise InvalidFields([FieldError("kind", FieldCode.INVALID_CHOICE, "A newer version of crmgate can edit it.")])
    payload = _merged(operation.payload, patch)
    match traits(operation.kind).editor:
        case Editor.APPLICATION:
            return _checked(_APPLICATION, patch, lambda: _application(payload, default_region))
        case Editor.CLICK:
            return _checked(_CLICK, patch, lambda: _click(operation.activity, payload, channels))
        case editor:
            assert_never(editor)


def _checked(form: _Payload, patch: Mapping[str, Any], parse: Callable[[], Edited]) -> Edited:
    """What `parse` returns, unless it or a name in `patch` is at fault."""
    unknown = [fault for fault in map(form.unknown, patch) if fault]
    try:
        result = parse()
    except InvalidFields as invalid:
        raise InvalidFields([*unknown, *map(form.renamed, invalid.errors)]) from None
    if unknown:
        raise InvalidFields(unknown)
    return result


def _application(payload: Mapping[str, Any], default_region: str) -> Edited:
    parsed = parse_application(payload, default_region=default_region)
    return parsed.lead.to_dict(), parsed.warnings


def _click(before: Activity, payload: Mapping[str, Any], channels: Set[str]) -> Edited:
    raw = {name: value for name, value in payload.items() if name != "occurred_at"}
    if isinstance(raw.get("metadata"), Mapping):
        raw["metadata"], raw["custom"] = _as_sent(raw["metadata"])
    # Its own channel may have left the configuration since: that is no reason to refuse another change.
    known = channels | ({before.channel} - {""})
    parsed = parse_event(raw, channels=known, occurred_at=before.occurred_at)
    return parsed.activity.to_dict(), parsed.warnings


def _as_sent(metadata: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A click's metadata as its fields and the rest, each by the limits of the door, which keeps both in one place."""
    known, rest = dict[str, Any](), dict[str, Any]()
    for name, value in metadata.items():
        declared = _METADATA.get(name)
        if declared is None:
            rest[name] = value
        elif isinstance(value, str) and not declared.lines:
            # A second value of a field of one line stands below the first.
            known[name], _, rest[name] = value.partition("\n")
        else:
            known[name] = value
    return known, rest


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


_METADATA = {name: declared for name, declared in MetadataSchema().fields.items() if isinstance(declared, Text)}
_APPLICATION = _Payload(frozenset(field.name for field in fields(Lead)), "custom", dict(_names()))
_CLICK = _Payload(frozenset(field.name for field in fields(Activity)), "metadata", {"custom": "metadata"})

"""`/ops/operations/<id>/edit`: change what is sent to the CRM, validated like a new submission."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Response, request
from werkzeug.wrappers import Response as BaseResponse

from crmgate.channels import known_channels
from crmgate.errors import ChangedMeanwhile
from crmgate.kinds import Editor, traits
from crmgate.model import Activity, Lead, Operation
from crmgate.plugin_kit.mapping import LABELS
from crmgate.schemas.edit import SETTLED, edited
from crmgate.schemas.faults import InvalidFields
from crmgate.store.tokens import Scope
from crmgate.web.ops.one import known
from crmgate.web.ops.shell import actor, blueprint, go, page, require_operate
from crmgate.web.services import services

FIELD = "field."
"""Beginning of the names of the form's fields; the rest is the path in the payload."""
_LISTS = ("universities", "programs")
_GROUPS = ("utm", "consent", "custom", "metadata")


@dataclass(frozen=True, slots=True)
class Input:
    """A field of the form: its `path` in the payload (`utm.source`), its label, its text and the fault of that text."""

    path: str
    label: str
    value: str
    lines: bool = False
    fault: str = ""


@blueprint.get("/operations/<operation_id>/edit")
def edit(operation_id: str) -> Response:
    """The form with the current values."""
    require_operate()
    found = services().desk.get(known(operation_id).id)
    payload = services().payloads.shown(found, Scope.OPERATE, actor())
    return _form(found, _flat(payload), {})


@blueprint.post("/operations/<operation_id>/edit")
def save(operation_id: str) -> BaseResponse:
    """Change the payload if it still has the version that the form shows, and with `retry` send it again."""
    require_operate()
    found = services().desk.get(operation_id)
    if request.form.get("version") != str(found.version):
        raise ChangedMeanwhile
    sent = {name.removeprefix(FIELD): text for name, text in request.form.items() if name.startswith(FIELD)}
    settings = services().settings
    try:
        payload, _ = edited(
            found, _patch(found, sent),
            default_region=settings.default_phone_region, channels=known_channels(settings.channels),
        )  # fmt: skip
    except InvalidFields as invalid:
        payload = services().payloads.shown(found, Scope.OPERATE, actor())
        return _form(found, _flat(payload) | sent, {fault.field: fault.message for fault in invalid.errors}, 422)
    services().desk.amend(found, payload, actor())
    if "retry" in request.form:
        services().desk.retry(operation_id, actor())
    return go("ops.operation", operation_id=operation_id)


def _form(operation: Operation, values: Mapping[str, str], faults: Mapping[str, str], status: int = 200) -> Response:
    inputs = list(_inputs(operation, values, faults))
    rest = {path: message for path, message in faults.items() if path not in {one.path for one in inputs}}
    return page("ops/edit.html", status, operation=operation, inputs=inputs, faults=rest, prefix=FIELD)


def _inputs(operation: Operation, values: Mapping[str, str], faults: Mapping[str, str]) -> Iterator[Input]:
    """The fields that have a value first, then the others that this kind of payload can have."""
    paths = dict.fromkeys([*values, *possible(operation)])
    for path in sorted(paths, key=lambda path: not values.get(path)):
        text, top = values.get(path, ""), path.partition(".")[0]
        if top in SETTLED or top == "consent":
            continue
        fault = faults.get(path) or faults.get(top, "")
        yield Input(path, _label(path), text, path in _LISTS or path == "additional_info" or "\n" in text, fault)


def possible(operation: Operation) -> Iterator[str]:
    payload = Lead if traits(operation.kind).editor is Editor.APPLICATION else Activity
    for name in payload.__dataclass_fields__:
        if name == "utm":
            yield from (f"utm.{part}" for part in ("source", "medium", "campaign", "content", "term"))
        elif name not in _GROUPS:
            yield name


def _label(path: str) -> str:
    name = path.replace("utm.", "utm_").removeprefix("custom.").removeprefix("metadata.")
    return LABELS.get(name, name.replace("_", " ").capitalize() if path == name else name)


def _flat(payload: Mapping[str, Any]) -> dict[str, str]:
    """The payload as texts by path; a list has one entry a line."""
    texts: dict[str, str] = {}
    for name, value in payload.items():
        if name in _GROUPS and isinstance(value, Mapping):
            texts |= {f"{name}.{part}": str(inner) for part, inner in value.items()}
        else:
            texts[name] = "\n".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return texts


def _patch(operation: Operation, sent: Mapping[str, str]) -> dict[str, Any]:
    """A merge patch (RFC 7396) with the fields whose text changed; an empty text removes a field."""
    before, patch = _flat(operation.payload), dict[str, Any]()
    for path, raw in sent.items():
        text = raw.replace("\r\n", "\n").strip()
        if text == before.get(path, "").strip():
            continue
        top, _, part = path.partition(".")
        value = value_of(path, text)
        if part:
            patch.setdefault(top, {})[part] = value
        else:
            patch[top] = value
    return patch


def value_of(path: str, text: str) -> Any:
    if not text:
        return None
    return [line for line in text.split("\n") if line.strip()] if path in _LISTS else text

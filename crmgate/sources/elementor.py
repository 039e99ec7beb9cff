"""Elementor: a form with the labels as names, or with "Advanced Data" `fields[<id>][title]` and `fields[<id>][value]`.

https://elementor.com/help/form-webhook/. Some sites send the same as JSON. Elementor sends no delivery id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from crmgate.schemas.labelled import Answer
from crmgate.sources.answers import collected, flat, plain
from crmgate.sources.model import Parsed, Received, SourceRequest

_TECHNICAL = ("form", "form_id", "form_name", "form_post_id", "post_id", "meta", "Powered by", "Remote IP",
              "User Agent", "queried_id", "referer_title", "action", "g-recaptcha-response")  # fmt: skip
_TYPES = {"email": "email", "tel": "phone"}


def parse(request: SourceRequest) -> Parsed:
    """Read one submission."""
    data = request.mapping()
    rest = {name: value for name, value in data.items() if name not in (*_TECHNICAL, "fields", "form_fields")}
    form, meta = _mapping(data.get("form")), _mapping(data.get("meta"))
    title = data.get("form_name") or form.get("name") or ""
    page = _mapping(meta.get("page_url")).get("value", "")
    fields = [*_fields(data.get("fields") or data.get("form_fields") or {}), *flat(rest)]
    return [Received(collected([*fields, (("Page URL",), page), (("source_description",), title)]))]


def _fields(fields: Any) -> Iterator[Answer]:
    members: Iterable[tuple[Any, Any]] = fields.items() if isinstance(fields, Mapping) else enumerate(fields)
    for key, field in members:
        if not isinstance(field, Mapping):
            yield (str(key),), field
            continue
        implied = (_TYPES[field["type"]],) if field.get("type") in _TYPES else ()
        names = (str(field.get("id") or key), str(field.get("title") or field.get("label") or ""))
        value = plain(field.get("value"))
        yield (*names, *implied), value if value != "" else field.get("raw_value")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}

"""Required fields that were not sent; the message says what was sent instead, and the nearest known name."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from crmgate.schemas.canonical import Canonical
from crmgate.schemas.codes import FieldCode
from crmgate.schemas.faults import FieldError
from crmgate.schemas.labels import comparable, nearest
from crmgate.schemas.names import TABLE, known_names
from crmgate.schemas.text import clean
from crmgate.schemas.vocabulary import EMAIL, PHONE

SHOWN = 10
"""Largest number of sent names in a message."""
LONGEST = 40
"""Largest number of characters of a sent name in a message."""
EXAMPLES = 8
"""Number of known names in a message."""
_REQUIRED = "This field is required."
_CONTACT_REQUIRED = "Give an email address or a phone number."
_FIELDS = {"personal_info.first_name": ("first_name", "full_name"), "personal_info": ("email", "phone")}


def missing(canonical: Canonical) -> list[FieldError]:
    """The errors of required fields that were not sent. An application needs an email address or a phone number."""
    fields, words = canonical.fields, canonical.words
    faults = [FieldError(path, FieldCode.REQUIRED, _REQUIRED) for path in words.required if path not in fields]
    # An invalid phone number was sent: it already has its own error.
    if EMAIL in words.declared and EMAIL not in fields and PHONE not in fields:
        faults.append(FieldError("personal_info", FieldCode.CONTACT_REQUIRED, _CONTACT_REQUIRED))
    return faults


def explained(canonical: Canonical, errors: Sequence[FieldError]) -> list[FieldError]:
    """The errors; those of a missing field name what was sent, without values."""
    return [replace(error, message=_message(canonical, error)) if _is_missing(error) else error for error in errors]


def _is_missing(error: FieldError) -> bool:
    return error.code in (FieldCode.REQUIRED, FieldCode.CONTACT_REQUIRED) and error.field in _FIELDS


def _message(canonical: Canonical, error: FieldError) -> str:
    fields = _FIELDS[error.field]
    parts = [error.message, _sent(canonical), f"Known names for it: {', '.join(islice(_examples(fields), EXAMPLES))}."]
    return " ".join([*parts, *_advice(canonical.unknown[:SHOWN], fields)])


def _sent(canonical: Canonical) -> str:
    names = list(dict.fromkeys(_names(canonical.raw)))
    if not names:
        return "The form sent no fields."
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"The form sent: {', '.join(map(_shown, names[:SHOWN]))}{more}."


def _names(raw: Mapping[str, Any]) -> Iterator[str]:
    """The names that were sent, those of control keys aside; of an object, the names inside."""
    for name, value in raw.items():
        if isinstance(value, Mapping):
            yield from (f"{name}.{member}" for member in value)
        elif not name.startswith("_"):
            yield name


def _examples(fields: Sequence[str]) -> Iterator[str]:
    """Some names of the fields; the table documents all."""
    labels = [[field, *TABLE[field].english.split(",")] for field in fields]
    yield from (name.strip() for names in zip(*labels, strict=False) for name in names)


def _advice(unknown: Sequence[str], fields: Sequence[str]) -> Iterator[str]:
    known = dict(known_names(*fields))
    pairs = [(name, known[near]) for name in unknown if (near := nearest(comparable(name[:LONGEST]), known))]
    yield from (f"Did you mean `{_shown(name)}` -> `{field}`?" for name, field in pairs)
    if unknown:
        name, field = pairs[0] if pairs else (unknown[0], fields[-1])
        yield f"To use another name for the field, set FIELD_ALIASES={_shown(name)}={field}."


def _shown(name: str) -> str:
    """A sent name for a message: on one line, short, without invisible characters."""
    words = " ".join(clean(name).split())
    text = "".join(char for char in words if unicodedata.category(char)[0] != "C" and char != "`")
    return f"{text[:LONGEST]}..." if len(text) > LONGEST else text or "(no name)"

"""Finds the field of an application that a form's own name for it means."""

from __future__ import annotations

import re
from typing import Any

from crmgate.schemas.vocabulary import APPLICATION, flat_prefix, snake

FULL_NAME = "full_name"
_OTHERS = {
    "name": "full_name", "full_name": "full_name", "your_name": "full_name", "ad_soyad": "full_name",
    "имя": "full_name", "e_mail": "email", "mail": "email", "your_email": "email", "email_address": "email",
    "e_posta": "email", "tel": "phone", "phone_number": "phone", "telephone": "phone", "telefon": "phone",
    "телефон": "phone", "message": "additional_info", "your_message": "additional_info", "textarea": "additional_info",
}  # fmt: skip


def field_of(label: str) -> str | None:
    """The flat name of the field that `label` means, or `full_name`; None if it is not known."""
    name = re.sub(r"\W+", "_", snake(re.sub(r"-\d+\Z", "", label))).strip("_")
    path = APPLICATION.targets.get(name)
    return flat_name(path) if path and path != "custom" else _OTHERS.get(name)


def flat_name(path: str) -> str:
    """The flat name of a field by its path: `phone` for `personal_info.phone`, `utm_source` for `utm.source`."""
    group, _, leaf = path.rpartition(".")
    return f"{flat_prefix(group)}{leaf}"


def split(known: dict[str, Any]) -> dict[str, Any]:
    """`known` with the full name as first name and last name: the last word is the last name."""
    full = str(known.pop(FULL_NAME))
    first, _, last = full.rpartition(" ")
    return {"first_name": first or last, "last_name": last if first else ""} | known

"""Decides which unusable values are kept in `custom` instead of refused: one good contact is enough for a lead."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from crmgate.schemas.canonical import Canonical
from crmgate.schemas.coded import single
from crmgate.schemas.codes import WarningCode
from crmgate.schemas.readings import Doubt, Reading
from crmgate.schemas.text import as_text
from crmgate.schemas.vocabulary import EMAIL, FIRST_NAME, PHONE

_NAMES = {EMAIL: "email", PHONE: "phone"}
_OTHER = {EMAIL: PHONE, PHONE: EMAIL}
_MESSAGES = {
    Doubt.PARTLY: (WarningCode.PARTLY_READ, "Only the contact in it was used; the whole text was kept in `custom`."),
    Doubt.BROKEN: (WarningCode.PARTLY_READ, "A script of the page garbled it; the whole text was kept in `custom`."),
    Doubt.POSSIBLE: (
        WarningCode.DOUBTFUL_VALUE, "This number is possible, but it is not in the numbering plan; the typed text was"
        " kept in `custom`.",
    ),
}  # fmt: skip


def is_tolerated(canonical: Canonical, path: str, faulty: Set[str]) -> bool:
    """Whether the unusable value of the field `path` is kept instead of refused, although the visitor could correct it.

    That is a contact beside another one that can be used, and a value that came under a usual name of an optional
    field. `faulty` has the paths of all unusable values.
    """
    if path not in _OTHER:
        return path in canonical.renamed and path != FIRST_NAME
    other = _OTHER[path]
    return bool(canonical.others.get(path)) or (other in canonical.fields and other not in faulty)


def settle(canonical: Canonical, data: dict[str, Any], *, edit: bool) -> None:
    """Replace the readings of the contacts in `data` by their values; what was not read is kept as it was typed.

    An `edit` keeps a possible number that was accepted before without another warning.
    """
    for path in _OTHER:
        if path not in data:
            continue
        reading: Reading = data[path]
        data[path] = reading.value
        if reading.doubt is Doubt.NONE:
            continue
        typed = as_text(single(canonical.fields[path]))
        if edit and typed == reading.value:
            continue
        canonical.keep(canonical.renamed.get(path, _NAMES[path]), typed)
        canonical.warn(path, *_MESSAGES[reading.doubt])
        if reading.doubt is Doubt.BROKEN and EMAIL in data:
            del data[path]

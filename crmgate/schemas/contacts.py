"""One good contact is enough: what is wrong with another one, or with an optional field, does not cost the lead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from crmgate.schemas.canonical import EMAIL, FIRST_NAME, PHONE, Canonical
from crmgate.schemas.codes import WarningCode
from crmgate.schemas.faults import FieldError
from crmgate.schemas.readings import Doubt, Reading
from crmgate.schemas.text import as_text

_CONTACTS = {"email": EMAIL, "phone": PHONE}
_OTHER = {EMAIL: PHONE, PHONE: EMAIL}
_MESSAGES = {
    Doubt.PARTLY: (WarningCode.PARTLY_READ, "Only the contact in it was used; the whole text was kept in `custom`."),
    Doubt.BROKEN: (WarningCode.PARTLY_READ, "A script of the page garbled it; the whole text was kept in `custom`."),
    Doubt.POSSIBLE: (
        WarningCode.DOUBTFUL_VALUE, "This number is possible, but it is not in the numbering plan; the typed text was"
        " kept in `custom`.",
    ),
}  # fmt: skip


def spared(canonical: Canonical, errors: Sequence[FieldError]) -> bool:
    """Move the values with errors that must not cost the lead to `custom`, with a warning. Whether there were any.

    These are an unusable contact beside another one, and a value that came under a usual name of an optional field.
    """
    faulty = {path: error for error in errors if (path := _path(canonical, error)) is not None}
    moved = [path for path in faulty if _is_spared(canonical, path, faulty)]
    for path in moved:
        name = canonical.renamed.get(path, path.rpartition(".")[2])
        canonical.keep(name, canonical.fields.pop(path))
        message = f"{faulty[path].message} It was kept in `custom`."
        canonical.warn(canonical.renamed.get(path, path), WarningCode.UNUSABLE_VALUE, message)
        if path in _OTHER and canonical.others.get(path):
            canonical.fields[path] = canonical.others[path].pop(0)
    return bool(moved)


def _path(canonical: Canonical, error: FieldError) -> str | None:
    """The sent field that an error is about, also one about an entry of its list."""
    head, _, tail = error.field.rpartition(".")
    return next((path for path in (error.field, head if tail.isdigit() else "") if path in canonical.fields), None)


def _is_spared(canonical: Canonical, path: str, faulty: dict[str, FieldError]) -> bool:
    if path in _OTHER:
        if canonical.others.get(path):
            return True
        return _OTHER[path] in canonical.fields and _OTHER[path] not in faulty
    return path in canonical.renamed and path != FIRST_NAME


def settle(canonical: Canonical, data: dict[str, Any], *, edit: bool) -> None:
    """Replace the readings of the contacts by their values; what was not read is kept as it was typed.

    An `edit` keeps a possible number that was accepted before without another warning.
    """
    for name, reading in list(_readings(data)):
        data[name] = reading.value
        typed = as_text(canonical.fields[_CONTACTS[name]])
        if reading.doubt is Doubt.NONE or (edit and typed == reading.value):
            continue
        canonical.keep(canonical.renamed.get(_CONTACTS[name], name), typed)
        canonical.warn(_CONTACTS[name], *_MESSAGES[reading.doubt])
        if reading.doubt is Doubt.BROKEN and "email" in data:
            del data[name]


def _readings(data: dict[str, Any]) -> Iterator[tuple[str, Reading]]:
    yield from ((name, data[name]) for name in _CONTACTS if name in data)

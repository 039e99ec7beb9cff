"""Assigns the fields of a body to canonical names, before validation; what has no place there is kept in `custom`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from crmgate.schemas import full_names
from crmgate.schemas.application import CUSTOM_FIELDS, CUSTOM_NAME
from crmgate.schemas.coded import NOTHING
from crmgate.schemas.codes import WarningCode
from crmgate.schemas.entries import FURTHER, Rank, SentField, entries
from crmgate.schemas.faults import FieldError
from crmgate.schemas.fields import CUSTOM_TEXT
from crmgate.schemas.names import FULL_NAME
from crmgate.schemas.text import as_text, clean, is_blank, tidy
from crmgate.schemas.vocabulary import (
    APPLICATION,
    CONTACT_PATH,
    CUSTOM,
    EMAIL,
    FIRST_NAME,
    FULL_NAME_PATH,
    LAST_NAME,
    PHONE,
    Vocabulary,
    flat_name,
)

OTHERS = "other_fields"
"""The entry of `custom` for the unknown fields beyond `CUSTOM_FIELDS`, each with its name."""
OTHERS_TEXT = 10_000
MAX_WARNINGS = 100
"""Largest number of warnings for one submission: a body can contain thousands of fields."""
_SEPARATORS = {PHONE: ", ", EMAIL: ", ", FULL_NAME_PATH: " "}
"""What joins the parts of a value that was sent in parts."""
_NO_FIELD = (CUSTOM, FURTHER)
_RANK = attrgetter("rank")


@dataclass(frozen=True, slots=True)
class FieldWarning:
    """A field that was accepted but changed, or stored under another name."""

    field: str
    code: WarningCode
    message: str


@dataclass
class Canonical:
    """A body by canonical names: known `fields` by dotted path, and all others in `custom`. `raw` is the body."""

    words: Vocabulary
    raw: Mapping[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    custom: dict[str, str] = field(default_factory=dict)
    warnings: list[FieldWarning] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    """Names that were sent and are not known."""
    renamed: dict[str, str] = field(default_factory=dict)
    """Name that was sent for each field that has it from FIELD_ALIASES or the usual names."""
    others: dict[str, list[Any]] = field(default_factory=dict)
    """Further values of a field that were sent, in the order of precedence."""

    def keep(self, name: str, value: Any) -> None:
        """Put `value` into `custom`; a second value for the same name is appended on a new line.

        A text or name that is too long is cut. Fields beyond `CUSTOM_FIELDS` share the entry `OTHERS`.
        """
        value = tidy(value)
        if is_blank(value):
            return
        name, text = clean(name) or "unnamed", as_text(value)
        if len(name) > CUSTOM_NAME:
            self.warn(name, WarningCode.CUT, f"A name has at most {CUSTOM_NAME} characters; the rest is in the text.")
            name, text = name[:CUSTOM_NAME].rstrip(), f"{name[:500]}: {text}"
        if name not in self.custom and name != OTHERS and len(self.custom) - (OTHERS in self.custom) >= CUSTOM_FIELDS:
            name, text = OTHERS, f"{name}: {text}"
        known = self.custom.get(name)
        self._put(name, text if known in (None, text) else f"{known}\n{text}")

    def _put(self, name: str, text: str) -> None:
        limit = OTHERS_TEXT if name == OTHERS else CUSTOM_TEXT
        if name == OTHERS and OTHERS not in self.custom:
            self.warn(name, WarningCode.UNKNOWN_FIELD, f"More than {CUSTOM_FIELDS} fields are kept in one text.")
        if len(text) > limit:
            self.warn(name, WarningCode.CUT, f"Only the first {limit:,} characters were kept in `{self.words.rest}`.")
        self.custom[name] = text[:limit].rstrip()

    def warn(self, name: str, code: WarningCode, message: str) -> None:
        """Add a warning about the field `name`, once for each code."""
        warning = FieldWarning(clean(name)[:CUSTOM_NAME], code, message)
        if len(self.warnings) < MAX_WARNINGS and warning not in self.warnings:
            self.warnings.append(warning)

    def mend(self, path: str, fault: FieldError) -> None:
        """Replace the value of `path` with its usable part, or with the next one that was sent, and keep the rest.

        `fault` is the error of the value in `fields`.
        """
        mended = self.words.declared[path].mend(self.fields.pop(path), fault.message)
        further = self.others.get(path)
        if mended.value is not NOTHING:
            self.fields[path] = mended.value
        elif further:
            self.fields[path] = further.pop(0)
        name = self.renamed.get(path)
        leaf = path.rpartition(".")[2]
        self.keep(name or (leaf if flat_name(path) == leaf else path), mended.kept)
        self.warn(name or path, mended.code, f"{mended.message} kept in `{self.words.rest}`.")


def canonicalise(
    raw: Mapping[str, Any], words: Vocabulary | None = None, aliases: Mapping[str, str] | None = None
) -> Canonical:
    """Assign the fields of `raw` to canonical names.

    A nested name takes precedence over a flat one, that over one of FIELD_ALIASES, and that over a usual name. `words`
    is the vocabulary, by default that of an application. `aliases` is the setting FIELD_ALIASES.
    """
    result = Canonical(words or APPLICATION, raw)
    nested, others = entries(raw, result.words, aliases or {})
    for path, sent in nested.items():
        value = clean(sent) if type(sent) is str else tidy(sent)
        if value if type(value) is str else not is_blank(value):
            result.fields[path] = value
    for entry in sorted(others, key=_RANK):
        value = entry.value = clean(entry.value) if type(entry.value) is str else tidy(entry.value)
        if value if type(value) is str else not is_blank(value):
            _place(result, entry)
    if FULL_NAME_PATH in result.fields:
        split_name(result)
    return result


def _place(result: Canonical, entry: SentField) -> None:
    if entry.target == CONTACT_PATH:
        entry.target = EMAIL if "@" in as_text(entry.value).lstrip("@") else PHONE
    target = entry.target
    if target is None or target in _NO_FIELD:
        _keep(result, entry)
    elif target in result.fields:
        _compare(result, entry, target)
    else:
        result.fields[target] = _joined(entry) if target in _SEPARATORS else entry.value
        if entry.rank >= Rank.SETTING:
            result.renamed[target] = entry.name


def _own_name(result: Canonical, entry: SentField) -> str:
    """The name of an entry in `custom`."""
    return entry.name.removeprefix(f"{result.words.rest}.")


def _keep(result: Canonical, entry: SentField) -> None:
    rest = result.words.rest
    result.keep(_own_name(result, entry), entry.value)
    if entry.target is None:
        result.unknown.append(entry.name)
        result.warn(entry.name, WarningCode.UNKNOWN_FIELD, f"This field is not known; it was kept in `{rest}`.")
    elif entry.target == FURTHER:
        message = f"Only the first of several values was used; the others were kept in `{rest}`."
        result.warn(entry.name, WarningCode.CONFLICTING_VALUES, message)


def _compare(result: Canonical, entry: SentField, target: str) -> None:
    if result.fields[target] == entry.value:
        return
    result.others.setdefault(target, []).append(_joined(entry))
    result.keep(_own_name(result, entry), entry.value)
    result.warn(
        entry.name,
        WarningCode.CONFLICTING_VALUES,
        f"`{target}` was sent twice with different values; this one was kept in `{result.words.rest}`.",
    )


def _joined(entry: SentField) -> Any:
    """The value; a contact or a full name in several parts, or sent several times, as one text."""
    value = entry.value
    separator = _SEPARATORS.get(str(entry.target))
    if separator is None:
        return value
    if isinstance(value, Mapping) and entry.target == PHONE:
        return " ".join(as_text(part) for part in value.values() if not isinstance(part, Mapping | list))
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return separator.join(filter(None, value))
    return value


def split_name(result: Canonical) -> None:
    """Replace a full name by first name and last name. What contradicts a name that was sent is kept."""
    fields, full = result.fields, result.fields.pop(FULL_NAME_PATH)
    sent, first, last = result.renamed.pop(FULL_NAME_PATH, FULL_NAME), fields.get(FIRST_NAME), fields.get(LAST_NAME)
    names = _names(full, first, last)
    if names is None:
        result.keep(sent, full)
        message = f"It is no name, or not that of the other fields; it was kept in `{result.words.rest}`."
        result.warn(sent, WarningCode.CONFLICTING_VALUES if first or last else WarningCode.UNUSABLE_VALUE, message)
        return
    fields |= {path: name for path, name in zip((FIRST_NAME, LAST_NAME), names, strict=True) if name}
    if not last:
        result.renamed[LAST_NAME] = sent  # a last name that is too long is no reason to refuse the lead


def _names(full: Any, first: Any, last: Any) -> tuple[str, str] | None:
    """First name and last name from a full name and those that were sent; None if they contradict each other."""
    if not all(isinstance(name, str) for name in (full, first or "", last or "")):
        return None
    if not any(char.isalpha() for char in full):
        return None
    return full_names.rest_of(full, first or "", last or "") if first or last else full_names.split(full)

"""The definitions of Lead in EspoCRM's metadata: its fields and their types, and its unique indexes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from crmgate.errors import Code, ProviderError, RateLimited, Unavailable
from crmgate.provider import FieldMap, FieldType, ValueForm

from .api import EspoApi

FRESH = 300.0
"""Seconds for which the definitions are cached."""
LISTS = ("multiEnum", "checklist", "array")
FORMS = {
    "bool": ValueForm.BOOLEAN,
    "int": ValueForm.INTEGER,
    "float": ValueForm.NUMBER,
    "date": ValueForm.DATE,
    "datetime": ValueForm.MOMENT,
}
"""Forms of the values of fields that are no text, by the type of the field."""
MOMENT_FORMAT = "%Y-%m-%d %H:%M:%S"


@dataclass(frozen=True)
class LeadDefinitions:
    """Definitions of Lead: `fields` and `indexes` by name."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    indexes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> LeadDefinitions:
        """The definitions in the metadata below `entityDefs.Lead`."""
        fields, indexes = body.get("fields"), body.get("indexes")
        return cls(fields if isinstance(fields, dict) else {}, indexes if isinstance(indexes, dict) else {})

    def field(self, name: str) -> dict[str, Any]:
        """Definition of a field; empty if there is no such field."""
        found = self.fields.get(name)
        return found if isinstance(found, dict) else {}

    def is_unique(self, name: str) -> bool:
        """Whether a unique index contains this field alone."""
        listed = (index for index in self.indexes.values() if isinstance(index, dict))
        # EspoCRM also reads an older notation, a flag.
        return any(
            index.get("columns") == [name] and (index.get("type") == "unique" or index.get("unique") is True)
            for index in listed
        )


class EspoMetadata:
    """Reads the definitions of Lead. Attempts to deliver use definitions that are at most `FRESH` seconds old."""

    def __init__(self, api: EspoApi, wanted: FieldMap) -> None:
        self._api, self._wanted = api, wanted
        self._known, self._read_at = LeadDefinitions(), float("-inf")

    def read(self) -> LeadDefinitions:
        """The definitions as they are now. Raises `ProviderError`."""
        known = LeadDefinitions.of(self._api.read("Metadata", key="entityDefs.Lead"))
        self._known, self._read_at = known, time.monotonic()
        return known

    def recent(self) -> LeadDefinitions:
        """The cached definitions; empty if EspoCRM does not show them.

        Raises `ProviderError` if EspoCRM sends no answer, accepts no requests or refuses the key.
        """
        if time.monotonic() - self._read_at > FRESH:
            self._refresh()
        return self._known

    def _refresh(self) -> None:
        try:
            self.read()
        except Unavailable as error:  # an outage of the metadata alone stops no lead
            if error.status is None:
                raise
        except ProviderError as error:
            if isinstance(error, RateLimited) or error.code is Code.BAD_CREDENTIALS:
                raise
            self._read_at = time.monotonic()

    def typed_map(self) -> FieldMap:
        """The configured mapping with the types of its fields. Raises `ProviderError` as `recent` does."""
        return self._typed(self.recent())

    def cached_map(self) -> FieldMap:
        """The configured mapping with the types that were read last, of whatever age. Sends no request."""
        return self._typed(self._known)

    def _typed(self, known: LeadDefinitions) -> FieldMap:
        types = {name: field_type(known.field(name)) for name in self._wanted.names.values() if name}
        return replace(self._wanted, types=types)


def field_type(definition: Mapping[str, Any]) -> FieldType:
    """Form of the values that a field takes. Text, unless EspoCRM would refuse or misread a text."""
    kind = str(definition.get("type"))
    if kind in LISTS:
        return FieldType(several=True, options=_options(definition))
    return FieldType(FORMS.get(kind, ValueForm.TEXT), moment_format=MOMENT_FORMAT)


def _options(definition: Mapping[str, Any]) -> dict[str, str] | None:
    """Options of a list; None if it takes any text, or if its options are not its own."""
    options = definition.get("options")
    if definition.get("allowCustomOptions") or not isinstance(options, list) or not options:
        return None
    return {str(option): str(option) for option in options}

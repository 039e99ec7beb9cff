"""Texts of a record: descriptions below each other, and the comparison of what was sent with the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def below(before: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with its description below `before`."""
    return {**record, "description": joined(before, record["description"])}


def joined(*parts: Any) -> str:
    """Paragraphs of a text: the parts that are not empty."""
    return "\n\n".join(str(part) for part in parts if part)


def dropped(sent: Mapping[str, Any], echo: Mapping[str, Any]) -> tuple[str, ...]:
    """Fields whose value is not in the answer; blanks, case and punctuation do not count."""
    filled = {name: value for name, value in sent.items() if value != ""}
    return tuple(
        name for name, value in filled.items() if echo.get(name) in (None, "") or not _equal(value, echo[name])
    )


def _equal(value: Any, echo: Any) -> bool:
    return bool(value == echo) or bare(value) == bare(echo)


def bare(value: Any) -> str:
    """The letters and digits of a value, in lower case."""
    return "".join(character for character in str(value).casefold() if character.isalnum())


def record_of(base: Mapping[str, str], mapped: Mapping[str, Any], description: str) -> dict[str, Any]:
    """Body of a create or an update. Blank values are left out, because EspoCRM accepts blank names silently."""
    record = {**base, **{name: value for name, value in mapped.items() if str(value).strip()}}
    return record | {"description": joined(record.get("description"), description)}

"""Splits a full name into first name and last name."""

from __future__ import annotations

import re

_COMMA = re.compile(r"\s*[,،]\s*")
_TITLES = frozenset({"jr", "sr", "ii", "iii", "iv", "phd", "md", "mba", "msc", "ma", "bsc", "esq", "dds"})
"""What may follow a name after a comma without being a first name."""
_PATRONYMIC = re.compile(r".+(вич|вна|чна|ovich|evich|ovna|evna)", re.IGNORECASE)


def split(full: str) -> tuple[str, str]:
    """First name and last name of a full name; the last name of a single word is empty.

    The last word is the last name. `Lovelace, Ada` has the last name first, and so has a Russian name that ends with a
    patronymic, such as `Иванов Иван Иванович`.
    """
    last, *rest = _COMMA.split(full.strip(), maxsplit=1)
    if last and rest and rest[0] and rest[0].replace(".", "").casefold() not in _TITLES:
        return rest[0], last
    words = full.split()
    if len(words) == 3 and _PATRONYMIC.fullmatch(words[2]) and not _PATRONYMIC.fullmatch(words[1]):
        return " ".join(words[1:]), words[0]
    return _before_last_word(full, titled=bool(rest))


def _before_last_word(full: str, *, titled: bool) -> tuple[str, str]:
    words = full.split()
    count = 2 if titled and len(words) > 2 else 1
    if len(words) <= count:
        return " ".join(words), ""
    return " ".join(words[:-count]), " ".join(words[-count:])


def rest_of(full: str, first: str, last: str) -> tuple[str, str] | None:
    """First name and last name if `full` agrees with the parts that are known; None if it says something else.

    With a last name that `full` does not contain, `full` is the first name; with another first name, a single word is
    the last name (`Vorname` and `Name`).
    """
    words, known = full.split(), (first or last).split()
    if first and last:
        both = {_same(f"{first} {last}"), _same(f"{last} {first}"), _same(f"{last}, {first}"), _same(first)}
        return (first, last) if _same(full) in both else None
    if last:
        return _without(words, known) or full, last
    if len(words) == 1 and not _has(words, known):
        return first, full
    return (first, _without(words, known)) if _has(words, known) else None


def _without(words: list[str], known: list[str]) -> str:
    """The words without the known ones at their beginning or end; empty if they are all known."""
    if _same(" ".join(words[-len(known) :])) == _same(" ".join(known)):
        return " ".join(words[: -len(known)]).rstrip(",")
    if _same(" ".join(words[: len(known)])).rstrip(",") == _same(" ".join(known)):
        return " ".join(words[len(known) :])
    return ""


def _has(words: list[str], known: list[str]) -> bool:
    return bool(_without(words, known)) or _same(" ".join(words)) == _same(" ".join(known))


def _same(text: str) -> str:
    return " ".join(text.split()).casefold()

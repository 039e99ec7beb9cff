"""Base class of the data classes, and the base class of their words.

`to_dict` converts a record to JSON types, `from_dict` converts it back. `from_dict` ignores unknown keys, so that an
older process can read what a newer process wrote.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar, Self


class Word(StrEnum):
    """A word of a fixed list, as it is kept in Redis. `read` also takes a word that only a newer version has."""

    @classmethod
    def read(cls, text: str) -> Self:
        """The member `text`, else a value of this type that keeps the text, equals no member and is not `known`.

        So an older process can list, show and export what a newer one wrote.
        """
        try:
            return cls(text)
        except ValueError:
            unknown = str.__new__(cls, text)
        unknown._name_, unknown._value_ = "UNKNOWN", text
        return unknown

    @property
    def known(self) -> bool:
        """Whether this version has the word. A `match` over the members comes after a check of this."""
        return self.name in type(self).__members__


class Record:
    """Base class of the records: conversion to and from plain dictionaries."""

    NESTED: ClassVar[Mapping[str, type[Record]]] = {}
    """Classes of nested records by field name."""
    WORDS: ClassVar[Mapping[str, type[Word]]] = {}
    """The type of each field that holds a word, by field name."""

    def to_dict(self) -> dict[str, Any]:
        """This record as JSON types. Leaves out empty values that are the defaults of `from_dict`."""
        result = {}
        for name, left_out in _fields(type(self)).items():  # type: ignore[arg-type]
            value = getattr(self, name)
            if type(value) is not str:
                value = _plain(value)
            if not (left_out and value in _EMPTY):
                result[name] = value
        return result

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The record from the result of `to_dict`. A null value counts as absent."""
        known, words, nested = _fields(cls), cls.WORDS, cls.NESTED  # type: ignore[arg-type]
        present: dict[str, Any] = {}
        for name, value in data.items():
            if name in words and value is not None:
                present[name] = words[name].read(value)
            elif name in known and value is not None:
                present[name] = value if type(value) is str else _rich(value, nested.get(name))
        return cls(**present)


_EMPTY: tuple[Any, ...] = (None, "", [], {})


@functools.cache
def _fields(record: type[Any]) -> dict[str, bool]:
    """Names of the fields, each with whether `to_dict` leaves its empty value out: computed once for each class."""
    return {f.name: _empty_by_default(f) for f in dataclasses.fields(record)}


def _empty_by_default(declared: dataclasses.Field[Any]) -> bool:
    if declared.default_factory is not dataclasses.MISSING:
        return _plain(declared.default_factory()) in _EMPTY
    return declared.default is not dataclasses.MISSING and _plain(declared.default) in _EMPTY


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def _rich(value: Any, record: type[Record] | None) -> Any:
    if isinstance(value, list):
        return tuple(_rich(item, record) for item in value)
    return record.from_dict(value) if record is not None and isinstance(value, Mapping) else value

"""Base classes of the data classes and of the enumerations in them.

`to_dict` converts a record to JSON types, `from_dict` converts it back. `from_dict` ignores unknown keys, so that an
older process can read what a newer process wrote.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from enum import StrEnum
from operator import attrgetter
from typing import Any, ClassVar, NamedTuple, Self


class Word(StrEnum):
    """Base class of enumerations that Redis stores. `read` also accepts a value that only a newer version has."""

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
        """Whether this version has the value. Check it before a `match` over the members."""
        return self.name in type(self).__members__


class Record:
    """Base class of the records: conversion to and from plain dictionaries."""

    NESTED: ClassVar[Mapping[str, type[Record]]] = {}
    """Classes of nested records by field name."""
    WORDS: ClassVar[Mapping[str, type[Word]]] = {}
    """The enumeration of each field that holds one, by field name."""

    def to_dict(self) -> dict[str, Any]:
        """This record as JSON types. Leaves out empty values that are the defaults of `from_dict`."""
        shape, result = _shape(type(self)), dict[str, Any]()
        for name, value in zip(shape.names, shape.values(self), strict=True):
            plain = value if type(value) in _SCALARS else _plain(value)
            if plain or plain not in _EMPTY or name not in shape.empty:
                result[name] = plain
        return result

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The record from the result of `to_dict`. A null value counts as absent."""
        known = _shape(cls).known
        present = {name: value for name, value in data.items() if name in known and value is not None}
        special = cls.WORDS.keys() | cls.NESTED.keys()
        return cls(**{
            name: value if type(value) in _SCALARS and name not in special else cls._read(name, value)
            for name, value in present.items()
        })  # fmt: skip

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        if name in cls.WORDS:
            return cls.WORDS[name].read(value)
        return _rich(value, cls.NESTED.get(name))


_EMPTY: tuple[Any, ...] = (None, "", [], {})
_SCALARS = frozenset({str, int, float, bool, type(None)})
"""Types that need no conversion."""


class _Shape(NamedTuple):
    """The fields of a class of records: names, a function that reads them, and those that are empty by default."""

    names: tuple[str, ...]
    values: Callable[[Any], tuple[Any, ...]]
    known: frozenset[str]
    empty: frozenset[str]


_SHAPES: dict[type[Any], _Shape] = {}


def _shape(cls: type[Any]) -> _Shape:
    shape = _SHAPES.get(cls)
    if shape is None:
        shape = _SHAPES[cls] = _shape_of(cls)
    return shape


def _shape_of(cls: type[Any]) -> _Shape:
    declared = dataclasses.fields(cls)
    names = tuple(each.name for each in declared)
    empty = frozenset(each.name for each in declared if _empty_by_default(each))
    return _Shape(names, _reader(names), frozenset(names), empty)


def _reader(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """A function that returns the values of these attributes; `attrgetter` returns no tuple for a single one."""
    get = attrgetter(*names)
    return get if len(names) > 1 else lambda record: (get(record),)


def _empty_by_default(declared: dataclasses.Field[Any]) -> bool:
    if declared.default_factory is not dataclasses.MISSING:
        return _plain(declared.default_factory()) in _EMPTY
    return declared.default is not dataclasses.MISSING and _plain(declared.default) in _EMPTY


def _plain(value: Any) -> Any:
    if type(value) in _SCALARS:
        return value
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def _rich(value: Any, record: type[Record] | None) -> Any:
    if isinstance(value, list):
        return tuple(_rich(item, record) for item in value)
    return record.from_dict(value) if record is not None and isinstance(value, Mapping) else value

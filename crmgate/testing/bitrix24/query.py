"""The list methods of Bitrix24: filter, order, pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from crmgate.testing.bitrix24.wire import Params, Reply, VendorError, flatten, integer, mapping, text, yes

PAGE = 50

Record = dict[str, Any]
Test = Callable[[Record], bool]
Getter = Callable[[Record], Any]

# Longest first: "!=%" must not be read as "!=" and a field called "%...".
_OPERATORS = ("!=%", "!%=", "!@", ">=", "<=", "=%", "%=", "!%", "!=", "@", "%", "=", "!", ">", "<")


def getter(name: str) -> Getter:
    """Reads one field of a record."""
    return lambda record: record.get(name)


def split_key(key: str) -> tuple[str, str]:
    """A filter key as operator and field; no operator means equality."""
    operator = next((op for op in _OPERATORS if key.startswith(op)), "")
    return operator or "=", key[len(operator) :]


def compile_filter(conditions: Params, getters: Mapping[str, Getter], strict: bool) -> Test:
    """A filter as a function of a record. `strict`: an unknown field is refused, otherwise ignored."""
    tests = [test for key, wanted in conditions.items() if (test := _test(key, wanted, getters, strict))]
    any_of = text(conditions.get("logic")).upper() == "OR"
    return lambda record: (any if any_of and tests else all)(test(record) for test in tests)


def _test(key: str, wanted: Any, getters: Mapping[str, Getter], strict: bool) -> Test | None:
    if key == "logic":
        return None
    if key.isdigit():
        return compile_filter(mapping({"filter": wanted}, "filter"), getters, strict)
    operator, name = split_key(key)
    if name in getters:
        read = getters[name]
        return lambda record: holds(operator, read(record), wanted)
    if strict:
        raise VendorError("INVALID_ARG_VALUE", f"Invalid filter: field '{name}' is not allowed in filter")
    return None


def holds(operator: str, actual: Any, wanted: Any) -> bool:
    """Whether `actual` meets one condition of a filter."""
    if operator.startswith("!"):
        return not holds(operator[1:] or "=", actual, wanted)
    if isinstance(actual, list):
        return any(holds(operator, single, wanted) for single in actual)
    if operator in {"=", "@"}:
        return any(text(actual) == text(single) for single in (flatten(wanted) or [wanted]))
    if "%" in operator:
        return _like(text(actual), text(wanted) if "=" in operator else f"%{text(wanted)}%")
    # An empty value is neither above nor below any other, as in the portal's database.
    return text(actual) != "" and _compare(operator, sort_key(actual), sort_key(wanted))


def _like(actual: str, pattern: str) -> bool:
    expression = ".*".join(re.escape(part) for part in pattern.split("%"))
    return re.fullmatch(expression, actual, re.IGNORECASE | re.DOTALL) is not None


def _compare(operator: str, actual: tuple[float, str], wanted: tuple[float, str]) -> bool:
    match operator:
        case ">":
            return actual > wanted
        case ">=":
            return actual >= wanted
        case "<":
            return actual < wanted
    return actual <= wanted


def sort_key(value: Any) -> tuple[float, str]:
    """Sort key: numbers by size, then all other values by their text."""
    try:
        return float(text(value)), ""
    except ValueError:
        return float("inf"), text(value).lower()


def compile_order(order: Params, getters: Mapping[str, Getter], strict: bool) -> list[tuple[Getter, bool]]:
    """An `order` parameter as (getter, descending) pairs."""
    steps = []
    for name, direction in order.items():
        descending = text(direction).upper() == "DESC"
        if name in getters and (descending or text(direction).upper() == "ASC"):
            steps.append((getters[name], descending))
        elif strict:
            raise VendorError("INVALID_ARG_VALUE", _order_problem(name, direction, getters))
    return steps


def _order_problem(name: str, direction: Any, getters: Mapping[str, Getter]) -> str:
    if name not in getters:
        return f"Invalid order: field '{name}' is not allowed in order"
    return f"Invalid order: allowed sort directions are `ASC, DESC`. But got '{direction}' for field '{name}'"


def select(records: Iterable[Record], params: Params, getters: Mapping[str, Getter], strict: bool) -> list[Record]:
    """The records that match `filter`, in the order of `order`; by default in the order in which they were stored."""
    test = compile_filter(mapping(params, "filter"), getters, strict)
    steps = compile_order(mapping(params, "order"), getters, strict)
    chosen = [record for record in records if test(record)]
    for read, descending in reversed(steps):
        chosen.sort(key=_by(read), reverse=descending)
    return chosen


def _by(read: Getter) -> Callable[[Record], tuple[float, str]]:
    return lambda record: sort_key(read(record))


def bare_rows(params: Params) -> bool:
    """Whether a list shows empty rows: a bug of Bitrix24 with `select` and `useOriginalUfNames` together."""
    return yes(params.get("useOriginalUfNames")) and bool(list(flatten(params.get("select"))))


def page(records: Sequence[Record], params: Params, view: Callable[[Record], Any]) -> Reply:
    """One page of a list. With `start: -1` records are not counted, and `total` and `next` are missing."""
    start = integer(params.get("start", 0))
    rows = [view(record) for record in records[max(start, 0) : max(start, 0) + PAGE]]
    if start < 0:
        return Reply(rows)
    following = start + PAGE
    return Reply(rows, total=len(records), next=following if following < len(records) else None)

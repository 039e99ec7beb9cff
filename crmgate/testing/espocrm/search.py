"""Parses the query string of EspoCRM's lists (`where`, `select`, `orderBy`) and applies it to records."""

from __future__ import annotations

import datetime
import json
import re
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from crmgate.testing.espocrm.answers import EspoError, crashed
from crmgate.testing.espocrm.fields import clean, fold
from crmgate.testing.espocrm.metadata import EntityType, Record

MAX_SIZE = 200
Get = Callable[[Record, str], Any]


@dataclass
class Search:
    """Parameters of a list."""

    where: list[dict[str, Any]] = field(default_factory=list)
    select: list[str] | None = None
    offset: int = 0
    max_size: int = MAX_SIZE
    order_by: str | None = None
    order: str | None = None
    text: str | None = None
    primary_filter: str | None = None


def parse_search(query: str) -> Search:
    """Parse the parameters of a list. Unknown ones are ignored: a misspelt filter returns everything."""
    given = parse_query(query)
    if "searchParams" in given:
        given = _search_params(given["searchParams"])
        if not isinstance(given.get("select", []), list):
            raise EspoError(400, "select should be array.")
    select = given.get("select")
    return Search(
        where=_items(given.get("where", [])),
        select=select.split(",") if isinstance(select, str) else select,
        offset=_integer(given.get("offset", 0)),
        max_size=_size(given.get("maxSize", MAX_SIZE)),
        order_by=given.get("orderBy"),
        order=given.get("order"),
        text=given.get("textFilter"),
        primary_filter=given.get("primaryFilter"),
    )


def _search_params(text: str) -> dict[str, Any]:
    try:
        params: dict[str, Any] = json.loads(text)
    except ValueError:
        raise crashed() from None
    return params


def parse_query(query: str) -> dict[str, Any]:
    """Parse a query string with PHP's brackets: `where[0][type]=x` becomes `{"where": {"0": {"type": "x"}}}`."""
    parsed: dict[str, Any] = {}
    for name, value in urllib.parse.parse_qsl(query, keep_blank_values=True):
        first, *deeper = [name.split("[", 1)[0], *re.findall(r"\[([^\]]*)\]", name)]
        node, key = parsed, first
        for part in deeper:
            node = node.setdefault(key, {})
            key = part or str(len(node))
        node[key] = value
    return parsed


def check_where(kind: EntityType, where: list[dict[str, Any]], forbidden: set[str]) -> None:
    """Raise for an attribute or a type that does not exist, or one that the caller may not read."""
    for item in where:
        if item.get("type") in _GROUPS:
            check_where(kind, _items(item.get("value", [])), forbidden)
            continue
        attribute = item.get("attribute", "")
        if attribute in forbidden:
            # EspoCRM repeats the sentence.
            raise EspoError(400, " ".join([f"Forbidden attribute '{attribute}' in where."] * 2))
        if not kind.knows(attribute):
            raise EspoError(400, f"Not existing attribute '{attribute}' in where.")
        if item.get("type") not in _COMPARISONS:
            raise EspoError(400, f"Unknown where item type '{item.get('type')}'.")


def matches(record: Record, where: list[dict[str, Any]], get: Get, now: float) -> bool:
    """Whether a record meets all items of a checked `where`."""
    return all(_matches(record, item, get, now) for item in where)


def _matches(record: Record, item: Mapping[str, Any], get: Get, now: float) -> bool:
    if group := _GROUPS.get(item["type"]):
        return group(_matches(record, inner, get, now) for inner in _items(item.get("value", [])))
    return _COMPARISONS[item["type"]](get(record, item["attribute"]), item.get("value"), now)


def _items(value: Any) -> list[dict[str, Any]]:
    return list(value.values()) if isinstance(value, dict) else list(value)


def values_in(value: Any) -> list[Any]:
    """The values of a condition: one, or those of a list."""
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else [value]


def _integer(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise crashed() from None


def _size(value: Any) -> int:
    size = _integer(value)
    if size > MAX_SIZE:
        raise EspoError(403, f"Max size should not exceed {MAX_SIZE}. Use offset and limit.")
    return size


def _same(actual: Any, wanted: Any) -> bool:
    """Equal to the database: text without regard to case, accents and spaces at the end."""
    if actual is None or wanted is None:
        return False
    if isinstance(actual, list):
        return any(_same(one, wanted) for one in actual)
    if isinstance(actual, bool):
        return actual == (str(wanted).lower() in ("1", "true"))
    return fold(actual) == fold(wanted)


def _compare(actual: Any, wanted: Any) -> int | None:
    """-1, 0 or 1; None when one of them is null. Moments may come in ISO 8601."""
    if actual is None or wanted is None:
        return None
    try:
        one, other = float(actual), float(wanted)
    except (TypeError, ValueError):
        left, right = str(actual), str(clean({"type": "datetime"}, wanted))
        return (left > right) - (left < right)
    return (one > other) - (one < other)


def _between(actual: Any, wanted: Any) -> bool:
    low, high = values_in(wanted)
    return _compare(actual, low) in (0, 1) and _compare(actual, high) in (0, -1)


def _last_days(actual: Any, days: Any, now: float) -> bool:
    start = datetime.datetime.fromtimestamp(now, datetime.UTC) - datetime.timedelta(days=_integer(days))
    return _compare(actual, start.strftime("%Y-%m-%d 00:00:00")) in (0, 1)


def _like(actual: Any, pattern: str) -> bool:
    expression = ".*".join(re.escape(fold(part)) for part in pattern.split("%"))
    return actual is not None and re.fullmatch(expression, fold(actual), re.DOTALL) is not None


_GROUPS: dict[str, Callable[[Any], bool]] = {"and": all, "or": any, "not": lambda found: not all(found)}
_COMPARISONS: dict[str, Callable[[Any, Any, float], bool]] = {
    "equals": lambda actual, value, now: _same(actual, value),
    "notEquals": lambda actual, value, now: not _same(actual, value),
    "in": lambda actual, value, now: any(_same(actual, one) for one in values_in(value)),
    "notIn": lambda actual, value, now: not any(_same(actual, one) for one in values_in(value)),
    "isNull": lambda actual, value, now: actual is None,
    "isNotNull": lambda actual, value, now: actual is not None,
    "isTrue": lambda actual, value, now: actual is True,
    "isFalse": lambda actual, value, now: actual is False,
    "startsWith": lambda actual, value, now: _like(actual, f"{value}%"),
    "contains": lambda actual, value, now: _like(actual, f"%{value}%"),
    "like": lambda actual, value, now: _like(actual, value),
    "greaterThan": lambda actual, value, now: _compare(actual, value) == 1,
    "greaterThanOrEquals": lambda actual, value, now: _compare(actual, value) in (0, 1),
    "lessThan": lambda actual, value, now: _compare(actual, value) == -1,
    "lessThanOrEquals": lambda actual, value, now: _compare(actual, value) in (0, -1),
    "after": lambda actual, value, now: _compare(actual, value) == 1,
    "before": lambda actual, value, now: _compare(actual, value) == -1,
    "between": lambda actual, value, now: _between(actual, value),
    "lastXDays": _last_days,
}

"""Creates and finds many leads with few requests: `batch` takes 50 commands, and is one request for the rate limit.

https://apidocs.bitrix24.com/settings/how-to-call-rest-api/batch.html, https://apidocs.bitrix24.com/limits.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from crmgate.errors import (
    AuthFailed,
    Forbidden,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Rejected,
    Unavailable,
    Unsupported,
)
from crmgate.model import Delivered, Lead, Operation
from crmgate.provider import CRMProvider

from .api import BitrixApi
from .lookup import BitrixLookup, ids_of, numbers, raise_outage
from .records import BitrixRecords
from .text import plain, wide
from .values import KEPT, MULTIFIELDS, Row, dropped, title

COMMANDS = 50
"""Largest number of commands in a batch."""
VALUES = 20
"""Largest number of values in a search for duplicates."""
REFERENCE = "$result"
"""Beginning of a reference to another command of the batch: the portal replaces it, also in what a visitor typed."""
MOST_TEXT = 300_000
"""Largest number of characters of the records in a batch: the answer repeats them, and has a limit (MAX_BODY)."""
ABOUT_ALL = (Unavailable, RateLimited, AuthFailed, OutcomeUnknown)
"""Errors of one command that sending this lead alone cannot correct."""

Leads = Sequence[tuple[Lead, Operation]]
Outcome = Delivered | ProviderError | None


class BitrixBatch:
    """Creates leads of people whom the portal does not know, and finds leads by the ids of operations.

    `new` makes the record of a new lead from its fields, its text and its operation.
    """

    def __init__(
        self, crm: CRMProvider, api: BitrixApi, records: BitrixRecords, lookup: BitrixLookup,
        new: Callable[[Mapping[str, Any], str, Operation], Row],
    ) -> None:  # fmt: skip
        self._crm, self._api, self._records = crm, api, records
        self._lookup, self._new = lookup, new

    def create(self, leads: Leads) -> dict[str, Outcome]:
        """The outcome of each lead by operation id; None: nothing was sent for it. Raises `ProviderError`.

        None are people whom the portal may know, leads that the portal refuses, and those that would be changed: a
        text with a reference, and a character that the database of the portal may cut.
        """
        outcomes: dict[str, Outcome] = {operation.id: None for _, operation in leads}
        with suppress(Rejected, Unsupported, NotFound, Forbidden):  # of the batch itself: nothing was written
            known = self._known([lead for lead, _ in leads])
            fresh = [pair for position, pair in enumerate(leads) if position not in known]
            made = {operation.id: self._record(lead, operation) for lead, operation in fresh}
            return outcomes | self._written(_sendable(made))
        return outcomes

    def find(self, operations: Sequence[Operation]) -> dict[str, Delivered]:
        """Complete leads with the ids of these operations. Raises `ProviderError`."""
        refs = self._created([operation.id for operation in operations])
        if not refs:
            return {}
        results, refused = self._api.batch({key(name): self._records.get_request(ref) for name, ref in refs.items()})
        _raise_general(refused.values())
        whole = [one for one in operations if one.id in refs and _is_whole(results.get(key(one.id)), one)]
        return {one.id: self._crm.delivered(refs[one.id], adopted=True) for one in whole}

    def _record(self, lead: Lead, operation: Operation) -> Row:
        mapped = self._crm.map_lead(lead, operation)
        text = self._crm.describe(mapped, operation, lead.additional_info)
        return self._new({"title": title(lead), **mapped.fields}, plain(text), operation)

    def _created(self, origins: Sequence[str]) -> dict[str, str]:
        """Ids of the oldest leads with these `originId`, by these."""
        results, refused = self._api.batch({key(origin): self._lookup.created_request(origin) for origin in origins})
        _raise_general(refused.values())
        found = dict[str, str]()
        for origin in origins:
            rows = self._records.listed(("id", "originId"), results.get(key(origin), []))
            for row in reversed([row for row in rows if row["originId"] == origin]):
                found[origin] = self._records.type.ref(row["id"])
        return found

    def _written(self, records: Mapping[str, Row]) -> dict[str, Outcome]:
        """Create records in one request; the outcome of each by operation id."""
        if not records:
            return {}
        commands = {key(name): self._records.request(record) for name, record in records.items()}
        results, refused = self._api.batch(commands, safe=False)
        outcomes, echoes = dict[str, Outcome](), dict[str, tuple[str, Row]]()
        for name in records:
            error = refused.get(key(name))
            if error:
                outcomes[name] = error if isinstance(error, ABOUT_ALL) else None
                continue
            try:
                made, echo = self._records.saved(results[key(name)])
            except OutcomeUnknown as unclear:
                outcomes[name] = unclear
            else:
                echoes[name] = made, echo or {}
        return outcomes | self._completed(records, echoes)

    def _completed(self, records: Mapping[str, Row], echoes: Mapping[str, tuple[str, Row]]) -> dict[str, Outcome]:
        """Results of new leads. Values that the portal silently ignored are added to the comments, if possible."""
        gone = {name: tuple(dropped(records[name], echo)) for name, (_, echo) in echoes.items()}
        commands = dict[str, tuple[str, Row]]()
        for name, (made, _) in echoes.items():
            if rescued := [field for field in gone[name] if field not in (*KEPT, "comments")]:
                comments = rescuing(self._crm, records[name], rescued)
                commands[key(name)] = self._records.request({"comments": comments}, made)
        if commands:
            with suppress(ProviderError):
                self._api.batch(commands, safe=False)
        return {name: self._crm.delivered(made, dropped=gone[name]) for name, (made, _) in echoes.items()}

    def _known(self, leads: Sequence[Lead]) -> set[int]:
        """Positions of the leads of people whom the portal may know. Raises `ProviderError`.

        Many phones or emails are searched with one command. If it finds anybody, they are searched one by one.
        """
        if not self._crm.merges_duplicates:
            return set()
        groups = [group for kind in MULTIFIELDS for group in _groups(kind, leads)]
        hit = self._hits([(kind, [value for _, values in group for value in values]) for kind, group in groups])
        single = [(kind, one) for number in sorted(hit) for kind, group in [groups[number]] for one in group]
        asked, unasked = single[:COMMANDS], single[COMMANDS:]
        found = self._hits([(kind, values) for kind, (_, values) in asked], refused_hits=False)
        return {asked[number][1][0] for number in found} | {position for _, (position, _) in unasked}

    def _hits(self, searches: Sequence[tuple[str, list[str]]], *, refused_hits: bool = True) -> set[int]:
        """Positions of the searches that found anybody; with `refused_hits` also of those that the portal refused."""
        if not searches:
            return set()
        commands = {f"n{n}": self._lookup.search_request(kind, values) for n, (kind, values) in enumerate(searches)}
        results, refused = self._api.batch(commands)
        raise_outage(refused.values())
        entity = self._api.people.name
        found = {n for n in range(len(searches)) if ids_of({"": results.get(f"n{n}")}, entity)}
        return found | ({int(name[1:]) for name in refused} if refused_hits else set())


def rescuing(crm: CRMProvider, record: Mapping[str, Any], names: list[str]) -> str:
    """The comments of a record, with the values of the fields `names` that the portal ignored."""
    lines = crm.move({name: record[name] for name in names}, names, "comments")["comments"]
    return f"{record['comments']}\n\n{plain(lines)}"


def key(name: str) -> str:
    """Key of the command of an operation: one of digits would be a position for PHP."""
    return f"o{name}"


def _groups(kind: str, leads: Sequence[Lead]) -> Iterator[tuple[str, list[tuple[int, list[str]]]]]:
    """The phones or emails of the leads with the positions of these, in groups of at most `VALUES` values."""
    group = list[tuple[int, list[str]]]()
    for position, lead in enumerate(leads):
        values = numbers(lead).get(kind)
        if not values:
            continue
        if sum(len(others) for _, others in group) + len(values) > VALUES:
            yield kind, group
            group = []
        group.append((position, values))
    if group:
        yield kind, group


def _sendable(records: Mapping[str, Row]) -> dict[str, Row]:
    """The records whose texts the portal stores as they are, up to `MOST_TEXT`."""
    chosen, room = dict[str, Row](), MOST_TEXT
    for name, record in records.items():
        text, size = json.dumps(record, ensure_ascii=False), len(json.dumps(record))
        if REFERENCE not in text and not wide(text) and size <= room:
            chosen[name], room = record, room - size
    return chosen


def _is_whole(result: Any, operation: Operation) -> bool:
    """Whether a lead has the whole text of its operation. `find_lead` completes one that has not."""
    item = result.get("item") if isinstance(result, dict) else None
    return isinstance(item, dict) and operation.tracking_code in str(item.get("comments"))


def _raise_general(refused: Iterable[ProviderError]) -> None:
    for error in refused:
        if isinstance(error, ABOUT_ALL):
            raise error

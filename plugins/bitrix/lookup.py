"""Finds leads and deals of the same person, and what an earlier attempt left in the portal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from crmgate.errors import Forbidden, NotFound, ProviderError, RateLimited, Unavailable, Unsupported
from crmgate.model import Lead, Operation
from crmgate.provider import Known

from .api import BitrixApi
from .records import BitrixRecords
from .values import DEALS, LEADS, ORIGIN, Row, bare, closed, own

CANDIDATES = 50
"""Maximum number of records with the same phone or email that are compared: a page of the list, a batch."""
MOST_FOUND = 20
"""Number of records, the oldest ones, that the search for duplicates shows for a phone or an email."""
BY_ORIGIN = ("id", "originId")
SHOWN = ("id", "stageId", "stageSemanticId", "originatorId", "originId", "comments")


class BitrixLookup:
    """Reads records and comments. With `merges_duplicates=False` no person is known."""

    def __init__(self, api: BitrixApi, records: BitrixRecords, *, merges_duplicates: bool) -> None:
        self._api, self._records, self._merges_duplicates = api, records, merges_duplicates
        self._type = records.type

    def created(self, origin: str) -> list[str]:
        """Ids of the records with this `originId`, oldest first. Raises `ProviderError`."""
        method, params = self.created_request(origin)
        rows = self._records.listed(BY_ORIGIN, self._api.call(method, params, safe=True)["result"])
        found = [self._type.ref(row["id"]) for row in rows if row["originId"] == origin]
        if rows and not found:  # the portal ignored the filter: the record can be on a later page
            raise Unsupported(
                f"the portal does not filter {self._type.name}s by originId: earlier attempts cannot be found"
            )
        return found

    def created_request(self, origin: str) -> tuple[str, Row]:
        """REST method and parameters with which `created` lists records."""
        return self._records.list_request(BY_ORIGIN, {"=originatorId": ORIGIN["originatorId"], "=originId": origin})

    def known(self, people: list[int], operation: Operation) -> list[Known]:
        """Records of these people: the operation's own, and those that are not closed. Raises `ProviderError`."""
        rows = [(row, own(row, operation)) for row in self._of(people)]
        return [Known(self._type.ref(row["id"]), is_own) for row, is_own in rows if is_own or not closed(row)]

    def written_on_known(self, operation: Operation) -> str | None:
        """Id of the same person's record that the operation updated or commented on. Raises `ProviderError`."""
        rows = self._of(self.people(operation.lead))
        for row in rows:
            if operation.tracking_code in str(row.get("comments")):
                return self._type.ref(row["id"])
        return self.commented([self._type.ref(row["id"]) for row in rows], operation)

    def _of(self, people: list[int]) -> list[Row]:
        """The records of these people, oldest first: the leads themselves, or the newest deals of the contacts."""
        if not people or not self._merges_duplicates:
            return []
        if self._type is LEADS:
            return self._records.matching(SHOWN, {"@id": people})
        return self._records.matching((*SHOWN, "closed"), {"@contactId": people}, "DESC")[::-1]

    def people(self, lead: Lead) -> list[int]:
        """Numbers of the leads or contacts with this phone or email, oldest first; none if the portal refuses.

        Raises `ProviderError`.
        """
        kind = self._api.people.name
        commands = {kind: self.search_request(kind, values) for kind, values in numbers(lead).items()}
        searched = self._merges_duplicates or self._type is DEALS  # a deal needs its contact in any case
        if not searched or not commands:
            return []
        results, refused = self._api.batch(commands)
        raise_outage(refused.values())
        shown = {*ids_of(results, kind)} - self._of_another_country(lead.phone, results)
        ids, half = sorted({*shown, *self._newest(commands, results)}), CANDIDATES // 2
        return ids if len(ids) <= CANDIDATES else [*ids[:half], *ids[-half:]]

    def search_request(self, kind: str, values: Iterable[str]) -> tuple[str, Row]:
        """REST method and parameters that search people by at most 20 phones or emails (`kind`)."""
        entity = self._api.people.name.upper()
        return "crm.duplicate.findbycomm", {"entity_type": entity, "type": kind, "values": [*values]}

    def _newest(self, commands: Mapping[str, tuple[str, Row]], results: Row) -> list[int]:
        """Ids of the newest records with this phone or email, if the search for duplicates showed as many as it can.

        It shows the oldest ones only. The list compares numbers as they are stored. Raises `ProviderError`.
        """
        method = f"crm.{self._api.people.name}.list"
        full = [kind for kind in results if len(ids_of({kind: results[kind]}, self._api.people.name)) >= MOST_FOUND]
        options = {"select": ["ID"], "order": {"ID": "DESC"}, "start": -1}
        lists = {
            f"{kind}{n}": (method, {"filter": {kind: value}, **options})
            for kind in full for n, value in enumerate(commands[kind][1]["values"])
        }  # fmt: skip
        found, refused = self._api.batch(lists) if lists else ({}, {})
        raise_outage(refused.values())
        return [int(str(row["ID"])) for page in found.values() for row in rows_of(page)]

    def _of_another_country(self, phone: str, results: Row) -> set[int]:
        """Ids of people found by their phone alone whose number begins with +8 instead of +7, or the reverse.

        The search for duplicates takes both for equal, because Russian numbers are also written with an 8 and without a
        `+`: people with such a number stay. If the portal refuses the list, all of them stay. Raises `ProviderError`.

        A list shows phones only if `select` names them (https://dev.1c-bitrix.ru/rest_help/crm/leads/crm_lead_list.php).
        """
        kind = self._api.people.name
        ids = {*ids_of({"PHONE": results.get("PHONE")}, kind)} - {*ids_of({"EMAIL": results.get("EMAIL")}, kind)}
        if not phone.startswith(("+7", "+8")) or not ids:
            return set()
        options = {"filter": {"@ID": sorted(ids)}, "select": ["ID", "PHONE"], "start": -1}
        found, refused = self._api.batch({kind: (f"crm.{kind}.list", options)})
        raise_outage(refused.values())
        return {int(str(row["ID"])) for row in rows_of(found.get(kind)) if has_other_country(row, phone)}

    def commented(self, refs: Iterable[str], operation: Operation) -> str | None:
        """Id of the first record with the operation's comment among its 50 newest. Raises `ProviderError`."""
        commands = {f"of{ref}": self.comments(ref) for ref in refs if self._type.owns(ref)}
        results, refused = self._api.batch(commands) if commands else ({}, {})
        for error in refused.values():
            if not isinstance(error, NotFound | Forbidden):
                raise error
        return next((key[2:] for key, rows in results.items() if operation.tracking_code in str(rows)), None)

    def comments(self, ref: str) -> tuple[str, Row]:
        """REST method and parameters that list the comments of a record, the newest first."""
        order = {"select": ["ID", "COMMENT"], "order": {"ID": "DESC"}}
        return "crm.timeline.comment.list", {"filter": self._owner(ref), **order}

    def _owner(self, ref: str) -> Row:
        return {"ENTITY_ID": self._type.number(ref), "ENTITY_TYPE": self._type.name}

    def updated(self, operation: Operation) -> str | None:
        """Id of the operation's record, if its comments or its timeline contain the tracking code.

        Raises `ProviderError`.
        """
        item = self._records.readable(operation.lead_id)
        if item is None:
            return None
        if operation.tracking_code in str(item.get("comments")):
            return operation.lead_id
        return self.commented([operation.lead_id], operation)


def numbers(lead: Lead) -> dict[str, list[str]]:
    """The phone and the email of a lead in each spelling that is searched, by kind."""
    known = {"PHONE": [lead.phone, lead.phone.removeprefix("+")], "EMAIL": [lead.email, lead.email.lower()]}
    return {kind: [*dict.fromkeys(values)] for kind, values in known.items() if values[0]}


def ids_of(results: Row, kind: str) -> list[int]:
    """Ids of the leads or contacts in the answers of the search for duplicates."""
    found = (one for result in results.values() if isinstance(result, dict) for one in result.get(kind.upper()) or ())
    return [int(one) for one in found if str(one).isdecimal()]


def rows_of(page: Any) -> list[Row]:
    """The rows with an id of a page of a list; none if it is no list."""
    rows = [row for row in page if isinstance(row, dict)] if isinstance(page, list) else []
    return [row for row in rows if str(row.get("ID")).isdecimal()]


def has_other_country(row: Row, phone: str) -> bool:
    """Whether a row of a list has `phone` with +8 instead of +7 or the reverse, and in no other spelling."""
    values = [str(one.get("VALUE")) for one in row.get("PHONE") or () if isinstance(one, dict)]
    same = [value for value in values if bare(value)[1:] == bare(phone)[1:]]
    return bool(same) and all(value.strip().startswith("+") and bare(value) != bare(phone) for value in same)


def raise_outage(refused: Iterable[ProviderError]) -> None:
    """Raise an error that a later attempt may not meet. A refused search finds nobody."""
    for error in refused:
        if isinstance(error, Unavailable | RateLimited):
            raise error

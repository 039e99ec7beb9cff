"""Finds leads of the same person, and what an earlier attempt left in the portal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from crmgate.errors import Forbidden, NotFound, ProviderError, RateLimited, Unavailable, Unsupported
from crmgate.model import Lead, Operation
from crmgate.provider import Known

from .api import BitrixApi
from .leads import BitrixLeads
from .values import ORIGIN, Row, closed, own

CANDIDATES = 50
"""Maximum number of leads with the same phone or email that are compared: a page of the list, a batch."""
MOST_FOUND = 20
"""Number of leads, the oldest ones, that the search for duplicates shows for a phone or an email."""


class BitrixLookup:
    """Reads leads and comments. With `merges_duplicates=False` no leads of the same person are searched for."""

    def __init__(self, api: BitrixApi, leads: BitrixLeads, *, merges_duplicates: bool) -> None:
        self._api, self._leads, self._merges_duplicates = api, leads, merges_duplicates

    def created(self, origin: str) -> list[str]:
        """Ids of the leads with this `originId`, oldest first. Raises `ProviderError`."""
        rows = self._leads.list_leads(
            ("id", "originId"), {"=originatorId": ORIGIN["originatorId"], "=originId": origin}
        )
        found = [str(row["id"]) for row in rows if row["originId"] == origin]
        if rows and not found:  # the portal ignored the filter: the lead can be on a later page
            raise Unsupported("the portal does not filter leads by originId: earlier attempts cannot be found")
        return found

    def known(self, lead: Lead, operation: Operation) -> list[Known]:
        """Leads of the same person: the operation's own, and those that are not closed. Raises `ProviderError`."""
        rows = [(row, own(row, operation)) for row in self._namesakes(lead)]
        return [Known(str(row["id"]), is_own) for row, is_own in rows if is_own or not closed(row)]

    def written_on_known(self, operation: Operation) -> str | None:
        """Id of the same person's lead that the operation updated or commented on. Raises `ProviderError`."""
        rows = self._namesakes(operation.lead)
        for row in rows:
            if operation.tracking_code in str(row.get("comments")):
                return str(row["id"])
        return self.commented([str(row["id"]) for row in rows], operation)

    def _namesakes(self, lead: Lead) -> list[Row]:
        """Leads with this phone or email, oldest first; none if the portal refuses the search."""
        method, entity = "crm.duplicate.findbycomm", {"entity_type": "LEAD"}
        known = {"PHONE": [lead.phone, lead.phone.removeprefix("+")], "EMAIL": [lead.email, lead.email.lower()]}
        commands = {
            kind: (method, entity | {"type": kind, "values": [*dict.fromkeys(values)]})
            for kind, values in known.items() if values[0]
        }  # fmt: skip
        if not self._merges_duplicates or not commands:
            return []
        results, refused = self._api.batch(commands)
        _raise_outage(refused.values())
        ids, half = sorted({*_ids(results), *self._newest(commands, results)}), CANDIDATES // 2
        ids = ids if len(ids) <= CANDIDATES else [*ids[:half], *ids[-half:]]
        names = ("id", "stageId", "stageSemanticId", "originatorId", "originId", "comments")
        return self._leads.list_leads(names, {"@id": ids}) if ids else []

    def _newest(self, commands: Mapping[str, tuple[str, Row]], results: Row) -> list[int]:
        """Ids of the newest leads with this phone or email, if the search for duplicates showed as many as it can.

        It shows the oldest ones only. The list compares numbers as they are stored. Raises `ProviderError`.
        """
        full = [kind for kind in results if len(list(_ids({kind: results[kind]}))) >= MOST_FOUND]
        options = {"select": ["ID"], "order": {"ID": "DESC"}, "start": -1}
        lists = {
            f"{kind}{n}": ("crm.lead.list", {"filter": {kind: value}, **options})
            for kind in full for n, value in enumerate(commands[kind][1]["values"])
        }  # fmt: skip
        found, refused = self._api.batch(lists) if lists else ({}, {})
        _raise_outage(refused.values())
        rows = [row for page in found.values() if isinstance(page, list) for row in page if isinstance(row, dict)]
        return [int(str(row["ID"])) for row in rows if str(row.get("ID")).isdecimal()]

    def commented(self, ids: Iterable[str], operation: Operation) -> str | None:
        """Id of the first lead with the operation's comment among its 50 newest. Raises `ProviderError`."""
        order = {"select": ["ID", "COMMENT"], "order": {"ID": "DESC"}}
        commands = {
            f"of{one}": ("crm.timeline.comment.list", {"filter": {"ENTITY_ID": one, "ENTITY_TYPE": "lead"}, **order})
            for one in ids if one.isdecimal()
        }  # fmt: skip
        results, refused = self._api.batch(commands) if commands else ({}, {})
        for error in refused.values():
            if not isinstance(error, NotFound | Forbidden):
                raise error
        return next((key[2:] for key, rows in results.items() if operation.tracking_code in str(rows)), None)

    def updated(self, operation: Operation) -> str | None:
        """Id of the operation's lead, if its comments or its timeline contain the tracking code.

        Raises `ProviderError`.
        """
        try:
            item = self._leads.get(operation.lead_id)
        except (NotFound, Forbidden):
            return None
        if operation.tracking_code in str(item.get("comments")):
            return operation.lead_id
        return self.commented([operation.lead_id], operation)


def _ids(results: Row) -> Iterator[int]:
    """Ids of the leads in the answers of the search for duplicates."""
    found = (one for result in results.values() if isinstance(result, dict) for one in result.get("LEAD") or ())
    return (int(one) for one in found if str(one).isdecimal())


def _raise_outage(refused: Iterable[ProviderError]) -> None:
    """Raise an error that a later attempt may not meet. A refused search finds nobody."""
    for error in refused:
        if isinstance(error, Unavailable | RateLimited):
            raise error

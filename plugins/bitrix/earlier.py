"""What is in the portal already: leads of the same person, and what an earlier attempt left."""

from __future__ import annotations

from collections.abc import Iterable

from crmgate.errors import NotFound, RateLimited, Unavailable, Unsupported
from crmgate.model import Lead, Operation
from crmgate.provider import Known

from .leads import Leads
from .values import ORIGIN, Row, closed, own

CANDIDATES = 50
"""Leads with the same phone or email that are looked at: a page of the list, a batch."""


class Earlier(Leads):
    """Finds what was there before."""

    def _leads_of(self, origin: str) -> list[str]:
        """The ids of the leads that an operation left, oldest first."""
        rows = self._list(("id", "originId"), {"=originatorId": ORIGIN["originatorId"], "=originId": origin})
        found = [str(row["id"]) for row in rows if row["originId"] == origin]
        if rows and not found:  # an ignored filter: then what is not on this page may still be there
            raise Unsupported("the portal does not filter leads by originId: earlier attempts cannot be found")
        return found

    def _known(self, lead: Lead, operation: Operation) -> list[Known]:
        """The leads that this one would be the second of: the operation's own, and those that are not closed."""
        rows = [(row, own(row, operation)) for row in self._namesakes(lead)]
        return [Known(str(row["id"]), is_own) for row, is_own in rows if is_own or not closed(row)]

    def _told(self, operation: Operation) -> str | None:
        """The lead of the same person that an earlier attempt told of this submission."""
        rows = self._namesakes(operation.lead)
        for row in rows:
            if operation.tracking_code in str(row.get("comments")):
                return str(row["id"])
        return self._commented([str(row["id"]) for row in rows], operation)

    def _namesakes(self, lead: Lead) -> list[Row]:
        """The leads with this phone or email, oldest first. A portal that refuses the look-up has none."""
        method, entity = "crm.duplicate.findbycomm", {"entity_type": "LEAD"}
        known = {"PHONE": [lead.phone, lead.phone.removeprefix("+")], "EMAIL": [lead.email, lead.email.lower()]}
        commands = {
            kind: (method, entity | {"type": kind, "values": [*dict.fromkeys(values)]})
            for kind, values in known.items() if values[0]
        }  # fmt: skip
        if not self.spares_duplicates or not commands:
            return []
        results, refused = self._batch(commands)
        for error in refused.values():
            if isinstance(error, Unavailable | RateLimited):
                raise error
        found = (one for result in results.values() if isinstance(result, dict) for one in result.get("LEAD") or ())
        ids, half = sorted({int(one) for one in found if str(one).isdecimal()}), CANDIDATES // 2
        ids = ids if len(ids) <= CANDIDATES else [*ids[:half], *ids[-half:]]
        names = ("id", "stageId", "stageSemanticId", "originatorId", "originId", "comments")
        return self._list(names, {"@id": ids}) if ids else []

    def _commented(self, ids: Iterable[str], operation: Operation) -> str | None:
        """The first of the leads with the operation's comment among its 50 newest."""
        order = {"select": ["ID", "COMMENT"], "order": {"ID": "DESC"}}
        commands = {
            f"of{one}": ("crm.timeline.comment.list", {"filter": {"ENTITY_ID": one, "ENTITY_TYPE": "lead"}, **order})
            for one in ids if one.isdecimal()
        }  # fmt: skip
        results, refused = self._batch(commands) if commands else ({}, {})
        for error in refused.values():
            if not isinstance(error, NotFound):
                raise error
        return next((key[2:] for key, rows in results.items() if operation.tracking_code in str(rows)), None)

    def _updated(self, operation: Operation) -> str | None:
        try:
            item = self._get(operation.lead_id)
        except NotFound:
            return None
        return operation.lead_id if operation.tracking_code in str(item.get("comments")) else None

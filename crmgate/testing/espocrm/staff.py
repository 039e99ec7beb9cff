"""Changes that users of EspoCRM make to leads, fields and roles while the gateway runs."""

from __future__ import annotations

import threading
from typing import Any

from crmgate.testing.espocrm.addresses import joined
from crmgate.testing.espocrm.store import Database


class Staff:
    """Changes the fake directly, without checks and without HTTP."""

    database: Database
    lock: threading.RLock
    _role: dict[str, Any]

    def delete_lead(self, id_: str) -> None:
        """Delete a lead: it stays in the database, marked, and keeps its unique keys."""
        with self.lock:
            table = self.database.table("Lead")
            table.change(table.records[id_], {"deleted": True, "modifiedAt": self.database.now()})

    def merge_leads(self, target: str, *sources: str) -> None:
        """Merge leads into `target`: it gets their email addresses and phones as secondary ones, they are deleted."""
        with self.lock:
            table = self.database.table("Lead")
            merged = [table.records[id_] for id_ in sources]
            table.change(table.records[target], joined(table.records[target], merged))
        for id_ in sources:
            self.delete_lead(id_)

    def require_field(self, name: str, on: bool = True, *, entity: str = "Lead") -> None:
        """Make a field required, also a stock field; the metadata show it."""
        with self.lock:
            self.database.types[entity].fields[name]["required"] = on

    def limit_field(self, name: str, *, read: str = "yes", edit: str = "no", entity: str = "Lead") -> None:
        """Make a field read-only for the gateway's role, or with `read="no"` hide it."""
        with self.lock:
            rules = self._role["fieldData"].setdefault(entity, {})
            rules[name] = {"read": read, "edit": edit}

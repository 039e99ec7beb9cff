"""A correct plugin that makes two records of each new person: the person, and then the lead."""

from __future__ import annotations

from typing import Any

from crmgate.model import Delivered
from tests.testing.contract.acme import Acme


class PersonAndLead(Acme):
    """Both records have the operation id, so that an attempt finds the person of an earlier one."""

    def _create(self, record: dict[str, Any]) -> Delivered:
        about = {"operation": record["operation"], "name": record.get("first", "")}
        earlier = self._rows("fields", operation=record["operation"])
        person = earlier[0]["id"] if earlier else self._id(self._send("POST", "fields", json=about), 201)
        return super()._create(record | {"person": person})

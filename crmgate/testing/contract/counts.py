"""Number of records that an operation leaves in the CRM. A plugin may store its id in more than one of them."""

from __future__ import annotations

from crmgate.model import Activity, Kind, Lead
from crmgate.testing.contract.base import Contract, delivered, made


class Counting(Contract):
    """Counts the records of an operation."""

    def usual(self, data: Lead | Activity) -> int:
        """Number of records with the operation id after a create that nothing disturbs; at least 1.

        It begins again with a new CRM before and after it.
        """
        self.restart()
        kind = Kind.CREATE_LEAD if isinstance(data, Lead) else Kind.CREATE_MINIMAL_LEAD
        outcome = self.deliver(made(kind, data))
        delivered(outcome)
        count = self.stored(self.crm, outcome.operation.id)
        self.restart()
        return max(count, 1)

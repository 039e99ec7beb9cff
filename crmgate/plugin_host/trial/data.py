"""Test data of a trial. A CRM shows that the records are tests, and no two runs have the same email or operation id."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from dataclasses import dataclass, replace

from crmgate.model import Activity, Kind, Lead, Operation, Utm, rfc3339

NO_RUN = "0" * 12
"""The run of the test data in a recording, which stands for that of every real run."""
_AREAS = (
    "201",
    "202",
    "212",
    "213",
    "303",
    "305",
    "312",
    "404",
    "415",
    "503",
    "512",
    "602",
    "617",
    "702",
    "713",
    "773",
)
STEPS = ("absent", "create", "update", "note", "minimal")
"""The operations of a trial."""


def new_run() -> str:
    """A new run: 12 random hexadecimal digits."""
    return secrets.token_hex(6)


@dataclass(frozen=True)
class TrialData:
    """The test data of one run. `at` is the time at which the operations were accepted, in seconds since the epoch."""

    run: str
    at: float

    @property
    def email(self) -> str:
        """An address that no mail server has (RFC 2606)."""
        return f"crmgate-test-{self.run}@example.com"

    @property
    def phone(self) -> str:
        """A number that is reserved for fiction: 555-01xx in one of several areas of the United States."""
        area, number = divmod(int(self.run, 16), 100)
        return f"+1{_AREAS[area % len(_AREAS)]}55501{number:02}"

    @property
    def last_name(self) -> str:
        """It says what to do with the record, and finds it."""
        return f"please delete {self.run}"

    def lead(self) -> Lead:
        """The lead that is created."""
        return Lead(
            first_name="crmgate test", last_name=self.last_name, email=self.email, phone=self.phone,
            country="Iceland", city="Reykjavik", field_of_study="Oceanography", programs=("MBA",), budget="10,500 EUR",
            referral_code="CRMGATE-TEST", utm=Utm("crmgate", "test", "trial"), session=f"crmgate-test-{self.run}",
            additional_info="Test of the connection with crmgate. Please delete this lead.",
        )  # fmt: skip

    def changed(self) -> Lead:
        """A second submission of the same person, with another city and another text."""
        text = "Second test of the connection with crmgate. Please delete this lead."
        return replace(self.lead(), city="Akureyri", additional_info=text)

    def activity(self) -> Activity:
        """A click on a link to a messenger."""
        return Activity(
            "telegram", "CRMGATE-TEST", rfc3339(self.at), f"crmgate-test-{self.run}",
            metadata={"page": "/crmgate-test-please-delete"},
        )  # fmt: skip

    def operation(
        self, step: str, kind: Kind, data: Lead | Activity, lead_id: str = "", provider: str = ""
    ) -> Operation:
        """The operation of a step. Its id depends only on the run and the step."""
        return Operation(self.operation_id(step), kind, data.to_dict(), self.at, lead_id=lead_id, provider=provider)

    def operation_id(self, step: str) -> str:
        """Id of the operation of a step: 32 hexadecimal digits, as every operation has."""
        return hashlib.sha256(f"crmgate trial {self.run} {step}".encode()).hexdigest()[:32]

    def marks(self) -> dict[str, str]:
        """What differs between runs, by a name: what the plugin sends, and what it can compute from that."""
        operations = {step: Operation(self.operation_id(step), Kind.CREATE_LEAD, {}, self.at) for step in STEPS}
        ids = {f"id of {step}": one.id for step, one in operations.items()}
        dashed = {f"uuid of {step}": str(uuid.UUID(one.id)) for step, one in operations.items()}
        codes = {f"code of {step}": one.tracking_code for step, one in operations.items()}
        return ids | dashed | codes | self._hashes() | {"run": self.run}

    def _hashes(self) -> dict[str, str]:
        """Digests of the email, by which some CRMs name a person."""
        email = self.email.encode()
        md5 = hashlib.md5(email, usedforsecurity=False).hexdigest()
        return {"md5 of the email": md5, "sha256 of the email": hashlib.sha256(email).hexdigest()}

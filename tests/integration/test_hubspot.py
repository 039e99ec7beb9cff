"""HubSpot behind gunicorn and the worker: lost answers make no second contact, and no log holds the token."""

from __future__ import annotations

from pathlib import Path

from crmgate.testing.hubspot import FakeHubSpot
from tests.integration.stack import Stack, emails, person


def test_lost_answers_and_a_known_person(tmp_path: Path) -> None:
    with (
        FakeHubSpot() as account,
        Stack(tmp_path, "hubspot", HUBSPOT_URL=account.url, HUBSPOT_TOKEN=account.token) as stack,
    ):
        stack.start()
        stack.submit(person(0))
        account.fail("drop", when="after", every=2, method="POST", path=r"/objects/contacts\?")
        account.fail("drop", when="after", times=1, path=r"/objects/notes\?")
        bodies = [*map(person, range(1, 5)), person(0, additional_info="walnut allergy")]
        operations = [stack.post(body).json()["id"] for body in bodies]
        for operation in operations:
            stack.wait_for(operation, "delivered")
        records = account.records()
        assert sorted(contact["email"] for contact in records["contacts"]) == emails(range(5))
        assert len(records["notes"]) == 1, "of the known person"
        log = stack.web.output() + stack.worker.output()
        assert [word for word in (account.token, "test3@example.com", "Öğrenci") if word in log] == []

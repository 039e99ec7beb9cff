"""What an operator meets on a bad day: a wrong key, and 254 dead letters of three causes.

214 lack an option in the CRM, 30 have a wrong source, and 10 are of no use. All is repaired on the pages in fewer than
20 clicks, and by the command line in fewer than 8 commands.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from crmgate.store.audit import Audit
from crmgate.store.gate import Cause
from crmgate.store.tokens import Scope, Tokens
from tests import forked
from tests.dead_letters import add_dead_letters
from tests.integration.stack import API_KEY, Stack, person
from tests.processes import DEADLINE, wait_until

ADMIN = {"ESPOCRM_ADMIN_USERNAME": "admin", "ESPOCRM_ADMIN_PASSWORD": "Admin-Fake-1"}


class BadDay:
    """The trouble, and whether it is over. Each `name` has persons of its own."""

    def __init__(self, stack: Stack, name: str) -> None:
        self.stack, self.name = stack, name
        self.students = self._add_dead_letter(214, "student", field="userTypeC", user_type="student", source="website")
        self.visitors = self._add_dead_letter(30, "visitor", field="source", source="fair")
        self.useless = self._add_dead_letter(10, "useless", code="not_found", source="website")
        stack.espocrm.set_options("userTypeC", ["", "parent"])
        stack.espocrm.api_key = "another"
        self.waiting = stack.submit_queued(person(1000 + len(name)))
        wait_until("the gate is shut", lambda: stack.ledger.gate(stack.recipient).cause == Cause.REFUSED)

    def repair_the_key(self) -> None:
        """What the operator does in the CRM."""
        self.stack.espocrm.api_key = API_KEY

    def is_over(self) -> None:
        """Everything is where it belongs, with the right values, once."""
        stack = self.stack
        for one in (*self.students, *self.visitors, self.waiting):
            stack.wait_for(one, "delivered")
        assert {stack.operation(one).state for one in self.useless} == {"discarded"}
        assert stack.ledger.stats()["dead_letters"] == 0
        leads = {lead["crmgateOperationIdC"]: lead for lead in stack.espocrm.leads}
        assert len(leads) == len(stack.espocrm.leads)
        assert {leads[one].get("userTypeC") for one in self.students} == {"student"}
        assert {leads[one].get("source") for one in self.visitors} == {"Web Site"}
        assert not leads.keys() & set(self.useless)

    def _add_dead_letter(
        self, count: int, kind: str, code: str = "invalid_value", field: str = "", **payload: Any
    ) -> list[str]:
        """Dead letters of now: the worker would take those of an earlier time before they are dead."""
        return [
            one for number in range(count)
            for one in add_dead_letters(
                self.stack.ledger, 1, provider="espocrm", code=code, field=field, at=self.stack.ledger.now(),
                email=f"{self.name}.{kind}{number}@example.com", **payload,
            )
        ]  # fmt: skip


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("bad day"), CRM_MAX_CONCURRENCY="8", **ADMIN) as stack:
        yield stack.start()


class Operator:
    """Clicks, and counts the clicks. A text is typed without one, because the form has the focus or is tabbed to."""

    def __init__(self, page: Page) -> None:
        self.page, self.clicks = page, 0

    def click(self, name: str, role: Any = "button") -> None:
        self._click(self.page.get_by_role(role, name=name, exact=True))

    def in_row(self, text: str, name: str) -> None:
        """Click a button or a link in the row with this text."""
        self._click(self.page.locator("tr", has_text=text).locator("a, button", has_text=name))

    def sees(self, heading: str) -> None:
        expect(self.page.get_by_role("heading", level=1)).to_have_text(heading)

    def _click(self, target: Locator) -> None:
        target.click()
        self.clicks += 1


def test_on_the_pages(stack: Stack, browser: Browser) -> None:
    day = BadDay(stack, "pages")
    secret = Tokens(stack.client, (), Audit(stack.client)).new("ayse", Scope.OPERATE, "cli:test")[1]
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(DEADLINE * 1000)
        operator = Operator(page)
        page.goto(f"{stack.url}/ops/")
        page.fill("#secret", secret)
        operator.click("Log in")
        expect(page.get_by_text("The CRM refuses the credentials")).to_be_visible()
        day.repair_the_key()
        operator.click("Try now")
        expect(page.get_by_text("espocrm takes requests")).to_be_visible()

        operator.in_row("userTypeC", "Repair userTypeC …")
        expect(page.locator("tr.wanted")).to_contain_text("it has no option 'student'")
        operator.click("Carry out this step")
        operator.click("Retry these 214")
        operator.click("Retry these 214")
        operator.sees("The job has ended")
        operator.click("Now")

        operator.in_row("invalid_value in source", "Edit these 30")
        page.fill("#value", "website")
        operator.click("Preview")
        operator.click("Edit these 30")
        operator.sees("30 dead letters edited")
        operator.click("Retry these 30")
        operator.click("Retry these 30")
        operator.sees("The job has ended")
        operator.click("Now")

        operator.click("not_found", "link")
        operator.click("Select all on this page", "checkbox")
        operator.click("Discard the selected …")
        page.get_by_label("Reason").fill("nobody knows these records")
        operator.click("Discard 10 operations")
        operator.sees("10 operations discarded")
    day.is_over()
    assert operator.clicks < 20


def test_by_the_command_line(stack: Stack) -> None:
    day = BadDay(stack, "commands")
    commands = 0

    def crmgate(*arguments: str) -> Any:
        nonlocal commands
        commands += 1
        result = forked.crmgate(stack.web.environ(), *arguments, "--json")
        assert result.returncode == 0, result.stdout + result.stderr
        return json.loads(result.stdout)

    causes = crmgate("dlq", "causes")["items"]
    assert [(cause["field"], cause["count"]) for cause in causes] == [("userTypeC", 214), ("source", 30), ("", 10)]
    day.repair_the_key()
    crmgate("crm", "resume", "--reason", "the key is repaired")
    assert crmgate("crm", "setup", "--yes")["done"]
    assert crmgate("dlq", "edit", "--all", "--field", "source", "--set", "source=website", "--yes")["edited"] == 30
    why = ("--reason", "nobody knows these records")
    assert crmgate("dlq", "discard", "--all", "--code", "not_found", *why, "--yes")["discarded"] == 10
    assert crmgate("dlq", "retry", "--all", "--yes")["released"] == 244
    day.is_over()
    assert commands < 8

"""One person, one lead: clicks and the application of a session meet on the same record, in either CRM."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.integration.stack import Stack, person
from tests.processes import DEADLINE, wait_until

LINKS = {"TELEGRAM_URL": "https://t.me/example_bot", "WHATSAPP_URL": "https://wa.me/905321234567"}


class Visitor:
    """A browser of its own, with its cookies, in front of one gateway."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.browser = stack, requests.Session()
        self.leads_before, self.activities_before = len(self.leads()), len(self.activities())

    def click(self, channel: str = "telegram", **query: str) -> None:
        url = f"{self.stack.url}/go/{channel}"
        response = self.browser.get(url, params=query, allow_redirects=False, timeout=DEADLINE)
        assert response.status_code == 302

    def apply(self, number: int, **more: Any) -> str:
        url = f"{self.stack.url}/api/v1/applications"
        response = self.browser.post(url, json=person(number, **more), timeout=DEADLINE)
        assert response.status_code in (201, 202), response.text
        return str(response.json()["id"])

    def leads(self) -> list[dict[str, Any]]:
        records = self.stack.fake.records()
        return records.get("Lead") or records.get("lead") or []

    def activities(self) -> list[dict[str, Any]]:
        records = self.stack.fake.records()
        return [*records.get("Call", []), *records.get("comment", [])]

    def made(self) -> tuple[int, int]:
        """Number of new leads and of new activities."""
        return len(self.leads()) - self.leads_before, len(self.activities()) - self.activities_before

    def settles_at(self, leads: int, activities: int) -> None:
        """Wait until all accepted operations are delivered; they made exactly this number of records."""
        stats = wait_until("nothing waits", lambda: self._settled(leads + activities))
        assert stats["dead_letters"] == 0
        assert self.made() == (leads, activities)

    def _settled(self, made: int) -> dict[str, int] | None:
        stats = self.stack.ledger.stats()
        return stats if not stats["waiting"] and not stats["queued"] and sum(self.made()) >= made else None


@pytest.fixture(scope="module", params=["espocrm", "bitrix"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), request.param, **LINKS) as running:
        yield running.start()


@pytest.fixture
def visitor(stack: Stack) -> Visitor:
    return Visitor(stack)


def text_of(record: dict[str, Any]) -> str:
    return str(sorted((name, value) for name, value in record.items() if value))


def test_a_click_makes_a_minimal_lead(visitor: Visitor) -> None:
    visitor.click(ref="REF_ONE", utm_source="ig", page="/prices")
    visitor.settles_at(1, 0)
    lead = text_of(visitor.leads()[-1])
    for word in ("Messenger", "Lead", "REF_ONE", "telegram", "ig", "/prices"):
        assert word in lead


def test_further_clicks_are_logged_on_that_lead(visitor: Visitor) -> None:
    visitor.click(ref="REF")
    visitor.settles_at(1, 0)
    visitor.click("whatsapp", page="/contact")
    visitor.settles_at(1, 1)
    assert "/contact" in text_of(visitor.activities()[-1])
    assert "whatsapp" in text_of(visitor.activities()[-1])


def test_clicks_that_come_before_the_lead_is_there_wait_for_it(visitor: Visitor) -> None:
    visitor.click()
    visitor.click("whatsapp")
    visitor.click("whatsapp", ref="OTHER")
    visitor.settles_at(1, 2)


def test_the_application_of_the_session_updates_that_lead(visitor: Visitor) -> None:
    visitor.click(ref="REF_TWO")
    visitor.settles_at(1, 0)
    operation = visitor.stack.wait_for(visitor.apply(1), "delivered")
    visitor.settles_at(1, 0)
    lead = visitor.leads()[-1]
    assert operation.delivered is not None
    assert str(lead["id"]) == operation.delivered.record_id
    assert "test1@example.com" in text_of(lead)
    assert "Test1" in text_of(lead)
    assert "REF_TWO" in text_of(lead)


def test_a_second_application_of_the_session_loses_no_value(visitor: Visitor) -> None:
    first = {"phone": "+905321234510", "field_of_study": "Law", "referral_code": "REF_OLD"}
    second = {"phone": "+905321234511", "field_of_study": "Physics", "referral_code": "REF_NEW"}
    for values in (first, second):
        visitor.stack.wait_for(visitor.apply(10, session="twice", **values), "delivered")
    visitor.settles_at(1, 0)
    lead = text_of(visitor.leads()[-1])
    assert [value for value in (*first.values(), *second.values()) if value not in lead] == []


def test_a_click_after_the_application_is_logged_on_its_lead(visitor: Visitor) -> None:
    visitor.apply(2, session="form-2")
    visitor.click(session="form-2")
    visitor.settles_at(1, 1)


def test_an_event_of_the_site_and_a_click_are_of_one_session(visitor: Visitor) -> None:
    event = {"channel": "instagram", "referral_code": "REF", "session": "event-1"}
    response = requests.post(f"{visitor.stack.url}/api/v1/messenger-events", json=event, timeout=DEADLINE)
    assert response.status_code in (201, 202), response.text
    visitor.click(session="event-1")
    visitor.settles_at(1, 1)


def test_a_double_click_is_one(visitor: Visitor) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda page: visitor.click(ref="REF", session="double", page=page), ("/a", "/b")))
    visitor.settles_at(1, 0)


def test_two_clicks_at_the_same_moment_make_one_lead(visitor: Visitor) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda channel: visitor.click(channel, session="same"), ("telegram", "whatsapp")))
    visitor.settles_at(1, 1)


def test_another_session_is_another_lead(visitor: Visitor) -> None:
    visitor.click(session="s-1")
    visitor.click(session="s-2")
    visitor.settles_at(2, 0)


def test_without_the_crm_everything_still_meets_on_one_lead(visitor: Visitor) -> None:
    visitor.stack.fake.stop()
    visitor.click()
    visitor.click("whatsapp")
    visitor.apply(3)
    visitor.stack.fake.start()
    visitor.settles_at(1, 1)
    assert "test3@example.com" in text_of(visitor.leads()[-1])

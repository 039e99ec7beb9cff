"""What the page Now shows: dead letters by cause, the state of CRM and worker, the last events, the chart."""

from __future__ import annotations

import re
from html import unescape

import pytest
import redis

from crmgate.operators.inventory import Filter
from crmgate.services import Services
from crmgate.store.reconciled import ReconcileBook
from crmgate.tracking import code as tracking_code
from tests.dead_letters import add_dead_letters
from tests.web.ops.conftest import Browser
from tests.web.ops.html import texts


def test_now_groups_dead_letters_and_leads_to_the_retry_of_each_group(
    operator: Browser, parts: Services, now: float
) -> None:
    add_dead_letters(parts.ledger, 7, provider="sandbox", code="invalid_value", at=now - 100)
    add_dead_letters(parts.ledger, 2, provider="sandbox", code="timeout", at=now - 50)
    page = operator.get("/ops/").text
    assert "Dead letters 9" in texts(page)
    links = [unescape(link) for link in re.findall(r'href="(/ops/retries/new[^"]*)">Retry these 7<', page)]
    assert len(links) == 1
    confirm = operator.get(links[0]).text
    assert "Retry 7 dead letters?" in texts(confirm)
    assert parts.ledger.stats()["dead_letters"] == 9


def test_now_names_the_fields_and_the_remedy_of_each_group(operator: Browser, parts: Services, now: float) -> None:
    add_dead_letters(parts.ledger, 3, provider="sandbox", field="source,phone", at=now - 100)
    add_dead_letters(parts.ledger, 2, provider="sandbox", field="source", at=now - 100)
    page = operator.get("/ops/").text
    assert "allow the value of source, phone in the CRM" in texts(page)
    [link] = [unescape(link) for link in re.findall(r'href="(/ops/retries/new[^"]*)">Retry these 3<', page)]
    assert "Retry 3 dead letters?" in texts(operator.get(link).text)


def test_now_lists_the_last_events(operator: Browser, parts: Services, now: float) -> None:
    [operation] = add_dead_letters(parts.ledger, provider="sandbox", at=now - 100)
    job = parts.desk.start_retries(Filter(), "ayse").id
    while parts.desk.retries.step() is not None:
        pass
    page = operator.get("/ops/").text
    events = re.findall(r"<li>(.*?)</li>", page.partition("Last events")[2])
    assert [texts(event).partition(" ")[2].partition(" ")[2] for event in events] == [
        "A job ended: it sent 1 dead letter again",
        f"Dead letter {tracking_code(operation)} invalid_value",
    ]
    assert f'href="/ops/retries/{job}"' in events[0]


def test_now_says_that_dead_letters_are_not_counted_yet(
    operator: Browser, parts: Services, redis_client: redis.Redis, now: float
) -> None:  # fmt: skip
    """A version without the index of the causes has left them."""
    add_dead_letters(parts.ledger, 2, provider="sandbox", at=now)
    index = parts.causes.groups().items[0].index
    assert redis_client.delete(index)
    assert "2 dead letters of an earlier version" in texts(operator.get("/ops/").text)


def test_now_says_why_nothing_is_sent_and_what_to_do(operator: Browser, reader: Browser) -> None:
    assert operator.post("/ops/crm/pause").status_code == 303
    page = texts(operator.get("/ops/").text)
    assert "Nothing is sent to sandbox" in page
    assert "An operator paused deliveries" in page
    assert "Resume" in page
    assert "Resume" not in texts(reader.get("/ops/").text).replace("crmgate crm resume", "")
    operator.post("/ops/crm/resume")
    assert "sandbox takes requests" in texts(operator.get("/ops/").text)


def test_now_shows_that_no_worker_runs(operator: Browser, parts: Services) -> None:
    assert "No worker runs" in texts(operator.get("/ops/").text)
    parts.ledger.beat("w")
    assert "No worker runs" not in texts(operator.get("/ops/").text)


@pytest.mark.parametrize("missing", [0, 2])
def test_now_says_how_many_records_the_crm_lacks(
    operator: Browser, parts: Services, redis_client: redis.Redis, missing: int
) -> None:  # fmt: skip
    ReconcileBook(redis_client, parts.ledger).save(
        {"at": "2026-11-28T03:00:00.000Z", "missing": missing, "checked": 5, "gaps": []}
    )
    words = "(2026-11-28 03:00 UTC) did not find 2 of 5 delivered operations"
    assert (words in texts(operator.get("/ops/").text)) == bool(missing)


def test_a_poll_without_a_change_has_no_body(operator: Browser, parts: Services, now: float) -> None:
    address = "/ops/operations?state=dead"
    first = operator.get(address)
    again = operator.get(address, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    add_dead_letters(parts.ledger, at=now)
    assert operator.get(address, headers={"If-None-Match": first.headers["ETag"]}).status_code == 200


def test_the_chart_has_its_numbers_in_a_table(operator: Browser, parts: Services, now: float) -> None:
    add_dead_letters(parts.ledger, 3, provider="sandbox", at=now)
    rows = re.findall(r'<tr data-at="(\d+)">(.*?)</tr>', operator.get("/ops/").text)
    assert len(rows) == 24
    assert texts(rows[-1][1]).endswith("3 0 3")

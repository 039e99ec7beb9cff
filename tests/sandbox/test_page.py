"""The page: its content, escaping, and protection of its buttons."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import requests

from crmgate.model import new_id
from crmgate.tracking import code as tracking_code
from tests.processes import DEADLINE
from tests.sandbox.conftest import Client


@pytest.fixture
def browser(client: Client) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.get(client.url, timeout=DEADLINE)
        yield session


def page(client: Client, **asked: str) -> str:
    return requests.get(client.url, params=asked, timeout=DEADLINE).text


def token(html: str) -> str:
    found = re.search(r'name="token" value="([^"]+)"', html)
    assert found
    return found[1]


def press(client: Client, browser: requests.Session, headers: dict[str, str] | None = None, **form: str) -> int:
    data = {"token": token(browser.get(client.url, timeout=DEADLINE).text), "mode": "fail"} | form
    url = f"{client.url}/behaviour"
    return browser.post(url, data=data, headers=headers, allow_redirects=False, timeout=DEADLINE).status_code


def test_an_empty_page_says_what_to_do(client: Client) -> None:
    html = page(client)
    assert "<title>Sandbox CRM</title>" in html
    assert "curl https://gate.example/api/v1/applications" in html


def test_leads_stand_newest_first_with_all_that_is_known(client: Client) -> None:
    operation_id = new_id()
    older = client.create(first_name="Ada", last_name="Lovelace").json()["id"]
    fields = {"email": "eve@example.org", "phone": "+905321234567", "referral_code": "INSTA", "source": "landing"}
    newer = client.create(operation_id=operation_id, first_name="Eve", description="two\nlines", **fields).json()["id"]
    client.send("POST", f"/api/leads/{older}/activities", {"channel": "telegram"})
    html = page(client)
    assert html.index(f'id="lead-{newer}"') < html.index(f'id="lead-{older}"')
    for text in (*fields.values(), "Ada Lovelace", "two\nlines", "telegram", tracking_code(operation_id)):
        assert text in html
    assert '<section id="empty" class="empty" hidden>' in html


def test_visitors_input_is_escaped_everywhere(client: Client) -> None:
    markup = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>"
    names = ("first_name", "last_name", "email", "phone", "referral_code", "description", "anything")
    lead_id = client.create(operation_id=markup, **dict.fromkeys(names, markup), **{markup[:60]: "value"}).json()["id"]
    client.send("POST", f"/api/leads/{lead_id}/activities", {"note": markup, markup[:60]: "value"})
    update = requests.get(f"{client.url}/updates", params={"since": "0"}, timeout=DEADLINE).json()
    for html in (page(client), update["leads"][0]["html"]):
        assert "<script>alert" not in html
        assert "<img src=x" not in html
        assert "&lt;script&gt;alert" in html
        assert "\"'" not in html


def test_operation_ids_of_others_are_shown_cut(client: Client) -> None:
    client.create(operation_id="made-by-somebody-else")
    assert ">made-by-some</code>" in page(client)


def test_updates_have_the_changed_leads_and_the_counts(client: Client) -> None:
    client.create(first_name="Ada")
    before = requests.get(f"{client.url}/updates", timeout=DEADLINE).json()
    lead_id = client.create(first_name="Eve").json()["id"]
    client.behave("fail", times=3)
    client.create(first_name="Joan")
    update = requests.get(f"{client.url}/updates", params={"since": before["revision"]}, timeout=DEADLINE).json()
    assert [lead["id"] for lead in update["leads"]] == [lead_id]
    assert update["counts"] == {"leads": 2, "activities": 0, "struck": 1}
    assert (update["mode"], update["sentence"]) == ("fail", "Fail, the next 2 writes. 503 before anything is stored.")
    assert update["revision"] > before["revision"]


def test_older_leads_are_on_further_pages(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crmgate.sandbox.page.SHOWN", 2)
    ids = [client.create(first_name="Ada").json()["id"] for _ in range(3)]
    first, second = page(client), page(client, before=str(ids[1]))
    assert re.findall(r'id="lead-(\d+)"', first) == [str(ids[2]), str(ids[1])]
    assert f'href="/?before={ids[1]}"' in first
    assert re.findall(r'id="lead-(\d+)"', second) == [str(ids[0])]


def test_a_burst_longer_than_an_update_is_fetched_in_parts(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crmgate.sandbox.page.SHOWN", 2)
    ids = [client.create(first_name="Ada").json()["id"] for _ in range(5)]
    seen, revision = [], 0
    for _ in range(3):
        update = requests.get(f"{client.url}/updates", params={"since": revision}, timeout=DEADLINE).json()
        seen += [lead["id"] for lead in update["leads"]]
        revision = update["revision"]
    assert seen == ids


def test_the_buttons_set_the_behaviour(client: Client, browser: requests.Session) -> None:
    assert press(client, browser, mode="slow", times="2", seconds="0.5", field="email") == 303
    assert client.behaviour() == {"mode": "slow", "times": 2, "seconds": 0.5, "field": "email"}
    assert press(client, browser, mode="work", times="", seconds="", field="") == 303
    assert client.behaviour()["mode"] == "work"


def test_a_button_that_does_not_exist_changes_nothing(client: Client, browser: requests.Session) -> None:
    assert press(client, browser, mode="explode") == 422


@pytest.mark.parametrize("forged", ["", "none", "guess"])
def test_a_form_without_its_token_is_refused(client: Client, browser: requests.Session, forged: str) -> None:
    assert press(client, browser, token=forged) == 403
    assert client.behaviour()["mode"] == "work"


@pytest.mark.parametrize("sent", ["", "none"])
def test_a_form_without_a_session_is_refused(client: Client, sent: str) -> None:
    form = {"token": sent, "mode": "fail"}
    assert requests.post(f"{client.url}/behaviour", data=form, timeout=DEADLINE).status_code == 403


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_a_form_from_another_site_is_refused(client: Client, browser: requests.Session, origin: str) -> None:
    assert press(client, browser, headers={"Origin": origin}) == 403
    assert press(client, browser, headers={"Origin": client.url}) == 303


def test_the_session_cookie_stays_on_this_site(client: Client) -> None:
    cookie = requests.get(client.url, timeout=DEADLINE).headers["Set-Cookie"]
    assert cookie.startswith("sandbox_session=")
    assert "SameSite=Strict" in cookie
    assert "HttpOnly" in cookie


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8081", 200),
        ("[::1]:8081", 200),
        ("[::1]", 200),
        ("localhost", 200),
        ("sandbox:8081", 200),
        ("my.localhost", 200),
        ("crm.example:8081", 200),
        ("evil.example", 403),
        ("evil.example:8081", 403),
        ("127.0.0.1.evil.example", 403),
    ],
)
def test_a_strangers_domain_name_for_this_machine_is_refused(client: Client, host: str, status: int) -> None:
    headers = client.headers(Host=host)
    for path in ("/", "/updates", "/api/leads"):
        assert requests.get(f"{client.url}{path}", headers=headers, timeout=DEADLINE).status_code == status


def test_the_page_loads_only_what_is_its_own(client: Client) -> None:
    answer = requests.get(client.url, timeout=DEADLINE)
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert " style=" not in answer.text
    assert " onclick=" not in answer.text
    for asset in re.findall(r'(?:src|href)="([^"]+)"', answer.text):
        assert requests.get(f"{client.url}{asset}", timeout=DEADLINE).status_code == 200

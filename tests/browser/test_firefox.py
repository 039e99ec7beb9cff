"""crmgate.js in Firefox: what browsers do in their own ways. `test_script` tests all of it in Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from tests.browser.firefox import Firefox
from tests.browser.rig import FIELDS, TAKES_TIME, Door, Website
from tests.integration.stack import Stack
from tests.needs import need
from tests.processes import wait_until

pytestmark = pytest.mark.timeout(600)  # the first one may have to install Firefox


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    """One Firefox for all tests of the module."""
    with Firefox(need("firefox"), tmp_path_factory.mktemp("firefox")) as running:
        yield running


@pytest.fixture
def firefox(browser: Firefox, website: Website, door: Door) -> Firefox:
    """Firefox on the website, with nothing in its storage."""
    browser.visit(website.url)
    browser.run("localStorage.clear()")
    return browser


def come(firefox: Firefox, website: Website, path: str = "/") -> None:
    """Open a page of the website, and let ten seconds go by."""
    firefox.visit(website.url + path)
    firefox.run(TAKES_TIME)


def send(firefox: Firefox, name: str, email: str) -> None:
    firefox.fill("[name=first_name]", name)
    firefox.fill("[name=email]", email)
    firefox.click("button")


def sees(firefox: Firefox, state: str) -> str:
    return firefox.text(f"[data-crmgate-message][data-state={state}]")


def leads(stack: Stack, email: str) -> list[str]:
    """The descriptions of the leads with this address."""
    return [str(lead.get("description")) for lead in stack.espocrm.leads if lead.get("emailAddress") == email]


def test_a_form_with_a_campaign_a_box_and_a_file(
    firefox: Firefox, website: Website, stack: Stack, door: Door, tmp_path: Path
) -> None:
    website.form(
        FIELDS + '<input type="hidden" name="consent" value="0"><input type="checkbox" name="consent" value="1">'
        '<input type="file" name="paper">'
    )
    (tmp_path / "cv.pdf").write_text("%PDF-secret")
    come(firefox, website, f"/?ref=Help.Contact&utm_source=poster&utm_source=late&utm_term={'x' * 600}")
    firefox.fill("[name=paper]", str(tmp_path / "cv.pdf"))
    firefox.click("[type=checkbox]")
    send(firefox, "Ada", "fox@example.com")
    assert "Your tracking code is CG-" in sees(firefox, "delivered")
    sent = parse_qs(door.posts[-1].body.decode())
    expected = {"ref": ["Help.Contact"], "utm_source": ["poster"], "consent": ["1"], "paper": ["cv.pdf"]}
    assert {name: sent[name] for name in expected} == expected
    assert "utm_term" not in sent
    kept = firefox.run("return Object.entries(localStorage).filter(([name]) => !/:(session|ref|utm)$/.test(name))")
    assert kept == []
    (description,) = leads(stack, "fox@example.com")
    assert "UTM source: poster" in description


def test_errors_stand_by_their_fields_until_they_are_corrected(
    firefox: Firefox, website: Website, stack: Stack
) -> None:
    come(firefox, website)
    send(firefox, "Ada", "not an address")
    assert "Nothing was stored" in sees(firefox, "error")
    assert firefox.run("return document.activeElement.name") == "email"
    assert firefox.run("return document.querySelector('label:has([name=email]) + .crmgate-error').role") == "alert"
    firefox.run("document.forms[0].email.value = ''")
    send(firefox, "", "fox-corrected@example.com")
    sees(firefox, "delivered")
    assert firefox.run("return document.querySelectorAll('.crmgate-error').length") == 0
    assert len(leads(stack, "fox-corrected@example.com")) == 1


def test_a_submission_without_an_answer_is_sent_again_with_its_key(
    firefox: Firefox, website: Website, stack: Stack, door: Door
) -> None:
    door.is_unavailable(retry_after=1, when="after")
    come(firefox, website)
    send(firefox, "Ada", "fox-again@example.com")
    sees(firefox, "delivered")
    assert len(door.posts) == 2
    assert len({post.header("Idempotency-Key") for post in door.posts}) == 1
    assert len(leads(stack, "fox-again@example.com")) == 1


def test_a_page_left_in_mid_flight_sends_once(firefox: Firefox, website: Website, stack: Stack, door: Door) -> None:
    door.fail("latency", when="before", method="POST", times=1, seconds=2)
    come(firefox, website)
    send(firefox, "Ada", "fox-left@example.com")
    wait_until("the request is on its way", lambda: door.posts)
    website.body = "<p>A page without a form.</p>"
    firefox.visit(f"{website.url}/again")
    pending = "return Object.keys(localStorage).filter(name => /pending/.test(name)).length"
    wait_until("the gateway has answered", lambda: firefox.run(pending) == 0)
    assert len({post.header("Idempotency-Key") for post in door.posts}) == 1
    wait_until("the lead is there", lambda: leads(stack, "fox-left@example.com"))
    assert len(leads(stack, "fox-left@example.com")) == 1


def test_a_link_has_the_session_only_while_it_is_clicked(firefox: Firefox, website: Website, door: Door) -> None:
    website.body = f'<a href="{door.url}/go/telegram" target="_blank">Telegram</a>'
    come(firefox, website, "/?ref=FRIEND")
    session = firefox.run("return JSON.parse(localStorage['crmgate:session']).value")
    firefox.click("a")
    (click, *_) = wait_until("the link is followed", lambda: door.clicks)
    assert parse_qs(click.query) == {"ref": ["FRIEND"], "session": [session]}
    assert firefox.run("return document.links[0].href") == f"{door.url}/go/telegram?ref=FRIEND"

"""What crmgate.js attributes to whom: referral codes, UTM parameters and sessions, in forms and in messenger links.

In the tests of two persons Anna copies a link from the website, and Ben opens it in a browser of his own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, expect

from tests.browser.rig import FIELDS, Door, Visitor, Website
from tests.integration.stack import Stack
from tests.processes import wait_until

pytestmark = pytest.mark.timeout(600)  # the first one may have to install Chromium


@pytest.fixture
def anna(visitor: Visitor, website: Website, door: Door) -> Visitor:
    link = f'<a target="_blank" rel="{{}}" href="{door.url}/go/{{}}">{{}}</a>'
    website.form(more=link.format("", "telegram", "Telegram") + link.format("noreferrer", "whatsapp", "WhatsApp"))
    visitor.come("/?ref=FRIEND1")
    return visitor


@pytest.fixture
def ben(browser: Browser, website: Website) -> Iterator[Visitor]:
    with browser.new_context() as context:
        yield Visitor(context, website)


def click(visitor: Visitor, door: Door, name: str, button: str = "left") -> dict[str, list[str]]:
    """Follow a link; the query that the gateway got."""
    before = len(door.clicks)
    visitor.page.get_by_text(name, exact=True).click(button=button)  # type: ignore[arg-type]
    wait_until("the link was followed", lambda: len(door.clicks) > before)
    return parse_qs(door.clicks[-1].query)


def open_link(context: BrowserContext, address: str) -> None:
    """Open a link as from a chat: without a page that refers to it. The messenger itself cannot be reached."""
    with pytest.raises(Error, match="ERR_"):
        context.new_page().goto(address)


def session_of(visitor: Visitor) -> str:
    return str(json.loads(visitor.page.evaluate("localStorage['crmgate:session']"))["value"])


def apply(visitor: Visitor, email: str) -> None:
    visitor.fill("Test", email)
    visitor.send()
    visitor.sees("delivered")


def leads(stack: Stack, email: str) -> list[dict[str, Any]]:
    return [lead for lead in stack.espocrm.leads if lead.get("emailAddress") == email]


def lead(stack: Stack, email: str) -> dict[str, Any]:
    [found] = leads(stack, email)
    return found


def logged_on(stack: Stack, email: str) -> int:
    """Number of clicks on the lead of a person."""
    calls = stack.espocrm.records().get("Call", [])
    return len([call for call in calls if call["parentId"] == lead(stack, email)["id"]])


def test_a_referral_code_that_no_messenger_carries_is_kept_as_text(visitor: Visitor, stack: Stack) -> None:
    visitor.come("/?ref=Help.Contact")
    visitor.fill("Ada", "odd-ref@example.com")
    visitor.send()
    visitor.sees("delivered")
    found = lead(stack, "odd-ref@example.com")
    assert "Help.Contact" in found["description"]
    assert found["referralCodeC"] == "DIRECT"


def test_the_first_touch_wins_and_links_carry_it(visitor: Visitor, website: Website, stack: Stack, door: Door) -> None:
    website.form(more=f'<a href="{door.url}/go/telegram?ref=OWN">t</a><a href="/go/telegram">not the gateway\'s</a>')
    visitor.come("/landing?ref=FRIEND1&utm_source=poster&utm_medium=print")
    page = visitor.come("/later?ref=OTHER&utm_source=ads&utm_campaign=late")
    session = json.loads(page.evaluate("localStorage['crmgate:session']"))["value"]
    first, foreign = page.locator("a").evaluate_all("links => links.map(link => link.href)")
    assert first == f"{door.url}/go/telegram?ref=OWN&utm_source=poster&utm_medium=print"
    assert foreign == f"{website.url}/go/telegram"
    page.evaluate(f"""document.body.insertAdjacentHTML("beforeend", '<p><a href="{door.url}/go/whatsapp">w</a></p>')""")
    expect(page.get_by_text("w", exact=True)).to_have_attribute(
        "href", f"{door.url}/go/whatsapp?ref=FRIEND1&utm_source=poster&utm_medium=print"
    )
    visitor.fill("Eve", "touch@example.com")
    visitor.send()
    visitor.sees("delivered")
    found = lead(stack, "touch@example.com")
    assert found["referralCodeC"] == "FRIEND1"
    assert "UTM source: poster" in found["description"]
    assert "late" not in found["description"]
    assert f"session={session}" in door.posts[-1].body.decode()


def test_values_of_the_form_win(visitor: Visitor, website: Website, stack: Stack) -> None:
    hidden = (
        '<input type="hidden" name="referral_code" value="FORM"><input type="hidden" name="utm_source" value="own">'
    )
    website.form(FIELDS + hidden + '<input type="hidden" name="utm_medium">')
    visitor.come("/?ref=URL&utm_source=url&utm_medium=url")
    visitor.fill("Eve", "own@example.com")
    visitor.send()
    visitor.sees("delivered")
    found = lead(stack, "own@example.com")
    assert found["referralCodeC"] == "FORM"
    assert "UTM source: own" in found["description"]
    assert "UTM medium" not in found["description"]


@pytest.mark.parametrize(("name", "button"), [("Telegram", "left"), ("WhatsApp", "left"), ("Telegram", "middle")])
def test_a_link_has_the_session_only_while_it_is_clicked(anna: Visitor, door: Door, name: str, button: str) -> None:
    link = anna.page.get_by_text(name, exact=True)
    before = link.get_attribute("href")
    assert before is not None
    assert "session" not in before
    assert "ref=FRIEND1" in before
    assert click(anna, door, name, button)["session"] == [session_of(anna)]
    expect(link).to_have_attribute("href", before)


def test_the_right_button_adds_nothing(anna: Visitor) -> None:
    """It opens the menu with which links are copied."""
    seen = """for (const type of ["contextmenu", "auxclick"])
        addEventListener(type, ({ target }) => (window.seen ||= []).push(target.href))"""
    anna.page.evaluate(seen)
    anna.page.get_by_text("Telegram", exact=True).click(button="right")
    wait_until("the menu was opened", lambda: anna.page.evaluate("window.seen?.length == 2"))
    assert "session" not in "".join(anna.page.evaluate("window.seen"))


def test_a_person_who_opens_a_copied_link_is_another_person(
    anna: Visitor, ben: Visitor, stack: Stack, door: Door
) -> None:
    copied = str(anna.page.get_by_text("Telegram", exact=True).get_attribute("href"))
    click(anna, door, "Telegram")
    apply(anna, "anna@example.com")
    open_link(ben.context, copied)
    assert "session" not in parse_qs(door.clicks[-1].query)
    ben.come()
    apply(ben, "ben@example.com")
    assert lead(stack, "anna@example.com")["id"] != lead(stack, "ben@example.com")["id"]
    assert lead(stack, "anna@example.com")["firstName"] == "Test"
    click(anna, door, "WhatsApp")
    wait_until("her click is on her lead", lambda: logged_on(stack, "anna@example.com") == 1)
    assert logged_on(stack, "ben@example.com") == 0


@pytest.mark.parametrize("script", [True, False], ids=["with the script", "as a plain form"])
def test_a_link_with_a_session_does_not_make_two_persons_one(
    browser: Browser, anna: Visitor, website: Website, stack: Stack, door: Door, script: bool
) -> None:
    """As an earlier version of the script wrote links, or as a site writes them itself."""
    name = f"anna{script}@example.com", f"ben{script}@example.com"
    apply(anna, name[0])
    website.form(FIELDS)
    with browser.new_context(java_script_enabled=script) as context:
        ben = Visitor(context, website)
        open_link(context, f"{door.url}/go/whatsapp?session={session_of(anna)}")
        assert "crmgate_session" not in {cookie["name"] for cookie in context.cookies()}
        ben.come()
        ben.fill("Ben", name[1])
        ben.send()
        wait_until("he has applied", lambda: leads(stack, name[1]))
    assert lead(stack, name[0])["id"] != lead(stack, name[1])["id"]
    assert lead(stack, name[0])["firstName"] == "Test"


def test_somebody_else_at_the_same_computer_is_another_person(anna: Visitor, stack: Stack, door: Door) -> None:
    apply(anna, "first@example.com")
    apply(anna, "second@example.com")
    apply(anna, "first@example.com")
    assert lead(stack, "first@example.com")["id"] != lead(stack, "second@example.com")["id"]

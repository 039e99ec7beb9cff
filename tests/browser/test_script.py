"""crmgate.js in Chromium, on a website of another origin with a strict content policy."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl

import pytest
from playwright.sync_api import Browser, expect

from crmgate.testing.server import Request
from tests.browser.rig import FIELDS, Door, Visitor, Website
from tests.integration.stack import Stack
from tests.processes import wait_until

ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.timeout(600)  # the first one may have to install Chromium


def leads(stack: Stack, email: str) -> list[dict[str, Any]]:
    return [lead for lead in stack.espocrm.leads if lead.get("emailAddress") == email]


def keys(door: Door) -> set[str]:
    return {request.header("Idempotency-Key") for request in door.posts}


# --- What it sends


def test_a_submission_is_delivered_and_leaves_nothing_behind(visitor: Visitor, stack: Stack, door: Door) -> None:
    visitor.page.evaluate("""addEventListener("crmgate:delivered", (event) => { window.answer = event.detail })""")
    visitor.fill("Ada", "ada@example.com")
    visitor.send()
    text = visitor.sees("delivered")
    answer = visitor.page.evaluate("answer")
    assert answer["tracking_code"] in text
    assert len(leads(stack, "ada@example.com")) == 1
    assert visitor.kept() == []
    assert visitor.page.input_value("[name=email]") == ""
    assert visitor.page.is_enabled("button")
    (post,) = door.posts
    assert len(post.header("Idempotency-Key")) == 36
    assert "&_hp=&" in f"&{post.body.decode()}&"
    assert 10_000 <= int(post.body.decode().rpartition("&_t=")[2]) < 60_000


def test_every_kind_of_control_arrives_as_a_plain_form_would_send_it(
    visitor: Visitor, website: Website, stack: Stack
) -> None:
    website.form(
        FIELDS.replace("<button>", '<button name="additional_info" value="by button">')
        + """<input type="checkbox" name="programs[]" value="Law" checked>
        <input type="checkbox" name="programs[]" value="Art" checked>
        <input type="checkbox" name="programs[]" value="No">
        <select name="universities" multiple><option selected>Koç</option><option selected>Boğaziçi</option></select>
        <input type="radio" name="user_type" value="student">
        <input type="radio" name="user_type" value="parent" checked>
        <input name="action" value="shadows a property">
        <input type="file" name="paper"><textarea name="city"></textarea>"""
    )
    visitor.come()
    visitor.fill("Zoë", "kinds@example.com", "0532 123 45 67")
    visitor.send()
    visitor.sees("delivered")
    (lead,) = leads(stack, "kinds@example.com")
    assert (lead["firstName"], lead["phoneNumber"], lead["userTypeC"]) == ("Zoë", "+905321234567", "parent")
    assert lead["universityC"] == "Koç"
    for text in ("Law, Art", "Boğaziçi", "by button", "shadows a property"):
        assert text in lead["description"]
    assert "paper" not in lead["description"]


def test_the_form_of_the_documentation_works(visitor: Visitor, website: Website, stack: Stack, door: Door) -> None:
    page = (ROOT / "docs" / "website.md").read_text()
    sample = page.partition("```html\n")[2].partition("```")[0]
    website.body = sample.replace("https://gateway.example.com", door.url).replace(
        "https://www.example.com", website.url
    )
    visitor.come()
    visitor.page.fill("[name=first_name]", "Ada")
    visitor.page.fill("[name=email]", "sample@example.com")
    visitor.page.check("[name=consent]")
    visitor.send()
    visitor.page.wait_for_url(f"{website.url}/thanks")
    assert len(leads(stack, "sample@example.com")) == 1


def test_of_files_only_the_names_are_sent(visitor: Visitor, website: Website, stack: Stack, door: Door) -> None:
    website.form(FIELDS + '<input type="file" name="файл" multiple><input type="file" name="none">')
    page = visitor.come()
    visitor.fill("Ada", "file@example.com")
    files = [("cv.pdf", b"%PDF-secret"), ("ş" * 600 + ".png", b"PNG")]
    page.set_input_files(
        "[name=файл]", [{"name": name, "mimeType": "application/pdf", "buffer": text} for name, text in files]
    )
    visitor.send()
    visitor.sees("delivered")
    sent = dict(parse_qsl(door.posts[-1].body.decode()))
    assert sent["файл"].startswith("cv.pdf, şş")
    assert len(sent["файл"]) == 500
    assert "none" not in sent
    assert b"PDF-secret" not in door.posts[-1].body
    assert "cv.pdf" in leads(stack, "file@example.com")[0]["description"]


PAIRS = """<input type="hidden" name="agreed" value="0"><input type="checkbox" name="agreed" value="1">
    <input type="hidden" name="news" value="0"><input type="checkbox" name="news" value="1" checked>
    <input type="hidden" name="level" value=""><input type="radio" name="level" value="BA">
    <input type="radio" name="level" value="MA" checked>
    <input type="checkbox" name="late" value="1" checked><input type="hidden" name="late" value="0">
    <input type="hidden" name="programs" value=""><input type="checkbox" name="programs" value="Law" checked>
    <input type="checkbox" name="programs" value="Art" checked>"""


def test_the_last_value_of_a_hidden_control_and_its_box_wins(visitor: Visitor, website: Website, door: Door) -> None:
    website.form(FIELDS + PAIRS)
    visitor.come()
    visitor.fill("Ada", "pairs@example.com")
    visitor.send()
    visitor.sees("delivered")
    sent = parse_qs(door.posts[-1].body.decode(), keep_blank_values=True)
    names = ("agreed", "news", "level", "late", "programs")
    assert {name: sent[name] for name in names} == {
        "agreed": ["0"], "news": ["1"], "level": ["MA"], "late": ["0"], "programs": ["", "Law", "Art"],
    }  # fmt: skip


def test_what_the_gateway_would_refuse_is_neither_kept_nor_sent(
    visitor: Visitor, website: Website, stack: Stack, door: Door
) -> None:
    """Also what an earlier version, or somebody else, has put into the storage of the browser."""
    more = "&".join(f"utm_{number}=x" for number in range(60))
    query = f"?ref={'r' * 501}&utm_source=poster&utm_source=late&utm_term={'x' * 501}&utm_{'n' * 61}=1&{more}"
    visitor.page.evaluate(
        """long => {
            const value = (value) => JSON.stringify({ value, until: Date.now() + 1e9 });
            localStorage["crmgate:session"] = value(long);
            localStorage["crmgate:ref"] = value({ not: "a text" });
            localStorage["crmgate:utm"] = value({ utm_source: long });
        }""",
        "x" * 3000,
    )
    page = visitor.come(f"/{query}")
    assert page.evaluate("Math.max(...Object.values(localStorage).map(value => value.length))") < 500
    visitor.fill("Ada", "limits@example.com")
    visitor.send()
    visitor.sees("delivered")
    sent = dict(parse_qsl(door.posts[-1].body.decode()))
    assert re.fullmatch(r"[\w-]{36}", sent["session"])
    assert (sent["utm_source"], "ref" in sent, "utm_term" in sent) == ("poster", False, False)
    assert len([name for name in sent if name.startswith("utm_")]) <= 10
    assert "UTM source: poster" in leads(stack, "limits@example.com")[0]["description"]


# --- When something fails


def test_no_network_is_a_delay(visitor: Visitor, stack: Stack, door: Door) -> None:
    visitor.fill("Ada", "offline@example.com")
    visitor.context.set_offline(True)
    visitor.send()
    visitor.sees("retrying")
    assert visitor.page.is_disabled("button")
    assert visitor.page.get_attribute("form", "aria-busy") == "true"
    assert len(visitor.kept()) == 1
    visitor.context.set_offline(False)
    visitor.sees("delivered")
    assert len(leads(stack, "offline@example.com")) == 1
    assert visitor.kept() == []


def test_it_retries_as_soon_as_the_network_is_back(visitor: Visitor, stack: Stack, door: Door) -> None:
    door.is_unavailable(retry_after=50)
    visitor.fill("Ada", "online@example.com")
    visitor.send()
    visitor.sees("retrying")
    visitor.context.set_offline(True)
    visitor.context.set_offline(False)
    visitor.sees("delivered")
    assert len(leads(stack, "online@example.com")) == 1


def test_a_gateway_that_cannot_take_it_is_asked_again(visitor: Visitor, stack: Stack, door: Door) -> None:
    door.is_unavailable(retry_after=2)  # later than it would come by itself
    visitor.fill("Ada", "busy@example.com")
    visitor.send()
    visitor.sees("delivered")
    first, second = door.posts
    assert second.at - first.at >= 2
    assert len(keys(door)) == 1
    assert len(leads(stack, "busy@example.com")) == 1


def test_an_answer_that_got_lost_makes_no_second_lead(visitor: Visitor, stack: Stack, door: Door) -> None:
    door.fail("drop", when="after", method="POST", times=2)  # the browser itself may send once more
    visitor.fill("Ada", "lost@example.com")
    visitor.send()
    visitor.sees("delivered")
    assert len(door.posts) == 3
    assert len(keys(door)) == 1
    assert len(leads(stack, "lost@example.com")) == 1


def test_the_page_of_a_proxy_is_no_answer(visitor: Visitor, stack: Stack, door: Door) -> None:
    """Such as a hotel's login, with 200."""
    door.answers(200, '{"login": "/hotel"}')
    visitor.fill("Ada", "hotel@example.com")
    visitor.send()
    visitor.sees("delivered")
    assert len(leads(stack, "hotel@example.com")) == 1


def test_a_page_closed_during_the_request_sends_once(visitor: Visitor, stack: Stack, door: Door) -> None:
    door.fail("latency", when="before", method="POST", times=1, seconds=3)
    visitor.fill("Ada", "closed@example.com")
    visitor.send()
    wait_until("the request is on its way", lambda: door.posts)
    visitor.page.close()
    visitor.come("/again")
    wait_until("the gateway has answered", lambda: visitor.kept() == [])
    wait_until("both were answered", lambda: len(door.posts) >= 2 and not door.faults[0].times)
    assert len(keys(door)) == 1
    wait_until("the lead is there", lambda: leads(stack, "closed@example.com"))
    assert len(leads(stack, "closed@example.com")) == 1


def test_a_page_that_is_left_tries_once_more(visitor: Visitor, stack: Stack, door: Door) -> None:
    door.is_unavailable(retry_after=50)
    visitor.fill("Ada", "left@example.com")
    visitor.send()
    visitor.sees("retrying")
    visitor.page.goto("about:blank")
    wait_until("the lead is there", lambda: leads(stack, "left@example.com"))


def test_what_could_not_be_sent_is_sent_at_the_next_visit(visitor: Visitor, stack: Stack, door: Door) -> None:
    visitor.fill("Ada", "later@example.com")
    visitor.context.set_offline(True)
    visitor.send()
    visitor.sees("retrying")
    visitor.page.close()
    visitor.context.set_offline(False)
    visitor.website.body = "<p>A page without a form.</p>"
    visitor.come("/other")
    wait_until("the lead is there", lambda: leads(stack, "later@example.com"))
    wait_until("nothing is left in the browser", lambda: visitor.kept() == [])
    assert len(leads(stack, "later@example.com")) == 1


def test_a_correction_replaces_what_waits(visitor: Visitor, stack: Stack, door: Door) -> None:
    door.is_unavailable(retry_after=120)
    visitor.fill("Ada", "tpyo@example.com")
    visitor.send()
    visitor.sees("error")
    assert len(visitor.kept()) == 1
    visitor.fill("Ada", "typo@example.com")
    visitor.send()
    visitor.sees("delivered")
    assert visitor.kept() == []
    assert (len(leads(stack, "tpyo@example.com")), len(leads(stack, "typo@example.com"))) == (0, 1)


def test_the_same_content_keeps_its_key(visitor: Visitor, stack: Stack, door: Door) -> None:
    door.is_unavailable(retry_after=120, when="after")
    visitor.fill("Ada", "same@example.com")
    visitor.send()
    assert visitor.sees("error") == "It could not be sent. Please try again later."
    visitor.send()
    visitor.sees("delivered")
    assert len(door.posts) == 2
    assert len(keys(door)) == 1
    assert len(leads(stack, "same@example.com")) == 1


def test_a_submission_older_than_its_key_is_dropped(visitor: Visitor, door: Door) -> None:
    visitor.page.evaluate(
        """url => { localStorage["crmgate:pending:old"] = JSON.stringify(
             {key: "old", url, body: "first_name=Old&email=old%40example.com", at: Date.now() - 24 * 36e5}) }""",
        f"{door.url}/api/v1/applications",
    )
    visitor.come()
    assert visitor.kept() == []
    assert door.posts == []


def test_a_double_click_is_one_submission(visitor: Visitor, stack: Stack, door: Door) -> None:
    door.fail("latency", method="POST", times=1, seconds=3)
    visitor.fill("Ada", "twice@example.com")
    visitor.page.dblclick("button")
    visitor.page.fill("[name=first_name]", "Eve")
    visitor.page.evaluate("document.forms[0].requestSubmit()")
    visitor.sees("delivered")
    assert len(door.posts) == 1
    assert [lead["firstName"] for lead in leads(stack, "twice@example.com")] == ["Ada"]


# --- What the visitor sees


def test_errors_stand_by_their_fields_until_they_are_edited(visitor: Visitor, stack: Stack, door: Door) -> None:
    page = visitor.page
    visitor.fill("", "not an address", "12")
    visitor.send()
    assert "Nothing was stored" in visitor.sees("error")
    notes = page.locator(".crmgate-error")
    assert notes.count() == 3
    first = page.locator("[name=first_name]")
    expect(first).to_be_focused()
    expect(first).to_have_attribute("aria-invalid", "true")
    assert page.locator("label:has([name=phone_number]) + .crmgate-error").get_attribute("role") == "alert"
    hint, note = (page.get_attribute("[name=email]", "aria-describedby") or "").split()
    assert hint == "hint"
    assert "mail" in page.locator(f"[id='{note}']").inner_text()
    page.fill("[name=email]", "errors@example.com")
    assert notes.count() == 2
    expect(page.locator("[name=email]")).to_have_attribute("aria-describedby", "hint")
    expect(page.locator("[name=email]")).to_have_attribute("aria-invalid", "false")
    visitor.fill("Ada", "errors@example.com")
    visitor.send()
    visitor.sees("delivered")
    assert notes.count() == 0
    assert visitor.kept() == []
    assert len(leads(stack, "errors@example.com")) == 1


def test_messages_come_from_attributes_of_the_form(visitor: Visitor, website: Website) -> None:
    words = (
        'data-crmgate-delivered="Teşekkürler: {code}" data-crmgate-invalid-body="Lütfen düzeltin."'
        ' data-crmgate-contact-required="E-posta veya telefon gerekli."'
    )
    website.form(FIELDS + "<output data-crmgate-message></output>", words)
    page = visitor.come()
    visitor.fill("Ada", "")
    visitor.send()
    assert visitor.sees("error") == "Lütfen düzeltin."
    expect(page.locator("label:has([name=email]) + .crmgate-error")).to_have_text("E-posta veya telefon gerekli.")
    visitor.fill("Ada", "words@example.com")
    visitor.send()
    assert visitor.sees("delivered").startswith("Teşekkürler: CG-")
    assert page.locator("[data-crmgate-message]").count() == 1


def test_a_refusal_is_shown_and_not_repeated(visitor: Visitor, door: Door) -> None:
    body = json.dumps({"type": "/problems/body-too-large", "detail": "A body may have 64 KB."})
    door.answers(413, body)
    visitor.fill("Ada", "large@example.com")
    visitor.send()
    assert visitor.sees("error") == "A body may have 64 KB."
    assert visitor.kept() == []


def test_it_redirects_after_success(visitor: Visitor, website: Website) -> None:
    website.form(FIELDS, 'data-crmgate-redirect="/thanks"')
    page = visitor.come()
    visitor.fill("Ada", "redirect@example.com")
    visitor.send()
    page.wait_for_url(f"{website.url}/thanks")
    website.form(FIELDS + f'<input type="hidden" name="_next" value="{website.url}/next">')
    page = visitor.come()
    visitor.fill("Ada", "next@example.com")
    visitor.send()
    page.wait_for_url(f"{website.url}/next")


def test_a_listener_can_take_over(visitor: Visitor, website: Website) -> None:
    website.form(FIELDS, 'data-crmgate-redirect="/thanks"')
    page = visitor.come()
    page.evaluate("""document.addEventListener("crmgate:delivered", (event) => {
        event.preventDefault(); document.title = event.detail.tracking_code })""")
    visitor.fill("Ada", "listener@example.com")
    visitor.send()
    expect(page).to_have_title(re.compile("^CG-"))
    assert page.input_value("[name=email]") == "listener@example.com"
    assert page.url == f"{website.url}/"


# --- Browsers without storage or JavaScript


def test_without_storage_the_session_is_a_cookie(visitor: Visitor, stack: Stack, door: Door) -> None:
    visitor.context.add_init_script(
        "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError') } })"
    )
    visitor.come()
    page = visitor.come()
    (cookie,) = [cookie for cookie in visitor.context.cookies() if cookie["name"] == "crmgate_session"]
    visitor.fill("Ada", "cookie@example.com")
    visitor.send()
    visitor.sees("delivered")
    assert f"session={cookie['value']}" in door.posts[-1].body.decode()
    assert cookie["expires"] - page.evaluate("Date.now() / 1000") > 29 * 86400


def test_without_javascript_it_is_a_plain_post(browser: Browser, website: Website, stack: Stack, door: Door) -> None:
    def submitted(email: str) -> Request:
        visitor.come()
        visitor.fill("Grace", email)
        visitor.send()
        visitor.page.wait_for_load_state()
        assert len(leads(stack, email)) == 1
        return door.posts[-1]

    with browser.new_context(java_script_enabled=False) as context:
        visitor = Visitor(context, website)
        assert submitted("plain@example.com").header("Idempotency-Key") == ""
        assert "Your tracking code is CG-" in visitor.page.inner_text("main")
        website.form(FIELDS + f'<input type="hidden" name="_next" value="{website.url}/thanks">')
        submitted("plain-next@example.com")
        assert visitor.page.url == f"{website.url}/thanks"

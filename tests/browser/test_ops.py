"""The operator's pages in Chromium: every page in two widths and two colour schemes, log-in, edit, retries, keys."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from crmgate.store.audit import Audit
from crmgate.store.sessions import Sessions
from crmgate.store.tokens import Scope, Tokens
from tests.dead_letters import add_dead_letters
from tests.integration.stack import Stack, person
from tests.processes import DEADLINE, wait_until
from tests.web.ops.html import MARKUP

AXE = (Path(__file__).parents[1] / "data" / "vendor" / "axe.min.js").read_text()
SIZES = {"wide": {"width": 1280, "height": 900}, "narrow": {"width": 390, "height": 844}}
ADMIN = {"ESPOCRM_ADMIN_USERNAME": "admin", "ESPOCRM_ADMIN_PASSWORD": "Admin-Fake-1"}
LISTS = ("/", "/operations", "/operations?state=dead", "/operations?state=delivered", "/suspects")
OTHERS = (
    "/crm", "/crm/test", "/crm/fields", "/crm/setup?code=not_found&field=source", "/numbers", "/audit", "/tokens",
    "/persons", "/edits/new?code=not_found",
)  # fmt: skip
"""Pages besides those about operations."""
Opened = Callable[..., Page]


class Office:
    """A running gateway with dead letters, and an operator who is logged in."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        audit = Audit(stack.client)
        self.tokens = Tokens(stack.client, (), audit)
        self.token, self.secret = self.tokens.new("ayse", Scope.OPERATE, "cli:test")
        self.sessions = Sessions(stack.client, self.tokens, audit)
        self.state: Any = None

    @property
    def pages(self) -> str:
        return f"{self.stack.url}/ops"

    def add_dead_letters(self, count: int = 1, code: str = "invalid_value", **payload: Any) -> list[str]:
        at = self.stack.ledger.now() - 600
        return add_dead_letters(self.stack.ledger, count, provider="espocrm", code=code, at=at, **payload)

    def states(self, operations: list[str]) -> Counter[str]:
        """The number of these operations in each state."""
        return Counter(str(self.stack.operation(one).state) for one in operations)


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with Stack(tmp_path_factory.mktemp("ops"), **ADMIN) as stack:
        stack.start()
        office = Office(stack)
        for number in range(3):
            stack.submit(person(number))
        office.add_dead_letters(12)
        office.add_dead_letters(4, "no_permission", first_name=MARKUP, additional_info=MARKUP)
        yield office


@pytest.fixture
def faults() -> list[str]:
    """What a page said on the console, its errors, its dialogs, and its requests that failed."""
    return []


@pytest.fixture
def context(browser: Browser, office: Office, faults: list[str]) -> Iterator[Callable[..., BrowserContext]]:
    """Makes contexts of the operator who is logged in; with `state=None` of a stranger."""
    made: list[BrowserContext] = []

    def make(size: str = "wide", scheme: str = "light", **options: Any) -> BrowserContext:
        if office.state is None:
            office.state = _logged_in(browser, office)
        options = {"storage_state": office.state} | options
        context = browser.new_context(viewport=SIZES[size], color_scheme=scheme, **options)  # type: ignore[arg-type]
        context.set_default_timeout(DEADLINE * 1000)
        context.on("console", lambda line: faults.append(line.text))
        context.on("weberror", lambda error: faults.append(str(error.error)))
        context.on("dialog", lambda dialog: faults.append(dialog.message))
        made.append(context)
        return context

    yield make
    for one in made:
        one.close()
    assert faults == []


def _logged_in(browser: Browser, office: Office) -> Any:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{office.pages}/operations?state=dead")
        page.fill("#secret", office.secret)
        page.click("#login button")
        page.wait_for_url("**/ops/operations?state=dead")
        return context.storage_state()


@pytest.fixture
def opened(context: Callable[..., BrowserContext], office: Office) -> Opened:
    """Open a page of the operator's pages."""

    def opened(path: str = "/", **options: Any) -> Page:
        page = context(**options).new_page()
        page.goto(office.pages + path)
        return page

    return opened


def test_the_pages_of_operations_fit_and_can_be_used_by_everybody(
    context: Callable[..., BrowserContext], office: Office
) -> None:
    """No page is wider than its window, and axe-core finds no serious violation of WCAG."""
    [marked] = office.add_dead_letters(code="not_found", first_name=MARKUP, custom={MARKUP: MARKUP})
    one = f"/operations/{marked}"
    page = context(reduced_motion="reduce").new_page()  # colours change at once, not step by step
    for path in (*LISTS, "/retries/new", "/retries/new?code=timeout", "/discards/new", one, f"{one}?data=shown",
                 f"{one}/edit"):  # fmt: skip
        answer = page.goto(office.pages + path)
        assert answer is not None
        assert answer.status == 200, path
        fits(page, path)
    stranger = context(reduced_motion="reduce", storage_state=None).new_page()
    stranger.goto(f"{office.pages}/")
    fits(stranger, "log-in")


def test_the_other_pages_fit_and_can_be_used_by_everybody(
    context: Callable[..., BrowserContext], office: Office
) -> None:
    """As above."""
    [marked] = office.add_dead_letters(code="not_found", email="markup@example.com", source=MARKUP)
    office.stack.espocrm.set_options("userTypeC", ["", "parent"])
    page = context(reduced_motion="reduce").new_page()  # colours change at once, not step by step
    for path in OTHERS:
        answer = page.goto(office.pages + path)
        assert answer is not None
        assert answer.status == 200, path
        fits(page, path)
    page.get_by_label("Field of the submission").fill("source")
    page.get_by_label("New value").fill(MARKUP)
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Edit")
    fits(page, "preview of an edit")
    page.goto(office.pages + "/persons")
    page.get_by_label("Email, or phone").fill("markup@example.com")
    page.get_by_role("button", name="Find").click()
    expect(page.locator(f"a[href$='{marked}']")).to_be_visible()
    fits(page, "one person")
    assert "markup" not in page.url
    page.get_by_role("button", name="Erase …").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Erase")
    fits(page, "preview of an erasure")


def fits(page: Page, path: str) -> None:
    """The page has one heading, is not wider than its window, and axe-core finds no serious violation of WCAG.

    One load of the page serves each width and each colour scheme. A run of axe-core takes most of the time, so there is
    one for each, not one for each pair: a violation in one pair only, such as narrow and light, is not found.
    """
    for size, scheme in (("wide", "light"), ("narrow", "dark")):
        page.set_viewport_size(SIZES[size])  # type: ignore[arg-type]
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        width = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert width[0] <= width[1], (path, size)
        assert violations(page) == [], (path, size, scheme)


def test_numbers_have_a_chart_and_an_edit_of_many_goes_on_by_itself(opened: Opened, office: Office) -> None:
    letters = office.add_dead_letters(130, "rate_limited", source="fair")
    page = opened("/numbers?days=7")
    expect(page.locator(".u-wrap")).to_have_count(1)
    page.goto(f"{office.pages}/edits/new?code=rate_limited")
    page.get_by_label("Field of the submission").fill("source")
    page.get_by_label("New value").fill("website")
    page.get_by_role("button", name="Preview").click()
    page.get_by_role("button", name="Edit these 130").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("130 dead letters edited")
    assert {office.stack.operation(one).payload["source"] for one in letters} == {"website"}


def violations(page: Page) -> list[str]:
    """Serious and critical violations that axe-core finds."""
    if page.evaluate("typeof axe == 'undefined'"):
        page.evaluate(AXE + "; undefined")
    found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    return [
        f"{one['id']}: {one['help']}: {one['nodes'][0]['html']}"
        for one in found if one["impact"] in ("serious", "critical")
    ]  # fmt: skip


def test_a_log_in_link_works_once_and_leaves_no_trace(context: Callable[..., BrowserContext], office: Office) -> None:
    code = office.sessions.new_code(office.token, "cli:test")
    page = context(storage_state=None).new_page()
    sent: list[str] = []
    page.on("request", lambda request: sent.append(f"{request.url} {request.headers}"))
    page.goto(f"{office.pages}/login#once={code}")
    page.wait_for_url("**/ops/")
    expect(page.get_by_text("Dead letters by cause")).to_be_visible()
    assert [one for one in sent if code in one] == []
    page.go_back()
    assert code not in page.url
    assert office.sessions.redeem(code) is None


def test_a_log_in_link_leaves_no_trace_in_a_browser_with_a_session(opened: Opened, office: Office) -> None:
    code = office.sessions.new_code(office.token, "cli:test")
    page = opened(f"/login#once={code}")
    expect(page.get_by_text("Dead letters by cause")).to_be_visible()
    page.wait_for_url("**/ops/")
    assert code not in page.url


def test_a_poll_keeps_what_was_selected_meanwhile(opened: Opened) -> None:
    page = opened("/operations?state=dead")
    poll = """async (select) => {
        const answer = htmx.ajax("GET", location.href, {target: "#live", select: "#live", swap: "outerHTML"});
        document.querySelector("#live input[name=id]").checked = select;
        document.querySelector("#live").old = true;
        await answer;
        return [document.querySelector("#live input[name=id]").checked, Boolean(document.querySelector("#live").old)];
    }"""
    assert page.evaluate(poll, True) == [True, True]
    page.evaluate("document.querySelector('#live input[name=id]').checked = false")
    assert page.evaluate(poll, False) == [False, False], "the answer that was not shown is asked for again"


def test_now_changes_by_itself(opened: Opened, office: Office) -> None:
    page = opened()
    office.add_dead_letters(3, "timeout")
    expect(page.get_by_role("button", name="Retry these 3")).to_be_visible(timeout=DEADLINE * 1000)
    expect(page.locator(".u-wrap")).to_have_count(1)


def test_a_hidden_page_does_not_poll(opened: Opened, office: Office) -> None:
    page = opened()
    page.evaluate("Object.defineProperty(document, 'hidden', {get: () => window.away})")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate("window.away = true")
    page.evaluate("htmx.ajax('GET', '/ops/?hidden', '#live').catch(() => 0)")
    page.evaluate("window.away = false")
    page.evaluate("htmx.ajax('GET', '/ops/?shown', {target: '#live', select: '#live', swap: 'outerHTML'})")
    wait_until(
        "the page that is shown again asks", lambda: page.evaluate("1") and any("?shown" in url for url in asked)
    )
    assert [url for url in asked if "?hidden" in url] == []


def test_search_edit_and_retry(opened: Opened, office: Office, faults: list[str]) -> None:
    [operation] = office.add_dead_letters(first_name="Wrong", last_name="Byron", email="byron@example.com")
    page = opened()
    page.keyboard.press("/")
    page.keyboard.type(office.stack.operation(operation).tracking_code.lower())
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="The attempt that failed")).to_be_visible()
    expect(page.get_by_text("byron@example.com")).to_have_count(0)
    page.keyboard.press("d")
    expect(page.get_by_text("byron@example.com").first).to_be_visible()
    page.keyboard.press("e")
    page.get_by_label("Email").fill("no address")
    page.get_by_role("button", name="Save and retry").click()
    expect(page.locator("[aria-invalid=true]")).to_have_attribute("name", "field.email")
    assert [line for line in faults if "status of 422" not in line] == []
    faults.clear()
    page.get_by_label("First name").fill("Right")
    page.get_by_label("Email").fill("right@example.com")
    page.get_by_role("button", name="Save and retry").click()
    page.wait_for_url(f"**/ops/operations/{operation}")
    office.stack.wait_for(operation, "delivered")
    page.reload()
    expect(page.get_by_role("heading", name="In the CRM")).to_be_visible()
    [lead] = [lead for lead in office.stack.espocrm.leads if lead["emailAddress"] == "right@example.com"]
    assert lead["firstName"] == "Right"


def test_keys_select_rows_and_act_on_them(opened: Opened, office: Office) -> None:
    chosen = set(office.add_dead_letters(2, "duplicate"))
    page = opened("/operations?state=dead&code=duplicate")
    for key in ("j", "x", "j", "x"):
        page.keyboard.press(key)
    expect(page.get_by_text("2 selected")).to_be_visible()
    page.keyboard.press("r")
    expect(page.get_by_role("heading", level=1)).to_have_text("Retry 2 operations?")
    page.get_by_role("button", name="Retry 2 operations").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("2 operations sent again")
    assert {office.stack.wait_for(one, "delivered").id for one in chosen} == chosen
    page.keyboard.press("g")
    page.keyboard.press("s")
    page.wait_for_url("**/ops/suspects")
    page.keyboard.press("?")
    expect(page.get_by_role("heading", name="Keyboard shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("heading", name="Keyboard shortcuts")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_of_one_cause_are_retried_with_progress_and_cancel(opened: Opened, office: Office, scheme: str) -> None:
    letters = office.add_dead_letters(60, "server_error")
    page = opened("/", size="narrow" if scheme == "dark" else "wide", scheme=scheme)
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("An operator paused deliveries")).to_be_visible()
    page.get_by_role("button", name="Retry these 60").click()
    page.get_by_role("button", name="Retry these 60").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Retrying dead letters")
    expect(page.get_by_text(re.compile("50 sent again"))).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("The job was cancelled")
    page.get_by_role("button", name="Now").click()
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("espocrm takes requests")).to_be_visible()
    # Not always the first 50: the worker's sweep may have made a dead letter of one, later than the test would have.
    wait_until("50 are delivered", lambda: office.states(letters) == {"delivered": 50, "dead": 10})
    page.get_by_role("button", name="Retry these 10").click()
    page.get_by_role("button", name="Retry these 10").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("The job has ended")
    wait_until("all are delivered", lambda: office.states(letters) == {"delivered": 60})


def test_all_that_match_are_discarded_batch_after_batch(opened: Opened, office: Office) -> None:
    """The page asks for batch after batch by itself."""
    letters = office.add_dead_letters(210, "unsupported")
    page = opened("/operations?state=dead&code=unsupported")
    page.get_by_role("link", name="Discard all").click()
    page.get_by_label("Reason").fill("a test")
    page.get_by_role("button", name="Discard these 210").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("210 dead letters discarded")
    assert {office.stack.operation(one).state for one in letters} == {"discarded"}


def test_a_person_is_found_without_a_trace_in_the_address(opened: Opened, office: Office) -> None:
    made = set(office.add_dead_letters(2, "unsupported", email="zeynep@example.com"))
    page = opened()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.keyboard.press("/")
    page.keyboard.type("Zeynep@Example.com")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Operations of a person")
    links = page.locator("td.code a").evaluate_all("links => links.map(link => link.href.slice(-32))")
    assert set(links) == made
    assert [url for url in asked if "zeynep" in url.lower()] == []


def test_without_javascript_lists_are_read_and_actions_work(opened: Opened, office: Office) -> None:
    [operation] = office.add_dead_letters(code="locked_out")
    page = opened("/", java_script_enabled=False)
    expect(page.get_by_text("As a table")).to_be_visible()
    page.get_by_role("link", name="Operations", exact=True).click()
    page.get_by_label("Code of the last failure").select_option("locked_out")
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("checkbox").check()
    page.get_by_role("button", name="Discard the selected").click()
    page.get_by_label("Reason").fill("a test")
    page.get_by_role("button", name="Discard 1 operation").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("1 operation discarded")
    assert office.stack.operation(operation).state == "discarded"
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Log in")
    office.state = None

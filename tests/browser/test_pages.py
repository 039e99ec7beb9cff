"""What a newcomer opens after `crmgate dev`, in Chromium: the demo, the sandbox CRM, the API's description."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from urllib.parse import urldefrag, urljoin

import pytest
import requests
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.rig import TAKES_TIME
from tests.processes import DEADLINE, Process, free_port, wait_until

WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 375, "height": 700}


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Where `crmgate dev` says that its pages are."""
    folder = tmp_path_factory.mktemp("dev")
    env = {"PORT": str(free_port()), "CRMGATE_HOME": str(folder / "home"), "WEB_CONCURRENCY": "1"}
    dev = Process("dev", [sys.executable, "-m", "crmgate", "dev"], folder, env)
    dev.start()
    try:
        wait_until("the gateway is ready", lambda: "Ctrl-C stops everything" in dev.output())
        sandbox = re.search(r"CRM +(http://\S+)", dev.output())
        demo = re.search(r"Demo +(http://\S+)", dev.output())
        assert sandbox
        assert demo
        yield {"sandbox": sandbox[1], "demo": demo[1], "docs": urljoin(demo[1], "/docs")}
    finally:
        dev.stop(signal.SIGINT)


@pytest.fixture
def faults() -> list[str]:
    """What a page said on the browser's console, and the requests of it that failed."""
    return []


@pytest.fixture
def context(browser: Browser, faults: list[str]) -> Iterator[BrowserContext]:
    with browser.new_context(permissions=["clipboard-read", "clipboard-write"]) as context:
        context.add_init_script(TAKES_TIME)
        context.on("console", lambda line: faults.append(line.text))
        context.on("weberror", lambda error: faults.append(str(error.error)))
        context.on("requestfailed", lambda request: faults.append(request.url))
        yield context
        assert faults == []


def opened(context: BrowserContext, address: str, size: dict[str, int] = WIDE) -> Page:
    page = context.new_page()
    page.set_default_timeout(DEADLINE * 1000)
    page.set_viewport_size(size)  # type: ignore[arg-type]
    answer = page.goto(address)
    assert answer
    assert answer.status == 200
    return page


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("name", ["demo", "docs", "sandbox"])
def test_nothing_sticks_out_and_nothing_is_missing(
    context: BrowserContext, addresses: dict[str, str], name: str, size: dict[str, int]
) -> None:
    page = opened(context, addresses[name], size)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")


def test_every_link_of_the_description_leads_somewhere(context: BrowserContext, addresses: dict[str, str]) -> None:
    page = opened(context, addresses["docs"])
    links = [urldefrag(link) for link in page.eval_on_selector_all("a[href]", "all => all.map((link) => link.href)")]
    here = {fragment for url, fragment in links if url == addresses["docs"] and fragment}
    assert len(here) > 20
    assert [fragment for fragment in here if not page.evaluate("(id) => document.getElementById(id)", fragment)] == []
    others = {url for url, _ in links if url.startswith(urljoin(addresses["docs"], "/"))} - {addresses["docs"]}
    assert others
    assert {requests.get(url, timeout=DEADLINE).status_code for url in others} == {200}


def test_an_example_of_the_description_can_be_copied(context: BrowserContext, addresses: dict[str, str]) -> None:
    page = opened(context, addresses["docs"])
    figure = page.locator("figure.code", has_text="curl").filter(has_text="/api/v1/applications").first
    figure.get_by_role("button", name="Copy").click()
    expect(figure.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == figure.locator("code").text_content()


def test_what_the_demo_sends_is_seen_in_the_sandbox(context: BrowserContext, addresses: dict[str, str]) -> None:
    sandbox, demo = opened(context, addresses["sandbox"]), opened(context, addresses["demo"])
    demo.fill("[name=first_name]", "Ada")
    demo.fill("[name=last_name]", "Byron-King")
    demo.fill("[name=email]", "ada.byron@example.com")
    demo.get_by_role("button", name="Send").click()
    expect(demo.locator("#answers li.delivered")).to_be_visible()
    expect(sandbox.get_by_text("Byron-King").first).to_be_visible()

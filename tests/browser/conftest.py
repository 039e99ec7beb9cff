"""One Chromium, one gateway and one website for the tests of a module; a visitor of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.rig import Door, Visitor, Website
from tests.integration.stack import Stack
from tests.needs import need
from tests.processes import DEADLINE

expect.set_options(timeout=DEADLINE * 1000)

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = need("chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, headless=True, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Door, Website]]:
    with Stack(tmp_path_factory.mktemp("stack")) as stack, Door(stack.url) as door, Website(door) as website:
        door.website = stack.env["ALLOWED_ORIGINS"] = website.url
        stack.env |= {"TELEGRAM_URL": "https://t.me/example_bot", "WHATSAPP_URL": "https://wa.me/905321234567"}
        stack.start()
        door.gateway = stack.url
        yield stack, door, website


@pytest.fixture
def stack(servers: tuple[Stack, Door, Website]) -> Stack:
    return servers[0]


@pytest.fixture
def door(servers: tuple[Stack, Door, Website]) -> Iterator[Door]:
    """The way to the gateway; its faults are mended after each test."""
    yield servers[1]
    servers[1].heal()
    servers[1].requests.clear()


@pytest.fixture
def website(servers: tuple[Stack, Door, Website]) -> Iterator[Website]:
    yield servers[2]
    servers[2].form()


@pytest.fixture
def visitor(browser: Browser, door: Door, website: Website) -> Iterator[Visitor]:
    """Somebody new on the website. No script may fail or break the policy of the page."""
    with browser.new_context() as context:
        visitor = Visitor(context, website)
        yield visitor
        assert visitor.faults == []

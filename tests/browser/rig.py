"""A website on one origin and the gateway's public door on another, both able to fail as networks do."""

from __future__ import annotations

from typing import Any, Literal

import requests
from playwright.sync_api import BrowserContext, Page

from crmgate.testing.server import FakeCRM, Request, Response
from tests.processes import DEADLINE

FIELDS = """
<label>First name <input name="first_name"></label>
<label>Email <input name="email" aria-describedby="hint"></label> <small id="hint">We answer there.</small>
<label>Phone <input name="phone_number"></label>
<button>Send</button>
"""


class Server(FakeCRM):
    """HTTP, faults and records of requests, without a CRM."""

    def records(self) -> dict[str, list[dict[str, Any]]]:
        return {}


class Door(Server):
    """Passes everything on to the gateway, as Caddy would, and counts the submissions."""

    def __init__(self, gateway: str) -> None:
        super().__init__()
        self.gateway, self.website = gateway, ""

    def answer(self, request: Request) -> Response:
        headers = {name: value for name, value in request.headers.items() if name != "Connection"}
        answer = requests.request(
            request.method, f"{self.gateway}{request.path}?{request.query}", data=request.body, headers=headers,
            allow_redirects=False, timeout=DEADLINE,
        )  # fmt: skip
        passed = {
            name: value for name, value in answer.headers.items() if name in ("Location", "Retry-After", "Set-Cookie")
        }
        cors = {name: value for name, value in answer.headers.items() if name.startswith("Access-Control-")}
        return Response(
            answer.status_code, answer.content, passed | (cors or self.cors()), answer.headers.get("Content-Type", "")
        )

    def answers(self, status: int, body: str, when: Literal["before", "after"] = "before", **headers: str) -> None:
        """Answer the next submission itself, before or after the gateway has got it."""
        allowed = self.cors() | {name.replace("_", "-"): value for name, value in headers.items()}
        self.fail("answer", when=when, method="POST", times=1, status=status, body=body, headers=allowed)

    def is_unavailable(self, retry_after: int, when: Literal["before", "after"] = "before") -> None:
        """Answer the next submission with a 503 of the gateway."""
        self.answers(503, '{"type": "/problems/service-unavailable"}', when, Retry_After=str(retry_after))

    def cors(self) -> dict[str, str]:
        """What a gateway says that allows the website."""
        return {
            "Access-Control-Allow-Origin": self.website,
            "Access-Control-Allow-Headers": "Content-Type, Idempotency-Key, Prefer",
            "Access-Control-Expose-Headers": "Retry-After",
        }

    @property
    def clicks(self) -> list[Request]:
        """Requests for messenger links."""
        with self.lock:
            return [request for request in self.requests if request.path.startswith("/go/")]

    @property
    def posts(self) -> list[Request]:
        with self.lock:
            return [request for request in self.requests if request.method == "POST"]


class Website(Server):
    """Serves one page under every path, as strict as a policy for content can be."""

    def __init__(self, door: Door) -> None:
        super().__init__()
        self.door, self.body = door, ""
        self.form()

    def form(self, fields: str = FIELDS, attributes: str = "", more: str = "") -> None:
        """What the page consists of: a form with these fields, and more behind it."""
        action = f"{self.door.url}/api/v1/applications"
        self.body = f'<form data-crmgate method="post" action="{action}" {attributes}>{fields}</form>{more}'

    def answer(self, request: Request) -> Response:
        if request.path == "/favicon.ico":
            return Response(204)
        script = f'<script src="{self.door.url}/static/crmgate.js" defer></script>'
        html = f'<!doctype html><meta charset="utf-8"><title>Site</title>{script}<h1>{request.path}</h1>{self.body}'
        policy = f"default-src 'none'; script-src {self.door.url}; connect-src {self.door.url}; form-action *"
        return Response(200, html, {"Content-Security-Policy": policy}, "text/html; charset=utf-8")


# To the page it seems that ten seconds went by after it had been loaded: no person fills in a form at once.
TAKES_TIME = """
    const now = window.Date.now;
    window.Date.now = () => now() + (document.readyState == "complete" ? 10_000 : 0);
"""


class Visitor:
    """Somebody with a browser on the website."""

    def __init__(self, context: BrowserContext, website: Website) -> None:
        self.context, self.website = context, website
        self.faults: list[str] = []
        self._page: Page | None = None
        context.add_init_script(TAKES_TIME)

    @property
    def page(self) -> Page:
        """The page that was opened last; the website's first page when there is none yet."""
        return self._page or self.come()

    def come(self, path: str = "/") -> Page:
        """Open a page of the website in a new tab."""
        self._page = page = self.context.new_page()
        page.set_default_timeout(DEADLINE * 1000)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda line: "Content Security Policy" in line.text and self.faults.append(line.text))
        page.goto(self.website.url + path)
        return page

    def fill(self, name: str, email: str, phone: str = "") -> None:
        self.page.fill("[name=first_name]", name)
        self.page.fill("[name=email]", email)
        self.page.fill("[name=phone_number]", phone)

    def send(self) -> None:
        self.page.click("button")

    def sees(self, state: str) -> str:
        """Wait until the form's message tells of `state`; its text."""
        area = self.page.locator(f"[data-crmgate-message][data-state={state}]")
        area.wait_for(state="attached")
        return area.inner_text()

    def kept(self, what: str = "crmgate:pending:") -> list[str]:
        """The names of what the browser keeps."""
        names: list[str] = self.page.evaluate("Object.keys(localStorage)")
        return [name for name in names if name.startswith(what)]

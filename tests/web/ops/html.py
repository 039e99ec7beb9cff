"""What the tests read from a page of an operator."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser

from werkzeug.test import TestResponse

MARKUP = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}"


def texts(html: str) -> str:
    """The words of a page, without its tags."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def fields(html: str) -> dict[str, str]:
    """The values of the inputs of a page by their names."""
    found = re.findall(r'<input[^>]* name="([^"]+)" value="([^"]*)"', html)
    return {name: unescape(value) for name, value in found}


def listed(html: str) -> set[str]:
    """Ids of the operations that a list links to."""
    return set(re.findall(r'href="/ops/operations/([0-9a-f]{32})"', html))


class Inline(HTMLParser):
    """Collects what a policy without `unsafe-inline` forbids."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        self.found += [f"{tag} {name}" for name in names if name.startswith("on") or name in ("style", "hx-on")]
        if tag == "style" or (tag == "script" and "src" not in names):
            self.found.append(tag)
        self.found += [f"{name}={value}" for name, value in attrs if value and value.startswith(("javascript:", "//"))]


def inline(answer: TestResponse) -> list[str]:
    parser = Inline()
    parser.feed(answer.text)
    return parser.found

"""Recognises requests that no visitor made: crawlers, link previews and prefetching browsers.

A short list instead of a library: libraries know thousands of agents, and each false match loses a lead. A robot that
does not identify itself counts as a visitor. So does a tool such as curl, so that an operator who tries a link sees a
lead.
"""

from __future__ import annotations

import re

from werkzeug.wrappers import Request

# Most names end in "bot": Googlebot, TelegramBot, Twitterbot, Slackbot-LinkExpanding, Discordbot. A Cubot is a phone.
# WhatsApp and Signal fetch a preview as WhatsApp/2...; a visitor's browser never begins like that.
_ROBOT = re.compile(
    r"(?<!cu)bot(?![a-z])|crawl|spider|slurp|scrape|preview|^whatsapp/|^viber|facebookexternalhit|facebookcatalog"
    r"|^facebot|meta-external|embedly|iframely|vkshare|slack-imgproxy|mastodon/|pleroma|flipboardproxy|quora link"
    r"|google-(inspectiontool|pagerenderer|read-aloud|safety)|googleother|mediapartners-google|apis-google"
    r"|feedfetcher|chrome-lighthouse|bingpreview|ia_archiver|pingdom|statuscake|w3c_validator|^ltx71",
    re.IGNORECASE,
)
_AHEAD = ("Purpose", "Sec-Purpose", "X-Purpose", "X-Moz")


def is_robot(request: Request) -> bool:
    """Whether no visitor clicked: a HEAD request, a prefetch or a known robot."""
    return request.method == "HEAD" or _loads_ahead(request) or bool(_ROBOT.search(request.user_agent.string))


def _loads_ahead(request: Request) -> bool:
    """Whether it is a prefetch: `Sec-Purpose: prefetch;prerender` (Fetch, 3.6) or an older header."""
    words = " ".join(request.headers.get(name, "") for name in _AHEAD).lower()
    return any(word in words for word in ("prefetch", "prerender", "preview"))

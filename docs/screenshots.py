"""`make screenshots`: takes the pictures of docs/operating.md from a running gateway with a fake EspoCRM.

The gateway gets a month of applications and clicks, then a bad morning: an administrator renames an option of a list in
the CRM, and 214 applications are refused. Time is that of a clock which the script moves; every delivery and every
refusal is real. All persons are invented: their addresses end with `example.com`, and their numbers are reserved for
fiction (+44 7700 900000 to 900999).
"""

from __future__ import annotations

import itertools
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from crmgate.config import Settings
from crmgate.model import Kind, Suspicion
from crmgate.services import Services, build
from crmgate.store.tokens import Scope
from tests.browser.conftest import ARGUMENTS
from tests.integration.stack import Stack
from tests.needs import missing, provide
from tests.world import at

IMAGES = Path(__file__).parent / "images"
LARGEST = 150_000
"""Largest number of bytes of a picture."""
HOUR, DAY = 3600.0, 86400.0
REFUSED = 214
"""Number of applications that the CRM refuses since the option was renamed."""
BAD = 11 * HOUR
"""Seconds since the option was renamed."""
MONTH = 29
"""Number of quiet days before the last one."""
A_DAY = (24, 19, 12, 7, 5, 3, 4, 8, 13, 17, 21, 26, 28)
"""Applications of each hour of the last day, before the option was renamed; the last hour is the latest."""
QUIET_DAY = (140, 240)
"""Smallest and largest number of visitors of a quiet day; a Sunday has a third."""
PERSON = {
    "first_name": "Mira", "last_name": "Sandoval", "email": "mira.sandoval@example.com", "phone": "+447700900000",
    "city": "Lisbon", "universities": ["Northgate University"], "user_type": "student", "session": "visit-mira",
}  # fmt: skip
"""A person who applies twice."""
FIRST = ("Mira", "Jonas", "Leyla", "Tomás", "Aino", "Rashid", "Clara", "Emre", "Ines", "Pavel", "Sunniva", "Kofi")
LAST = ("Sandoval", "Winterfeld", "Karaca", "Brandão", "Lehtola", "Amari", "Whitlock", "Özdal", "Ferrand", "Novotik")
CITIES = ("Lisbon", "Izmir", "Turku", "Leeds", "Lyon", "Brno", "Accra", "Bergen", "Antalya", "Porto")
UNIVERSITIES = ("Northgate University", "Harbour College of Design", "Lakeside Institute of Technology")
CAMPAIGNS = (
    {}, {}, {"source": "newsletter", "medium": "email", "campaign": "open-days"},
    {"source": "search", "medium": "cpc", "campaign": "autumn-intake"},
    {"source": "social", "medium": "video", "campaign": "student-stories"},
)  # fmt: skip
REFERRALS = ("DIRECT", "DIRECT", "ALUMNI", "FAIR26", "PARTNER7")


@dataclass(frozen=True)
class Picture:
    """A picture of a page. `act` prepares it; `narrow` is 390 pixels wide. `worker`: only with a running worker."""

    name: str
    path: str
    scheme: str = "light"
    narrow: bool = False
    height: int = 800
    act: Callable[[Page], object] = lambda _page: None
    worker: bool = False


def pictures(letter: str) -> list[Picture]:
    """The pictures, in the order in which they are taken. `letter` is the id of a refused application."""
    return [
        Picture("now", "/", height=780),
        Picture("now-dark", "/", "dark", height=780),
        Picture("now-narrow", "/", narrow=True, height=900),
        Picture("operations", "/operations?state=dead&field=source", height=540),
        Picture("operation", f"/operations/{letter}", height=900),
        Picture("fields", "/crm/fields", height=620),
        Picture("repair", "/crm/setup?provider=espocrm&code=invalid_value&field=source", height=760),
        Picture("numbers", "/numbers?by=utm_campaign", height=900),
        Picture("person", "/persons", height=440, act=_finds_a_person),
        Picture("discard", "/discards/new?code=forbidden", height=420),
        Picture(
            "retry",
            "/retries/new?provider=espocrm&code=invalid_value&field=source",
            height=420,
            act=_retries,
            worker=True,
        ),
        Picture("audit", "/audit", height=290),
    ]


def main() -> int:
    """Take all pictures, or those that the arguments name. Returns the exit status."""
    chromium = provide("chromium")
    if chromium is None:
        print(missing("chromium"))
        return 1
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder), **SETTINGS) as stack:
        stack.redis.start()
        parts = build(Settings.load(stack.env))
        letter = fill(stack, parts)
        stack.start_web()
        _, secret = parts.tokens.new("lena", Scope.OPERATE, "cli:admin")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=[*ARGUMENTS, "--disable-lcd-text"])
            state = logged_in(browser, stack, secret)
            wanted = [one for one in pictures(letter) if not sys.argv[1:] or one.name in sys.argv[1:]]
            sizes = [take(browser, stack, parts, state, one) for one in wanted]
            browser.close()
    return int(max(sizes) > LARGEST)


def logged_in(browser: Browser, stack: Stack, secret: str) -> Any:
    """The cookie of a session."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{stack.url}/ops/login")
        page.fill("#secret", secret)
        page.click("#login button")
        page.wait_for_url("**/ops/")
        return context.storage_state()


SETTINGS = {
    "CRM_ON_REJECTED_FIELD": "dead", "CRM_EPIDEMIC_AFTER": "100", "CRM_RETRY_DELAYS": "900,3600",
    "CRM_MAX_CONCURRENCY": "2", "TELEGRAM_URL": "https://t.me/example_bot", "ESPOCRM_ADMIN_USERNAME": "admin",
    "ESPOCRM_ADMIN_PASSWORD": "Admin-Fake-1",
}  # fmt: skip


def take(browser: Browser, stack: Stack, parts: Services, state: Any, picture: Picture) -> int:
    """Take one picture; its size in bytes.

    A worker would deliver what waits: it starts only for the pictures that need it, and until then another one was
    seen a moment ago.
    """
    if not picture.worker:
        parts.ledger.beat("worker-1:7")
    elif not stack.worker.running:
        stack.start_worker()
    width = 390 if picture.narrow else 1280
    with browser.new_context(
        viewport={"width": width, "height": picture.height}, storage_state=state,
        color_scheme="dark" if picture.scheme == "dark" else "light",
    ) as context:  # fmt: skip
        page = context.new_page()
        page.goto(f"{stack.url}/ops{picture.path}")
        picture.act(page)
        page.wait_for_load_state("networkidle")
        file = IMAGES / f"{picture.name}.png"
        page.screenshot(path=file, animations="disabled")
    size = file.stat().st_size
    print(f"{file.name:<20} {size / 1000:5.0f} kB{'  TOO LARGE' if size > LARGEST else ''}", flush=True)
    return size


def _finds_a_person(page: Page) -> None:
    page.fill("main input[name=contact]", "mira.sandoval@example.com")
    page.click("main form.filters button")


def _retries(page: Page) -> None:
    page.click("main form button")
    page.wait_for_function("() => +document.querySelector('.numbers b')?.textContent >= 50")


def fill(stack: Stack, parts: Services) -> str:
    """Let a month and a bad morning pass. Returns the id of a refused application."""
    chance, visitors, now = random.Random(7), visitor(), time.time()
    for day in range(MONTH, 0, -1):
        number = chance.randint(*QUIET_DAY) // (1 if day % 7 else 3)
        for moment in sorted(chance.uniform(0, DAY) for _ in range(number)):
            submit(parts, chance, visitors, now - (day + 1) * DAY + moment, clicks=chance.random() < 0.4)
    begin = now - BAD
    for hour, number in enumerate(A_DAY):
        for moment in sorted(chance.uniform(0, HOUR) for _ in range(number)):
            start = begin - (len(A_DAY) - hour) * HOUR
            submit(parts, chance, visitors, start + moment, clicks=chance.random() < 0.4)
    for person in range(6):
        robot = {"first_name": "SEO", "last_name": f"Offer {person}", "email": f"offer{person}@example.com"}
        with at(parts.ledger, begin - person * 5000):
            parts.gateway.submit(Kind.CREATE_LEAD, robot, inline=False, suspect=list(Suspicion)[person % 2])
    stack.espocrm.set_options("source", ["", "Call", "Email", "Partner", "Website", "Campaign", "Other"])
    stack.espocrm.forbidden = {"@blocked.example.com": "Leads from this domain are on the list of the privacy team."}
    return _bad_morning(stack, parts, chance, visitors, now)


def _bad_morning(
    stack: Stack, parts: Services, chance: random.Random, visitors: Iterator[dict[str, Any]], now: float
) -> str:  # fmt: skip
    moments = sorted(chance.uniform(0, BAD - 600) for _ in range(REFUSED))
    letters = []
    for number, moment in enumerate(moments):
        moment += now - BAD
        hers = number in (REFUSED - 8, REFUSED - 4)  # she tries again
        letters.append(submit(parts, chance, iter([PERSON]) if hers else visitors, moment, clicks=False))
        if number % 9 == 0:
            submit(parts, chance, visitors, moment, clicks=False, source="Partner", referral_code="PARTNER7")
        if number % 24 == 5:
            address = f"applicant{number}@blocked.example.com"
            submit(parts, chance, visitors, moment, clicks=False, source="Partner", email=address)
    stack.espocrm.fail("answer", status=503, method="POST", path="/Lead", times=3)
    for number in range(3):
        submit(parts, chance, visitors, now - 240 + number * 60, clicks=False, source="Partner")
    stack.espocrm.fail("latency", seconds=0.15)
    return letters[-4]


def visitor() -> Iterator[dict[str, Any]]:
    """Invented persons, each another one; the first name and the last name repeat."""
    for number in itertools.count(1):
        first, last = FIRST[number % len(FIRST)], LAST[number // len(FIRST) % len(LAST)]
        again = number // (len(FIRST) * len(LAST))
        plain = f"{first}.{last}".lower().translate(str.maketrans("áãöÖø", "aaooo"))
        yield {
            "first_name": first, "last_name": last, "email": f"{plain}{again or ''}@example.com",
            "phone": f"+447700900{number % 1000:03}" if again == 0 else "", "city": CITIES[number % len(CITIES)],
            "universities": [UNIVERSITIES[number % 3]], "user_type": "student", "language": "en",
            "session": f"visit-{number}",
        }  # fmt: skip


def submit(
    parts: Services, chance: random.Random, visitors: Iterator[dict[str, Any]], moment: float, *, clicks: bool,
    **more: Any,
) -> str:  # fmt: skip
    """Let the next visitor apply at `moment`, perhaps after a click on a messenger link; the id of the application."""
    person = next(visitors)
    about: dict[str, Any] = {"referral_code": chance.choice(REFERRALS)}
    if utm := chance.choice(CAMPAIGNS):
        about["utm"] = utm
    if clicks:
        with at(parts.ledger, moment - 90):
            click = {"channel": chance.choice(("telegram", "whatsapp")), "session": person["session"], **about}
            parts.gateway.submit(Kind.CREATE_MINIMAL_LEAD, click, inline=True)
        if chance.random() < 0.5:
            return ""
    payload = person | about | {"source": "website"} | more
    with at(parts.ledger, moment):
        made = parts.gateway.submit(Kind.CREATE_LEAD, payload, inline=True).id
        parts.ledger.make_dead_letter(made)  # as the worker does, if the CRM refused it
    return made


if __name__ == "__main__":
    sys.exit(main())

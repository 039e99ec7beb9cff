"""`GET /go/<channel>`: redirects, cookies and recorded clicks."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import pytest
from flask import Flask
from flask.testing import FlaskClient

from crmgate import web
from crmgate.model import Kind

OWN_SITE = {"Referer": "https://www.example.org/prices"}
BROWSER = {"User-Agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Safari/604.1"}
ROBOTS = [
    "TelegramBot (like TwitterBot)", "WhatsApp/2.23.20.0 A", "facebookexternalhit/1.1", "Slackbot-LinkExpanding 1.0",
    "Twitterbot/1.0", "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "Discordbot/2.0",
    "LinkedInBot/1.0", "Mozilla/5.0 (compatible; bingbot/2.0)", "Mozilla/5.0 (compatible; YandexBot/3.0)",
    "Mozilla/5.0 (Windows NT 6.1) SkypeUriPreview Preview/0.5", "Mozilla/5.0 (compatible; Baiduspider/2.0)",
    "Pingdom.com_bot_version_1.4", "Viber/13.3", "Slack-ImgProxy (+https://api.slack.com/robots)",
    "meta-externalagent/1.1", "Mozilla/5.0 (compatible; UptimeRobot/2.0)",
]  # fmt: skip
VISITORS = [
    "", "curl/8.5.0", "Mozilla/5.0 (Linux; Android 9; CUBOT X19) AppleWebKit/537.36 Chrome/106 Mobile Safari/537.36",
    "Mozilla/5.0 (iPhone) Mobile/15E148 Instagram 300.0.0", "Mozilla/5.0 (Linux; Android 13) [FB_IAB/FB4A;FBAV/1;]",
    "Mozilla/5.0 (Linux; Android 13) Telegram-Android/10.0 Chrome/120 Mobile Safari/537.36",
]  # fmt: skip


def settled(app: Flask, gateway: Any) -> list[dict[str, Any]]:
    """The payloads that were recorded, once the queue is empty."""
    app.extensions["crmgate.clicks"].stop()
    return [payload for _, payload, _ in gateway.submitted]


def cookies(answer: Any) -> dict[str, str]:
    return {line.partition("=")[0]: line for line in answer.headers.getlist("Set-Cookie")}


def test_a_click_is_sent_on_and_recorded(app: Flask, client: FlaskClient, gateway: Any) -> None:
    answer = client.get("/go/telegram?ref=REF_1&page=/prices&utm_source=ig&gclid=x", headers=BROWSER)
    assert (answer.status_code, answer.headers["Location"]) == (302, "https://t.me/example_bot?start=REF_1")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Robots-Tag"] == "noindex, nofollow"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    [payload] = settled(app, gateway)
    assert payload.pop("occurred_at").endswith("Z")
    assert len(payload.pop("session")) == 22
    assert payload == {
        "channel": "telegram", "referral_code": "REF_1", "utm": {"source": "ig"},
        "metadata": {"page": "/prices", "gclid": "x"},
    }  # fmt: skip
    [(kind, _, inline)] = gateway.submitted
    assert (kind, inline) == (Kind.CREATE_MINIMAL_LEAD, False)


@pytest.mark.parametrize("base", ["http://gate.test", "https://gate.test"])
def test_the_cookies_last_thirty_days_and_are_kept_from_scripts(client: FlaskClient, base: str) -> None:
    found = cookies(client.get("/go/whatsapp?ref=A&session=s-1", base_url=base, headers=BROWSER | OWN_SITE))
    assert found.keys() == {"crmgate_session", "crmgate_ref"}
    for line, value in ((found["crmgate_session"], "s-1"), (found["crmgate_ref"], "A")):
        parts = line.split("; ")
        assert parts[0].endswith(f"={value}")
        assert {"Max-Age=2592000", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(parts)
        assert ("Secure" in parts) is base.startswith("https")


ELSEWHERE = [
    {}, {"Referer": "https://evil.example/"}, {"Referer": "https://www.example.org.evil.example/"},
    {"Referer": "https://www.example.org@evil.example/"}, {"Referer": "http://www.example.org/"},
    {"Referer": "about:client"}, {"Origin": "null"}, {"Origin": "https://evil.example"}, {"Referer": "https://[::1"},
]  # fmt: skip


@pytest.mark.parametrize("headers", ELSEWHERE, ids=str)
@pytest.mark.parametrize("name", ["session", "sessionId", "session_id", "Session"])
def test_a_session_of_a_link_that_was_passed_on_belongs_to_that_click_only(
    app: Flask, client: FlaskClient, gateway: Any, body: Any, name: str, headers: dict[str, str]
) -> None:
    answer = client.get(f"/go/telegram?ref=FRIEND&{name}=s-anna", headers=BROWSER | headers)
    assert cookies(answer).keys() == {"crmgate_ref"}
    assert [payload["session"] for payload in settled(app, gateway)] == ["s-anna"]
    client.post("/api/v1/applications", json=body)
    assert "session" not in gateway.submitted[1][1]


@pytest.mark.parametrize(
    "headers", [OWN_SITE, {"Origin": "http://localhost:3000"}, {"Referer": "http://localhost/demo"}], ids=str
)
def test_a_session_of_a_link_on_the_own_site_becomes_the_visitors(client: FlaskClient, headers: dict[str, str]) -> None:
    answer = client.get("/go/telegram?session=s-1", headers=BROWSER | headers)
    assert cookies(answer)["crmgate_session"].startswith("crmgate_session=s-1;")


def test_the_first_touch_wins(app: Flask, client: FlaskClient, gateway: Any) -> None:
    first = client.get("/go/telegram?ref=FIRST", headers=BROWSER)
    again = client.get("/go/whatsapp", headers=BROWSER)
    other = client.get("/go/line?ref=OTHER&session=s-9", headers=BROWSER)
    assert cookies(first).keys() == {"crmgate_session", "crmgate_ref"}
    assert cookies(again) == cookies(other) == {}
    assert again.headers["Location"] == "https://wa.me/905321234567?text=FIRST"
    assert other.headers["Location"] == "https://line.me/ti/OTHER?lang=tr"
    payloads = settled(app, gateway)
    assert [payload["referral_code"] for payload in payloads] == ["FIRST", "FIRST", "OTHER"]
    assert payloads[0]["session"] == payloads[1]["session"]
    assert payloads[2]["session"] == "s-9"


def test_a_direct_visitor_may_still_be_referred_later(client: FlaskClient) -> None:
    first = client.get("/go/telegram?ref=DIRECT", headers=BROWSER)
    assert first.headers["Location"] == "https://t.me/example_bot"
    assert cookies(first).keys() == {"crmgate_session"}
    assert cookies(client.get("/go/telegram?ref=A", headers=BROWSER)).keys() == {"crmgate_ref"}


ODD = ["a b", "a%0d%0aSet-Cookie:x=y", "%00", "a%26start%3Db", "x" * 65, "%D0%B0", "<script>", "a.b", "../x", "%ff"]


KEPT = {"%ff": "%FF", "%00": ""}
"""The text of these odd codes; that of the others is the code itself."""


@pytest.mark.parametrize("code", [*ODD, "Help.Contact", "abc%3D%3D"])
def test_an_odd_referral_code_is_kept_as_text_only(app: Flask, client: FlaskClient, gateway: Any, code: str) -> None:
    answer = client.get(f"/go/telegram?ref={code}&section=top&session=a b", headers=BROWSER)
    assert (answer.status_code, answer.headers["Location"]) == (302, "https://t.me/example_bot")
    assert cookies(answer).keys() == {"crmgate_session"}
    [payload] = settled(app, gateway)
    assert payload["referral_code"] == "DIRECT"
    text = KEPT.get(code, unquote(code))
    assert payload["metadata"] == {"section": "top"} | ({"referral_code": text} if text else {})


@pytest.mark.parametrize("value", ["a b", "x" * 65, "a\r\nb", "ä", ""])
def test_an_odd_cookie_is_no_cookie(app: Flask, client: FlaskClient, gateway: Any, value: str) -> None:
    client.set_cookie("crmgate_ref", value)
    client.set_cookie("crmgate_session", value)
    answer = client.get("/go/telegram", headers=BROWSER)
    assert answer.headers["Location"] == "https://t.me/example_bot"
    assert cookies(answer).keys() == {"crmgate_session"}
    assert settled(app, gateway)[0]["referral_code"] == "DIRECT"


TARGETS = ["url", "to", "next", "_next", "target", "redirect", "channel", "start", "text", "Location", "host"]


@pytest.mark.parametrize("name", TARGETS)
def test_the_query_cannot_change_the_target(client: FlaskClient, name: str) -> None:
    answer = client.get(f"/go/telegram?{name}=https://evil.example/&{name}=whatsapp", headers=BROWSER)
    assert answer.headers["Location"] == "https://t.me/example_bot"


@pytest.mark.parametrize("header", ["Host", "X-Forwarded-Host", "Referer", "Origin"])
def test_no_header_can_change_the_target(client: FlaskClient, header: str) -> None:
    answer = client.get("/go/telegram", headers=BROWSER | {header: "evil.example"})
    assert answer.headers["Location"] == "https://t.me/example_bot"


@pytest.mark.parametrize(
    "path",
    ["instagram", "viber", "https://evil.example", "%2f%2fevil.example", "/evil.example", "telegram/", "@evil", "%00",
     "telegram%0d%0aX:y", "..%2ftelegram", ""],
)  # fmt: skip
def test_an_unknown_or_unconfigured_channel_is_404(app: Flask, client: FlaskClient, gateway: Any, path: str) -> None:
    answer = client.get(f"/go/{path}", headers=BROWSER)
    assert answer.headers.get("Location", "http://localhost/").startswith("http://localhost/")
    assert answer.status_code in (404, 308)
    assert not cookies(answer)
    assert settled(app, gateway) == []


def test_a_channel_has_aliases_and_any_case(client: FlaskClient) -> None:
    for name in ("Telegram", "telegramBot"):
        assert client.get(f"/go/{name}").headers["Location"] == "https://t.me/example_bot"


@pytest.mark.parametrize("agent", ROBOTS)
def test_a_robot_is_redirected_and_nothing_else(app: Flask, client: FlaskClient, gateway: Any, agent: str) -> None:
    answer = client.get("/go/telegram?ref=REF", headers={"User-Agent": agent})
    assert (answer.status_code, answer.headers["Location"]) == (302, "https://t.me/example_bot?start=REF")
    assert not cookies(answer)
    assert settled(app, gateway) == []


AHEAD = [
    {"Purpose": "prefetch"}, {"Sec-Purpose": "prefetch;prerender"}, {"Sec-Purpose": "prefetch"},
    {"X-Moz": "prefetch"}, {"X-Purpose": "preview"},
]  # fmt: skip


@pytest.mark.parametrize("headers", AHEAD)
def test_a_prefetch_is_no_click(app: Flask, client: FlaskClient, gateway: Any, headers: dict[str, str]) -> None:
    answer = client.get("/go/telegram", headers=BROWSER | headers)
    assert (answer.status_code, cookies(answer)) == (302, {})
    assert settled(app, gateway) == []


def test_head_is_no_click(app: Flask, client: FlaskClient, gateway: Any) -> None:
    answer = client.head("/go/telegram?ref=REF", headers=BROWSER)
    assert (answer.status_code, answer.headers["Location"]) == (302, "https://t.me/example_bot?start=REF")
    assert not cookies(answer)
    assert settled(app, gateway) == []


@pytest.mark.parametrize("agent", VISITORS)
def test_a_visitor_is_no_robot(app: Flask, client: FlaskClient, gateway: Any, agent: str) -> None:
    client.get("/go/telegram", headers={"User-Agent": agent})
    assert len(settled(app, gateway)) == 1


def test_a_click_of_any_size_is_sent_on_with_its_codes(app: Flask, client: FlaskClient, gateway: Any) -> None:
    query = "&".join([f"k{i}=v" for i in range(60)] + ["page=" + "x" * 3000, "utm=x", "metadata=y", "sessionId=s-1"])
    answer = client.get(f"/go/telegram?{query}&ref=REF", headers=BROWSER)
    assert answer.headers["Location"] == "https://t.me/example_bot?start=REF"
    [payload] = settled(app, gateway)
    assert (payload["session"], payload["referral_code"]) == ("s-1", "REF")


@pytest.mark.parametrize("more", ["", "&page=" + "x" * 3000])
def test_a_referral_code_of_any_length_is_cut(app: Flask, client: FlaskClient, gateway: Any, more: str) -> None:
    assert client.get(f"/go/telegram?ref=Help.{'x' * 5000}{more}", headers=BROWSER).status_code == 302
    [payload] = settled(app, gateway)
    assert payload["metadata"]["referral_code"] == f"Help.{'x' * 250}…"


def test_a_double_click_is_the_same_channel_and_code_of_a_session(
    app: Flask, client: FlaskClient, gateway: Any
) -> None:
    for query in ("session=s-1&page=/a", "session=s-1&page=/b"):
        client.get(f"/go/telegram?ref=A&{query}", headers=BROWSER)
    assert len(settled(app, gateway)) == 2
    assert gateway.contents == [["s-1", "telegram", "A"]] * 2


def test_without_minimal_leads_a_click_is_counted(app: Flask, client: FlaskClient, gateway: Any, services: Any) -> None:
    services.settings.minimal_leads = False
    client.get("/go/telegram", headers=BROWSER)
    client.get("/go/line", headers=BROWSER)
    assert settled(app, gateway) == []
    assert gateway.ledger.counted == {"telegram": 1, "line": 1}


@pytest.mark.parametrize(("number", "secure"), [(0, False), (1, True), (2, True)])
def test_a_trusted_proxy_says_that_there_is_tls(app: Flask, number: int, secure: bool) -> None:
    web.trust_proxies(app, number)
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}
    answer = app.test_client().get("/go/telegram", headers=BROWSER | forwarded)
    assert ("Secure" in cookies(answer)["crmgate_session"]) is secure


def test_the_application_of_the_visitor_carries_session_and_code(
    app: Flask, client: FlaskClient, gateway: Any, body: Any
) -> None:
    client.get("/go/telegram?ref=FIRST&session=s-1", headers=BROWSER | OWN_SITE)
    settled(app, gateway)
    client.post("/api/v1/applications", json=body)
    client.post("/api/v1/applications", json=body | {"referral_code": "DIRECT"})
    client.post("/api/v1/applications", json=body | {"ref": "OWN", "session": "s-2"})
    client.post("/api/v1/applications", json=body | {"ref": "a b"})
    found = [(lead["referral_code"], lead["session"]) for _, lead, _ in gateway.submitted[1:]]
    assert found == [("FIRST", "s-1"), ("FIRST", "s-1"), ("OWN", "s-2"), ("FIRST", "s-1")]

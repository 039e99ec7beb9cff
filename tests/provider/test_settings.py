"""The settings of a provider: every problem at once, and no secret in any of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from crmgate.errors import Code, ConfigError, OutcomeUnknown, Unavailable
from crmgate.plugin_kit.mapping import LABELS, SILENT
from crmgate.provider import (
    lost,
    secret,
    secret_names,
    web_address,
)
from tests.provider.rig import (
    KEY,
    TOKEN,
    Probe,
    probe,
    problems,
    settings,
    verdict,
)


def test_a_plugin_reads_its_secrets_from_files_too_and_shows_none(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n", encoding="utf-8")
    (tmp_path / "pin").write_text(TOKEN + "!")
    plugin = Probe(settings(PROBE_KEY="", PROBE_KEY_FILE=str(tmp_path / "key")))
    assert plugin.settings["PROBE_KEY"] == KEY
    assert plugin.redact(f"it is {KEY}") == "it is ***"
    [odd] = problems(PROBE_PIN_FILE=str(tmp_path / "pin"))
    assert (odd.startswith("PROBE_PIN, got a value that is not shown: "), TOKEN in odd) == (True, False)
    missing = problems(PROBE_KEY="", PROBE_KEY_FILE=str(tmp_path / "none"))
    assert any(problem.startswith("PROBE_KEY_FILE, got ") for problem in missing)


def test_every_problem_of_the_settings_is_reported_at_once() -> None:
    reported = problems(
        PROBE_URL="nonsense", PROBE_KEY="", PROBE_HOOK=TOKEN, PROBE_PIN="c4n4r", PROBE_USER="too long",
        PROBE_MAP_CYTI="x", PROBE_VALUES_SOURCE="website",
    )  # fmt: skip
    known = ", ".join([*LABELS, *SILENT])
    assert sorted(reported) == [
        "PROBE_HOOK, got a value that is not shown: Not a valid URL. It takes an address such as https://crm.example.com.",
        "PROBE_KEY: Missing data for required field. It takes text.",
        f"PROBE_MAP_CYTI: there is no fact 'cyti'. It takes one of: {known}, custom_<key>.",
        "PROBE_PIN, got a value that is not shown: '***' is odd. It takes text.",
        "PROBE_URL, got 'nonsense': Not a valid URL. It takes an address such as https://crm.example.com.",
        "PROBE_USER, got 'too long': Longer than maximum length 5. It takes a short name.",
        "PROBE_VALUES_SOURCE, got 'website': 'website' is no new pair. It takes a=A,b=B: our value, the CRM's.",
    ]


@pytest.mark.parametrize("missing", ["", " ", "\n"])
def test_a_blank_setting_is_absent(missing: str) -> None:
    assert [problem.partition(":")[0] for problem in problems(PROBE_URL=missing, PROBE_KEY=missing)] == [
        "PROBE_URL", "PROBE_KEY",
    ]  # fmt: skip
    assert "PROBE_USER" not in probe(PROBE_USER=missing).settings


def test_the_line_end_of_a_secrets_file_is_not_part_of_the_secret() -> None:
    assert probe(PROBE_KEY=f" {KEY}\r\n").settings["PROBE_KEY"] == KEY


@pytest.mark.parametrize("user", ["espo", "espo:c4n4r", ":c4n4r"])
def test_an_address_that_would_send_a_password_along_is_refused(user: str) -> None:
    (reported,) = problems(PROBE_URL=f"https://{user}@crm.example.com")
    assert reported.startswith("PROBE_URL: ")
    assert "c4n4r" not in reported


@pytest.mark.parametrize(
    ("address", "hosts"),
    [
        ("http://crm.example.com", ()),
        ("http://127.0.0.1:8080", ()),
        ("http://espo.evil.example", ("espo",)),
        ("HTTP://crm.example.com", ()),
    ],
)
def test_plain_http_is_refused(address: str, hosts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        Probe(settings(PROBE_URL=address, PROBE_HOOK=address), http_hosts=hosts)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["PROBE_URL", "PROBE_HOOK"]
    assert "CRM_HTTP_HOSTS" in str(caught.value)
    assert address not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "hosts"),
    [
        ("http://127.0.0.1:8080", ("localhost", "127.0.0.1")),
        ("http://[::1]:8080", ("::1",)),
        ("http://espo", ("ESPO",)),
        ("http://ESPO/crm", ("espo",)),
        ("https://crm.example.com", ()),
    ],
)
def test_plain_http_goes_to_hosts_that_are_named(address: str, hosts: tuple[str, ...]) -> None:
    provider = Probe(settings(PROBE_URL=address, PROBE_HOOK=address), http_hosts=hosts)
    assert provider.settings["PROBE_URL"] == address


def test_a_provider_shows_no_secret() -> None:
    assert repr(probe(PROBE_KEY=KEY)) == "<Probe probe>"
    assert secret_names(Probe.Settings) == ["PROBE_HOOK", "PROBE_KEY", "PROBE_PIN", "PROBE_OPTIONAL", "PROBE_NONE"]


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (f"key {KEY}!", "key ***!"),
        ("key k3y-c4n4ry%2F%2B%C3%BC", "key ***"),
        (f"url: /rest/1/{TOKEN}/crm.lead.add", "url: /***/crm.lead.add"),
        (f"token {TOKEN}", "token ***"),
        (f"https://b24.example.com/rest/1/{TOKEN}/", "***"),
        ("None of this is secret", "None of this is secret"),
        ("", ""),
    ],
)
def test_secrets_are_redacted_in_every_form(text: str, redacted: str) -> None:
    provider = probe(PROBE_KEY=KEY, PROBE_HOOK=f"https://b24.example.com/rest/1/{TOKEN}/")
    assert provider.redact(text) == redacted


def test_a_secret_cannot_be_declared_open() -> None:
    assert secret(metadata={"secret": False, "takes": "a key"}).metadata == {"secret": True, "takes": "a key"}
    assert web_address(metadata={"takes": "an address"}).metadata["takes"] == "an address"


def test_a_lost_answer_is_ambiguous_unless_the_request_only_read() -> None:
    assert verdict(lost(True, Code.SERVER_ERROR, "x", 500)) == (Unavailable, Code.SERVER_ERROR)
    error = lost(False, Code.SERVER_ERROR, "x", 500)
    assert (*verdict(error), error.status) == (OutcomeUnknown, Code.SERVER_ERROR, 500)

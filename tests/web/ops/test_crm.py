"""The pages about the CRM: test, fields, set-up, pause and resume, plugins. The CRM is a stand-in for the hooks."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import unescape
from types import SimpleNamespace
from typing import Any

import pytest

from crmgate.errors import AuthFailed, ConfigError
from crmgate.model import Check, Connection, CrmField, FieldState, Provision, Step
from crmgate.services import Services
from tests.dead_letters import add_dead_letters
from tests.web.ops.conftest import Browser
from tests.web.ops.html import MARKUP, fields, inline, texts

SECRET = "key-that-is-shown-once"


@dataclass
class Crm:
    """A CRM in which a field lacks an option, and another field is required."""

    applied: list[str] = field(default_factory=list)
    error: Exception | None = None
    can: tuple[str, ...] = ("field source of Lead: it has no option 'fair'",)
    cannot: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)

    def describe_fields(self, _budget: float) -> tuple[CrmField, ...]:
        self._fail()
        return (
            CrmField("email", "mail", "text"),
            CrmField("source", "source", "enum", ("", "web"), "it has no option 'fair'", FieldState.OPTION_MISSING),
            CrmField("", "branch", "enum", (), "it is required: see `MAP`", FieldState.REQUIRED),
        )

    def provision(self, _budget: float, *, apply: bool) -> Provision:
        self._fail()
        if apply:
            self.applied = [*self.can]
        steps = [*(Step(what, what in self.applied) for what in self.can), *(Step(what, False) for what in self.cannot)]
        return Provision((Step("field mail of Lead", True), *steps), self.settings if apply else {})

    def _fail(self) -> None:
        if self.error:
            raise self.error


@pytest.fixture
def crm(parts: Services, monkeypatch: pytest.MonkeyPatch) -> Crm:
    crm = Crm()
    monkeypatch.setattr(parts.crm, "describe_fields", crm.describe_fields)
    monkeypatch.setattr(parts.crm, "provision", crm.provision)
    monkeypatch.setattr("crmgate.operators.crm_setup.KEPT", -1.0)
    return crm


def steps(html: str) -> list[str]:
    return [unescape(step) for step in re.findall(r'name="step" value="([^"]*)"', html)]


# State


def test_the_first_page_asks_the_crm_nothing(operator: Browser, crm: Crm) -> None:
    crm.error = AssertionError("asked")
    assert "Sandbox CRM takes requests" in texts(operator.get("/ops/crm").text)


def test_a_pause_has_a_reason_in_the_audit_log_and_shows_what_waits(operator: Browser, parts: Services) -> None:
    assert operator.post("/ops/crm/pause", reason="The CRM is updated.", on="crm").location == "/ops/crm"
    words = texts(operator.get("/ops/crm").text)
    assert "paused An operator paused deliveries" in words
    assert "No operation waits" in words
    assert "Resume deliveries" in words
    [dead] = add_dead_letters(parts.ledger, provider="sandbox")
    parts.desk.retry(dead, "ayse")
    assert "1 operation waits" in texts(operator.get("/ops/crm").text)
    operator.post("/ops/crm/resume", reason="It is updated.", on="crm")
    assert [(entry.what, entry.detail) for entry in parts.audit.recent(3) if entry.what.startswith("crm.")] == [
        ("crm.resume", "It is updated."), ("crm.pause", "The CRM is updated."),
    ]  # fmt: skip
    assert "Pause deliveries" in texts(operator.get("/ops/crm").text)


@pytest.mark.parametrize("action", ["pause", "resume"])
def test_a_reason_that_is_too_long_changes_nothing(operator: Browser, parts: Services, action: str) -> None:
    assert operator.post(f"/ops/crm/{action}", reason="x" * 301).status_code == 422
    assert [entry.what for entry in parts.audit.recent()] == ["ops.login"]


def test_plugins_have_their_remedy(operator: Browser, parts: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = SimpleNamespace(file="plugins/acme.py", reason=f"import failed {MARKUP}", remedy="Install `acme`.")
    monkeypatch.setattr(parts.plugins, "quarantined", [broken])
    page = operator.get("/ops/crm").text
    assert "1 plugin file cannot be used plugins/acme.py import failed" in texts(page)
    assert "What to do: Install acme ." in texts(page)
    assert "<script>alert" not in page
    assert "Sandbox CRM sandbox in use" in texts(page)


# Test and fields


def test_each_check_has_its_result(operator: Browser, parts: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Connection(
        "sandbox", False, 3.0, (Check("address", True), Check("credentials", False, f"set `KEY` {MARKUP}"))
    )
    monkeypatch.setattr(parts.connection, "result", lambda: (1_800_000_000.0, found))
    page = operator.get("/ops/crm/test").text
    assert "Not connected" in texts(page)
    assert re.findall(r"(address ok|credentials problem set KEY)", texts(page)) == [
        "address ok",
        "credentials problem set KEY",
    ]
    assert "<script>alert" not in page


def test_an_address_without_a_crm_is_a_result_not_an_error(reader: Browser) -> None:
    answer = reader.get("/ops/crm/test")
    assert (answer.status_code, "Not connected" in texts(answer.text)) == (200, True)


def test_fields_with_a_problem_come_first(reader: Browser, crm: Crm) -> None:
    words = texts(reader.get("/ops/crm/fields").text)
    assert "2 of 3 fields have a problem" in words
    places = [words.index(part) for part in (
        "Source source enum option missing it has no option 'fair'",
        "nothing maps to it branch enum required it is required: see MAP", "Email mail text ok",
    )]  # fmt: skip
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("error", "shown"),
    [(AuthFailed("the key is refused"), "the key is refused"), (ConfigError(["KEY: Missing."]), "KEY: Missing.")],
)
@pytest.mark.parametrize("path", ["/ops/crm/fields", "/ops/crm/setup"])
def test_an_error_of_the_crm_is_on_the_page(
    operator: Browser, crm: Crm, error: Exception, shown: str, path: str
) -> None:
    crm.error = error
    answer = operator.get(path)
    assert answer.status_code == 200
    assert shown in texts(answer.text)
    assert 'role="alert"' in answer.text


# Set-up


def test_the_plan_of_a_cause_marks_its_field_and_leads_to_the_retry(
    operator: Browser, parts: Services, crm: Crm
) -> None:
    add_dead_letters(parts.ledger, 7, provider="sandbox", field="source", at=parts.ledger.now() - 60)
    add_dead_letters(parts.ledger, 2, provider="sandbox", field="phone", at=parts.ledger.now() - 60)
    now = operator.get("/ops/").text
    [link] = [unescape(link) for link in re.findall(r'href="(/ops/crm/setup[^"]*)">Repair source', now)]
    plan = operator.get(link).text
    assert "For 7 dead letters" in texts(plan)
    assert "1 step to do in Sandbox CRM" in texts(plan)
    assert re.findall(r'<tr class="wanted">.*?<td class="why">(.*?)</td>', plan) == [
        "field source of Lead: it has no option &#39;fair&#39;"
    ]
    assert crm.applied == []
    done = operator.post("/ops/crm/setup", **fields(plan) | {"step": steps(plan)})
    assert crm.applied == [*crm.can]
    assert "1 step done in Sandbox CRM" in texts(done.text)
    [retry] = [unescape(link) for link in re.findall(r'href="([^"]*)"[^>]*>Retry these 7<', done.text)]
    assert "Retry 7 dead letters?" in texts(operator.get(retry).text)
    assert [(entry.what, entry.who) for entry in parts.audit.recent(1)] == [("crm.setup", "ayse")]


def test_a_plan_that_the_operator_has_not_seen_is_not_carried_out(operator: Browser, crm: Crm) -> None:
    plan = operator.get("/ops/crm/setup").text
    crm.can = ("field source of Lead", "role crmgate")
    answer = operator.post("/ops/crm/setup", **fields(plan) | {"step": steps(plan)})
    assert "The CRM has changed meanwhile" in texts(answer.text)
    assert "2 steps to do" in texts(answer.text)
    assert crm.applied == []


def test_what_crmgate_cannot_do_is_left_to_a_person(operator: Browser, crm: Crm) -> None:
    crm.cannot = (f"rights of the API user {MARKUP}",)
    plan = operator.get("/ops/crm/setup").text
    done = operator.post("/ops/crm/setup", **fields(plan) | {"step": steps(plan)}).text
    assert "1 step done in Sandbox CRM, 1 left" in texts(done)
    assert "do it in the CRM" in texts(done)
    assert "<script>alert" not in plan + done


def test_new_settings_are_shown_once(operator: Browser, crm: Crm) -> None:
    crm.settings = {"SANDBOX_KEY": SECRET}
    plan = operator.get("/ops/crm/setup").text
    assert SECRET not in plan
    done = operator.post("/ops/crm/setup", **fields(plan) | {"step": steps(plan)})
    assert f"SANDBOX_KEY={SECRET}" in texts(done.text)
    assert done.headers["Cache-Control"] == "no-store"
    assert SECRET not in operator.get("/ops/crm/setup").text


def test_an_error_while_it_is_carried_out_keeps_what_is_done(operator: Browser, crm: Crm, monkeypatch: Any) -> None:
    plan = operator.get("/ops/crm/setup").text
    crm.error = AuthFailed("the administrator is refused")
    answer = operator.post("/ops/crm/setup", **fields(plan) | {"step": steps(plan)})
    assert answer.status_code == 502
    assert "the administrator is refused Finished steps are kept" in texts(answer.text).replace(".", "")


def test_a_field_that_the_set_up_does_not_touch_says_so(operator: Browser, parts: Services, crm: Crm) -> None:
    add_dead_letters(parts.ledger, 3, provider="sandbox", field="phone", at=parts.ledger.now() - 60)
    page = operator.get("/ops/crm/setup?field=phone&code=invalid_value").text
    assert "The set-up changes nothing about phone" in texts(page)
    assert "Edit them instead" in texts(page)


def test_a_reader_sees_the_plan_and_cannot_carry_it_out(reader: Browser, crm: Crm) -> None:
    plan = reader.get("/ops/crm/setup").text
    assert "1 step to do" in texts(plan)
    assert "Carry out" not in plan
    assert reader.post("/ops/crm/setup", step=list(crm.can)).status_code == 403
    assert crm.applied == []


def test_markup_of_the_crm_is_text(operator: Browser, crm: Crm) -> None:
    crm.can = (f"field {MARKUP}",)
    for path in ("/ops/crm/setup", "/ops/crm/fields"):
        answer = operator.get(path)
        assert "<script>alert" not in answer.text
        assert inline(answer) == []

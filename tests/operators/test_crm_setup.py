"""The comparison with the CRM and its set-up, with a stand-in for the plugin."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from crmgate.errors import AuthFailed, LedgerUnavailable
from crmgate.model import CrmField, FieldState, Provision, Step
from crmgate.operators.crm_setup import KEPT, CrmSetup, is_done
from crmgate.store.audit import Audit
from crmgate.store.client import connect
from tests.processes import free_port


class Plugin:
    name = "acme"

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.error: Exception | None = None
        self.lines = (CrmField("email", "mail"),)

    def describe_fields(self, _budget: float) -> tuple[CrmField, ...]:
        self._call("fields")
        return self.lines

    def provision(self, _budget: float, *, apply: bool) -> Provision:
        self._call("apply" if apply else "plan")
        return Provision((Step("field mail", apply),), {"ACME_KEY": "new", "ACME_URL": "same"})

    def _call(self, what: str) -> None:
        self.calls.append(what)
        if self.error:
            raise self.error


class Entries:
    def __init__(self, error: Exception | None = None) -> None:
        self.made: list[tuple[str, ...]] = []
        self.error = error

    def record(self, *entry: str) -> None:
        if self.error:
            raise self.error
        self.made.append(entry)


def desk(entries: Any = None) -> tuple[CrmSetup, Plugin, Any, list[float]]:
    plugin, entries, now = Plugin(), entries or Entries(), [0.0]
    known = {"ACME_URL": "same", "ACME_KEY": "old"}
    return CrmSetup(plugin, entries, known, lambda: now[0]), plugin, entries, now  # type: ignore[arg-type]


def test_an_error_is_raised_and_not_kept() -> None:
    setup, plugin, _, _ = desk()
    plugin.error = AuthFailed("no")
    for ask in (setup.fields, setup.plan, setup.fields):
        with pytest.raises(AuthFailed):
            ask()
    plugin.error = None
    assert setup.fields().complete
    assert plugin.calls == ["fields", "plan", "fields", "fields"]


def test_a_result_is_reused_for_a_moment_and_not_after_a_change() -> None:
    setup, plugin, _, now = desk()
    setup.fields()
    setup.fields()
    setup.plan()
    now[0] = KEPT + 0.1
    setup.fields()
    setup.apply("ops")
    setup.fields()
    assert plugin.calls == ["fields", "plan", "fields", "apply", "fields"]


def test_the_states_of_fields() -> None:
    setup, plugin, _, _ = desk()
    plugin.lines = (
        CrmField("email", "mail"), CrmField("city", "town", problem="it is away", state=FieldState.MISSING),
        CrmField("gpa", "gpa", problem="odd"), CrmField("", "must", problem="it is required"),
        CrmField("phone", "tel", state=FieldState.OPTION_MISSING),
    )  # fmt: skip
    found = setup.fields()
    assert [line["state"] for line in found.to_json()["fields"]] == ["ok", "missing", "problem", "required", "ok"]
    assert found.complete is False
    assert found.states == {"ok": 2, "missing": 1, "problem": 1, "required": 1}


def test_a_setup_is_audited_also_if_it_fails() -> None:
    setup, plugin, entries, _ = desk()
    assert not is_done(setup.plan())
    assert entries.made == []
    done = setup.apply("ops")
    assert (is_done(done), setup.new_settings(done)) == (True, {"ACME_KEY": "new"})
    plugin.error = AuthFailed("no")
    with pytest.raises(AuthFailed):
        setup.apply("ops")
    assert entries.made == [("ops", "crm.setup", "acme", "1 steps"), ("ops", "crm.setup", "acme", "failed")]


def test_a_crm_is_set_up_before_redis_runs_and_the_log_has_the_entry(caplog: pytest.LogCaptureFixture) -> None:
    audit = Audit(connect(f"redis://127.0.0.1:{free_port()}"))
    with pytest.raises(LedgerUnavailable):
        audit.recent()
    setup, plugin, _, _ = desk(audit)
    with caplog.at_level(logging.INFO, "crmgate.audit"):
        setup.apply("ops")
    assert plugin.calls == ["apply"]
    assert [record.message for record in caplog.records] == ["crm.setup acme by ops (1 steps)"]

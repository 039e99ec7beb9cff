"""The EspoCRM plugin: no key and no text of a visitor is shown, and only public names are used."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any

import pytest
import requests_mock as mocking

from crmgate.errors import AuthFailed, Forbidden, ProviderError
from crmgate.model import Lead
from crmgate.plugin_host.caller import HookCaller, hook_manager
from crmgate.testing.espocrm import FakeEspoCRM
from tests.cases import all_cases
from tests.plugins.espocrm.rig import CLICK, HTML, JSON, NOBODY, ROOT, create, operation, provider, replay


class TestSecrecy:
    CANARIES = (
        "Lovelace",
        "ada@example.org",
        "+905321234567",
        "KEY-CANARY",
        "SECRET-CANARY",
        "PASSWORD-CANARY",
        "private words",
    )
    LEAD = Lead(
        first_name="Ada", last_name="Lovelace", email="ada@example.org", phone="+905321234567",
        additional_info="private words",
    )  # fmt: skip
    ECHO = json.dumps({"id": None, "message": " ".join(CANARIES)})
    SETTINGS = {  # noqa: RUF012 - never changed
        "ESPOCRM_API_KEY": "KEY-CANARY", "ESPOCRM_SECRET_KEY": "SECRET-CANARY",
        "ESPOCRM_ADMIN_USERNAME": "admin", "ESPOCRM_ADMIN_PASSWORD": "PASSWORD-CANARY",
    }  # fmt: skip

    @all_cases("status", [200, 301, 400, 401, 404, 405, 409, 429, 500, 502, 503])
    @all_cases("content_type", [JSON, HTML])
    def test_no_error_repeats_what_the_crm_echoed(self, status: int, content_type: str) -> None:
        plugin = provider(NOBODY, **self.SETTINGS)
        for prefix in ("", "Field validation failure; ", "Can't relate ", "Controller ", "Not existing attribute "):
            with mocking.Mocker() as mocker:
                replay(mocker, status, content_type, prefix + " ".join(self.CANARIES), self.ECHO)
                for attempt in (
                    lambda: create(plugin, self.LEAD),
                    lambda: create(plugin, replace(self.LEAD, phone="")),
                    lambda: plugin.find_lead(operation=operation(self.LEAD)),
                    lambda: plugin.update_lead(lead_id="5", lead=self.LEAD, operation=operation(self.LEAD)),
                    lambda: plugin.log_activity(activity=CLICK, lead_id="5", operation=operation(CLICK)),
                    lambda: plugin.provision(apply=True),
                    plugin.describe_fields,
                ):
                    self.assert_silent(plugin, attempt)
                self.assert_hidden(repr(plugin.test_connection()))

    def test_the_reason_of_a_refused_record_is_masked(self) -> None:
        """The reason helps the administrator, whose script gives it."""
        crm = HookCaller(hook_manager(), provider(NOBODY, **self.SETTINGS))
        with mocking.Mocker() as mocker:
            replay(mocker, 403, JSON, "Region closed: " + " ".join(self.CANARIES), self.ECHO)
            with pytest.raises(Forbidden, match="Region closed") as raised:
                crm.deliver(operation(self.LEAD), 5.0)
            self.assert_hidden(f"{raised.value} {vars(raised.value)}")

    def assert_silent(self, plugin: Any, attempt: Any) -> None:
        try:
            attempt()
        except ProviderError as error:
            chain = (error, error.__cause__, error.__context__)
            self.assert_hidden(" ".join(f"{one!r} {one} {getattr(one, 'args', '')}" for one in chain))
            self.assert_hidden(f"{vars(error)} {plugin!r}")

    def assert_hidden(self, shown: str) -> None:
        assert [canary for canary in self.CANARIES if canary in shown] == []

    def test_no_log_line_holds_personal_data(self, crm: FakeEspoCRM, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        crm.add_user("canary", type="api", authMethod="ApiKey", apiKey="KEY-CANARY")
        plugin = provider(crm.url, ESPOCRM_API_KEY="KEY-CANARY")
        for _ in range(2):
            with pytest.raises(AuthFailed):
                create(plugin, self.LEAD)
        good = provider(crm.url)
        made = create(good, self.LEAD)
        create(good, self.LEAD)
        good.update_lead(lead_id=made.record_id, lead=self.LEAD, operation=operation(self.LEAD))
        good.test_connection()
        self.assert_hidden(caplog.text)


def test_the_plugin_keeps_to_the_public_names() -> None:
    files = (ROOT / "plugins" / "espocrm").glob("*.py")
    lines = [line for file in files for line in file.read_text().splitlines()]
    modules = {line.split()[1] for line in lines if line.startswith(("from crmgate", "import crmgate"))}
    assert modules == {"crmgate", "crmgate.errors", "crmgate.model", "crmgate.provider"}

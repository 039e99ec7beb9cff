"""The Bitrix24 plugin: neither the secret nor a text of a visitor is shown, and look-ups only read."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable

import pytest

from crmgate.errors import ProviderError
from crmgate.model import Activity, Utm
from crmgate.plugin_host.caller import HookCaller
from crmgate.testing.bitrix24 import FakeBitrix24
from tests.plugins.bitrix.rig import (
    ANNA,
    BOTH_APIS,
    CANARIES,
    FULL,
    Connect,
    activity,
    calls,
    creation,
    deliver,
    existing,
    failure,
    plugins,
    update,
)

SPOILERS: list[Callable[[FakeBitrix24], object]] = [
    lambda portal: portal.fail("drop"),
    lambda portal: portal.fail("answer", status=502, body=f"<html>{portal.webhook_url} Ayşe Gül ayse@example.com.tr"),
    lambda portal: portal.fail_with("CRM_FIELD_ERROR_VALUE_NOT_VALID", 'Bad "Ayşe Gül", ayse@example.com.tr'),
    lambda portal: portal.fail_with("", f"+905321234567 at {portal.webhook_url}"),
    lambda portal: portal.fail_with("Bad value Ayşe Gül", portal.secret),
    lambda portal: portal.fail_with("INVALID_CREDENTIALS", portal.webhook_url),
    lambda portal: setattr(portal, "renamed_to", "http://evil.example"),
    lambda portal: portal.fail("answer", status=302, headers={"Location": f"https://{portal.secret}.example/"}),
    lambda portal: portal.stop(),
]


class TestSecretsAndVisitors:
    @pytest.mark.parametrize("spoil", SPOILERS)
    def test_errors_hold_neither_the_secret_nor_the_visitor(
        self,
        portal: FakeBitrix24,
        crm: HookCaller,
        caplog: pytest.LogCaptureFixture,
        spoil: Callable[[FakeBitrix24], object],
    ) -> None:
        caplog.set_level(logging.INFO)
        caplog.set_level(logging.DEBUG, logger="crmgate")
        spoil(portal)
        seen = ""
        for act in (lambda: deliver(crm, creation(FULL)), lambda: crm.find(creation(FULL), 5.0)):
            error = failure(act)
            shown = [error.detail, error.vendor_code, getattr(error, "fields", ""), *error.args, repr(error)]
            seen += " ".join(map(str, [error, *shown, *traceback.format_exception(error)]))
        connection = crm.test_connection(5.0)
        seen += repr(connection) + repr(crm) + caplog.text
        assert [word for word in (portal.secret, *CANARIES) if word in seen] == []

    def test_the_repr_of_the_provider_holds_no_secret(self, portal: FakeBitrix24) -> None:
        provider = plugins().providers["bitrix"]({"BITRIX_WEBHOOK_URL": portal.webhook_url})
        assert portal.secret not in repr(provider) + str(provider)

    def test_the_log_of_a_success_holds_neither_the_secret_nor_the_visitor(
        self, portal: FakeBitrix24, crm: HookCaller, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        delivered = deliver(crm, creation(FULL))
        assert portal.secret not in caplog.text + repr(delivered)
        assert "Ayşe" not in caplog.text + repr(delivered)


LOSSES: list[Callable[[FakeBitrix24], object]] = [
    lambda portal: portal.fail("drop", when="after"),
    lambda portal: portal.fail("drop", path="add|update", when="after"),
    lambda portal: portal.fail_with("CRM_FIELD_ERROR_VALUE_NOT_VALID", 'Bad "Ayşe Gül", ayse@example.com.tr'),
    lambda portal: portal.fail_with("", "Ayşe Gül +905321234567", path="add|update"),
    lambda portal: portal.fail(
        "answer", body=json.dumps({"result": {"result": [], "result_error": {"PHONE": {"error": "ayse@x.tr"}}}})
    ),
]


@BOTH_APIS
@pytest.mark.parametrize("policy", ["note", "update", "create"])
@pytest.mark.parametrize("spoil", LOSSES)
def test_failures_with_a_known_person_hold_no_personal_data(
    portal: FakeBitrix24,
    connect: Connect,
    caplog: pytest.LogCaptureFixture,
    policy: str,
    spoil: Callable[[FakeBitrix24], object],
) -> None:
    caplog.set_level("DEBUG", logger="crmgate")
    lead = existing(portal, email=FULL.email)
    crm, seen = connect(policy), ""
    spoil(portal)
    known = Utm(content="Ayşe")
    for operation in (creation(FULL), update(lead, FULL), activity(lead, Activity("telegram", utm=known))):
        for act in (deliver, lambda crm, operation: crm.find(operation, 5.0)):
            try:
                seen += repr(act(crm, operation))
            except ProviderError as error:
                shown = [error, error.detail, error.vendor_code, getattr(error, "fields", "")]
                seen += " ".join(map(str, [*shown, *traceback.format_exception(error)]))
    seen += caplog.text
    assert [word for word in (portal.secret, *CANARIES) if word in seen] == []


@BOTH_APIS
def test_every_request_of_a_batch_is_a_read(portal: FakeBitrix24, crm: HookCaller) -> None:
    existing(portal, email=ANNA.email)
    deliver(crm, creation(ANNA))
    crm.find(creation(ANNA), 5.0)
    commands = [command for batch in calls(portal, "batch") for command in batch["cmd"].values()]
    assert commands
    assert {command.partition("?")[0] for command in commands} <= {
        "crm.duplicate.findbycomm",
        "crm.timeline.comment.list",
    }

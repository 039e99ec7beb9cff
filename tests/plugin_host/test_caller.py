"""Only the active provider is called; what a plugin raises or returns shows nothing that a visitor typed."""

from __future__ import annotations

import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from crmgate.errors import (
    AuthFailed,
    Code,
    OutcomeUnknown,
    OutOfTime,
    ProviderError,
    RateLimited,
    Rejected,
    Unavailable,
    Unsupported,
)
from crmgate.model import Delivered, Kind, Operation
from crmgate.plugin_host.caller import WRITE_DELIVERED, HookCaller
from crmgate.plugin_host.loader import discover
from tests.listeners import notify_at_the_end
from tests.plugin_host.rig import (
    CANARY,
    CLICK,
    LEAD,
    LISTENER,
    PROVIDER,
    acme,
    choose,
    failing,
    variant,
    write,
)


def test_each_kind_goes_to_its_hook_with_its_payload(folder: Path) -> None:
    crm = acme(folder, "return Delivered(self.name, lead.first_name)")
    assert (crm.name, crm.label) == ("acme", "Acme CRM")
    assert crm.deliver(LEAD, 1.0) == Delivered("acme", CANARY)
    assert crm.deliver(CLICK, 1.0) == Delivered("acme", "telegram")
    assert crm.find(LEAD, 1.0) is None
    assert crm.test_connection(1.0).connected


def test_only_the_active_provider_is_called(folder: Path) -> None:
    others = {name: variant(('"acme"', f'"{name}"')) for name in ("alpha", "zeta")}
    plugins = discover(write(folder, acme=PROVIDER, **others))
    crms = {name: choose(plugins, name) for name in ("zeta", "acme", "alpha")}  # each chosen after another was
    for name, crm in crms.items():
        assert (crm.deliver(LEAD, 1.0).provider, crm.test_connection(1.0).provider) == (name, name)


def test_a_provider_chosen_again_listens_once_and_both_still_work(folder: Path) -> None:
    text = (
        PROVIDER
        + "\n    heard = []\n\n    @hookimpl\n    def operation_dead(self, operation): self.heard.append(self)\n"
    )
    plugins = discover(write(folder, acme=text))
    for crm in [choose(plugins), choose(plugins)]:
        assert crm.deliver(LEAD, 1.0).provider == "acme"
    notify_at_the_end(plugins, "operation_dead", operation=LEAD)
    assert len(plugins.providers["acme"].heard) == 1  # type: ignore[attr-defined]


def test_two_applications_in_one_process_share_nothing(folder: Path) -> None:
    write(folder, acme=PROVIDER, listener=LISTENER)
    first, second = discover(folder), discover(folder)
    assert first.manager is not second.manager
    assert first.providers["acme"] is not second.providers["acme"]
    choose(first)
    assert not any(first.manager.is_registered(plugin) for plugin in second.manager.get_plugins())
    notify_at_the_end(first, "operation_dead", operation=LEAD)
    heard = {id(plugin): plugin.heard for plugins in (first, second) for plugin in plugins.manager.get_plugins()
             if hasattr(plugin, "heard")}  # fmt: skip
    assert sorted(heard.values()) == [[], [LEAD.id]]


@pytest.mark.parametrize("hook", ["create_lead", "find_lead"])
@pytest.mark.parametrize("body", ["return {'id': 1}", "return 'c4n4ry'", "return False", "return 0", "return object()"])
def test_garbage_from_a_hook_is_a_plugin_bug(folder: Path, hook: str, body: str) -> None:
    crm = acme(folder, body, hook)
    error = failing(lambda: crm.deliver(LEAD, 1.0) if hook == "create_lead" else crm.find(LEAD, 1.0))
    assert (type(error), error.code) == (OutcomeUnknown, Code.PLUGIN_BUG)
    assert f"{hook} returned " in error.detail


def test_nothing_from_a_create_is_a_plugin_bug(folder: Path) -> None:
    error = failing(lambda: acme(folder, "return None").deliver(LEAD, 1.0))
    assert (type(error), error.code) == (OutcomeUnknown, Code.PLUGIN_BUG)
    assert error.detail == "create_lead returned NoneType instead of Delivered"


@pytest.mark.parametrize(
    "body",
    [
        "raise ValueError(lead.email)",
        "return {}[lead.first_name]",
        "assert not lead.email, lead.email",
        "return int(lead.first_name)",
        "raise RuntimeError(self.settings['ACME_KEY'])",
        "try:\n    raise ValueError(lead.email)\nexcept ValueError as e:\n    raise KeyError(lead.phone) from e",
        "import json\nreturn json.loads(lead.email)",
        "return lead.no_such_attribute",
        "def f(): f()\nf()",
    ],
)
def test_the_text_of_an_unforeseen_exception_is_never_shown(
    folder: Path, caplog: pytest.LogCaptureFixture, body: str
) -> None:
    crm = acme(folder, body)
    error = failing(lambda: crm.deliver(LEAD, 1.0))
    assert (type(error), error.code) == (OutcomeUnknown, Code.PLUGIN_BUG)
    name, _, place = error.detail.partition(" in ")
    assert name.endswith("Error")
    assert place.startswith("acme.py:"), "the plugin's own line, not the library's that it called"
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        ("Unavailable('x acme-secret y', status=503)", Unavailable),
        ("RateLimited('acme-secret', retry_after=7)", RateLimited),
        ("AuthFailed('key acme-secret refused')", AuthFailed),
        ("Rejected(fields={'phone': 'acme-secret'}, vendor_code='acme-secret')", Rejected),
    ],
)
def test_a_providers_own_error_passes_without_secrets_and_without_its_past(
    folder: Path, raised: str, kind: type[ProviderError]
) -> None:
    body = f"try:\n    raise ValueError(lead.email)\nexcept ValueError as error:\n    raise {raised} from error"
    error = failing(lambda: acme(folder, body).deliver(LEAD, 1.0))
    assert type(error) is kind
    assert "***" in f"{error}{getattr(error, 'fields', '')}"
    assert (error.status, error.retry_after) in {(503, None), (None, 7), (None, None)}


QUOTED = {
    "whole": "cannot store ada@example.org of Ada Augusta Lovelace, +905321234567: my GPA is 3.8",
    "in another case": "ADA@EXAMPLE.ORG, LOVELACE",
    "escaped": "ada%40example.org, \\u015eahin, O&#x27;Hara &amp; Sons",
    "a phone as people write it": "(0532) 123 45 67 / 0090-532-123-4567 / 5321234567 / %2B905321234567",
    "a word of a name": "'Augusta' is too long",
}


@pytest.mark.parametrize("text", QUOTED.values(), ids=QUOTED)
def test_an_error_that_quotes_the_visitor_is_masked(folder: Path, text: str) -> None:
    lead = {
        "first_name": "Ada Augusta", "last_name": "Lovelace", "email": "ada@example.org", "phone": "+905321234567",
        "additional_info": "my GPA is 3.8", "city": "Şahin", "custom": {"company": "O'Hara & Sons"},
    }  # fmt: skip
    body = f"from crmgate.errors import Rejected; text = {text!r}"
    raised = "raise Rejected(text, fields={'emailAddress': text}, vendor_code=text)"
    crm = acme(folder, f"{body}; {raised}")
    error = failing(lambda: crm.deliver(Operation(LEAD.id, Kind.CREATE_LEAD, lead, 0.0), 1.0))
    assert isinstance(error, Rejected)
    assert list(error.fields) == ["emailAddress"]
    for shown in (error.detail, error.vendor_code, error.fields["emailAddress"]):
        assert "…" in shown
        assert not [word for word in ("ada@", "lovelace", "augusta", "0532", "532", "gpa", "015e", "hara", "ada%40")
                    if word in shown.lower()], shown  # fmt: skip


def test_an_error_keeps_what_the_visitor_did_not_type(folder: Path) -> None:
    text = "field emailAddress (valid) of lead 6b03b0155fea3963a, error 40012345678, retry in 30 s"
    crm = acme(folder, f"from crmgate.errors import Rejected; raise Rejected({text!r})")
    lead = {"first_name": "Al", "email": "ada@example.org", "phone": "+905321234567", "city": "mail"}
    assert failing(lambda: crm.deliver(Operation(LEAD.id, Kind.CREATE_LEAD, lead, 0.0), 1.0)).detail == text


@pytest.mark.parametrize("kind", [Kind.UPDATE_LEAD, Kind.LOG_ACTIVITY])
def test_an_operation_without_a_hook_is_unsupported(folder: Path, kind: Kind) -> None:
    crm = acme(folder, "return None")
    error = failing(lambda: crm.deliver(Operation(LEAD.id, kind, {}, 0.0), 1.0))
    assert (type(error), error.code) == (Unsupported, Code.UNSUPPORTED)


def test_an_operation_of_a_newer_version_is_left_to_a_person(folder: Path) -> None:
    crm, newer = acme(folder, "return None"), Operation(LEAD.id, Kind.read("newer_kind"), {}, 0.0)
    for call in (crm.deliver, crm.find):
        error = failing(lambda call=call: call(newer, 1.0))  # type: ignore[misc]
        assert (type(error), error.code) == (Unsupported, Code.UNSUPPORTED)
        assert "a newer version of crmgate made this operation (newer_kind): update this one" in error.detail


def test_a_payload_that_is_no_lead_is_an_error_of_the_delivery(folder: Path) -> None:
    crm = acme(folder, "return None")
    error = failing(
        lambda: crm.deliver(Operation(LEAD.id, Kind.CREATE_LEAD, {"utm": {"source": []}, "consent": 5}, 0.0), 1)
    )
    assert error.code == Code.PLUGIN_BUG


def test_a_hook_works_inside_the_time_budget(folder: Path) -> None:
    crm = acme(folder, "self.request('GET', 'http://127.0.0.1:1')")
    error = failing(lambda: crm.deliver(LEAD, 0.0))
    assert (type(error), error.code) == (OutOfTime, Code.OUT_OF_TIME)
    assert failing(lambda: crm.deliver(LEAD, 1.0)).code == Code.CONNECTION_FAILED


EXITS = {
    "raise SystemExit": "SystemExit",
    "import sys; sys.exit(3)": "SystemExit",
    "raise GeneratorExit": "GeneratorExit",
    "class Odd(BaseException): ...\nraise Odd(operation.id)": "Odd",
    "import asyncio; raise asyncio.CancelledError": "CancelledError",
}


@pytest.mark.parametrize("hook", ["create_lead", "find_lead"])
@pytest.mark.parametrize(("body", "name"), EXITS.items())
def test_an_exit_inside_a_hook_is_a_plugin_bug(folder: Path, hook: str, body: str, name: str) -> None:
    crm = acme(folder, body, hook)
    error = failing(lambda: crm.deliver(LEAD, 1.0) if hook == "create_lead" else crm.find(LEAD, 1.0))
    assert (type(error), error.code) == (OutcomeUnknown, Code.PLUGIN_BUG)
    assert error.detail.startswith(f"{name} in acme.py:")


@pytest.mark.parametrize(("body", "name"), EXITS.items())
def test_an_exit_inside_a_connection_test_is_a_failed_check(folder: Path, body: str, name: str) -> None:
    [check] = acme(folder, body.replace("operation.id", "0"), "test_connection").test_connection(1.0).checks
    assert not check.ok
    assert check.detail.startswith(f"{name} in acme.py:")


def test_ctrl_c_inside_a_hook_passes(folder: Path) -> None:
    crm = acme(folder, "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(10)")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            crm.deliver(LEAD, 1.0)
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_exit_by_a_signal_handler_inside_a_hook_passes(folder: Path) -> None:
    """A web server ends its workers this way; swallowing it would keep them alive."""
    crm = acme(folder, "import os, signal, time; os.kill(os.getpid(), signal.SIGUSR1); time.sleep(10)")
    before = signal.signal(signal.SIGUSR1, lambda *_: sys.exit(1))
    try:
        with pytest.raises(SystemExit):
            crm.deliver(LEAD, 1.0)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_an_interrupt_that_a_plugin_raises_on_another_thread_is_a_plugin_bug(folder: Path) -> None:
    """A request or a delivery runs on such a thread; signals do not."""
    crm = acme(folder, "raise KeyboardInterrupt")
    with ThreadPoolExecutor(1) as pool:
        error = failing(lambda: pool.submit(crm.deliver, LEAD, 1.0).result(10))
    assert (type(error), error.code) == (OutcomeUnknown, Code.PLUGIN_BUG)


UNBELIEVABLE = {
    "self.name, 77": "record_id is of type int instead of str",
    "self.name, None": "record_id is of type NoneType instead of str",
    "self.name, b'77'": "record_id is of type bytes instead of str",
    "self.name, ' '": "record_id is empty",
    "'other', '77'": "provider is not 'acme'",
    "None, '77'": "provider is of type NoneType instead of str",
    "self.name, '77', url=None": "url is of type NoneType instead of str",
}


@pytest.mark.parametrize("hook", ["create_lead", "find_lead"])
@pytest.mark.parametrize(("arguments", "fault"), UNBELIEVABLE.items())
def test_a_confirmation_that_cannot_be_believed_is_a_plugin_bug(
    folder: Path, hook: str, arguments: str, fault: str
) -> None:
    crm = acme(folder, f"return Delivered({arguments})", hook)
    error = failing(lambda: crm.deliver(LEAD, 1.0) if hook == "create_lead" else crm.find(LEAD, 1.0))
    assert (type(error), error.code) == (OutcomeUnknown, Code.PLUGIN_BUG)
    assert error.detail == f"{hook} returned a Delivered whose {fault}. {WRITE_DELIVERED}"


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("raise AuthFailed('key acme-secret refused')", "bad_credentials: key *** refused"),
        ("raise KeyError('acme-secret')", "KeyError in acme.py:"),
        ("return None", "test_connection returned NoneType instead of Connection"),
        ("return Delivered('a', 'b')", "test_connection returned Delivered instead of Connection"),
        ("return Connection(self.name, False, 0.0, (Check('key', False, 'acme-secret is wrong'),))", "*** is wrong"),
    ],
)
def test_a_connection_test_never_raises_and_shows_no_secret(folder: Path, body: str, detail: str) -> None:
    connection = acme(folder, body, "test_connection").test_connection(1.0)
    assert (connection.provider, connection.connected) == ("acme", False)
    [check] = connection.checks
    assert not check.ok
    assert detail in check.detail
    assert "acme-secret" not in repr(connection)


class TestManyLookUps:
    """Which of many delivered operations the CRM has."""

    RECEIPTS = tuple(replace(one, payload={}, delivered=Delivered("acme", "7")) for one in (LEAD, CLICK))

    def test_a_plugin_with_the_hook_gets_them_at_once(self, folder: Path) -> None:
        hook = """
    @hookimpl
    def find_many(self, operations):
        return {operations[1].id: "7"}
"""
        crm = choose(discover(write(folder, acme=PROVIDER + hook)))
        assert (crm.finds_many, crm.find_many(self.RECEIPTS, 1.0)) == (True, {CLICK.id: "7"})

    def test_for_another_plugin_each_is_looked_up(self, folder: Path) -> None:
        body = f'return Delivered(self.name, "7", adopted=True) if operation.id == "{LEAD.id}" else None'
        crm = acme(folder, body, hook="find_lead")
        assert (crm.finds_many, crm.find_many(self.RECEIPTS, 1.0)) == (False, {LEAD.id: "7"})

    @pytest.mark.parametrize(("adopted", "found"), [(True, {LEAD.id: "7"}), (False, {})])
    def test_an_application_of_a_known_person_is_a_note_on_its_lead(
        self, folder: Path, adopted: bool, found: dict[str, str]
    ) -> None:
        body = (
            'return Delivered(self.name, "7") if (operation.kind, operation.lead_id) == ("log_activity", "7") else None'
        )
        receipt = replace(LEAD, payload={}, delivered=Delivered("acme", "7", adopted=adopted))
        assert acme(folder, body, hook="find_lead").find_many([receipt], 1.0) == found

    @pytest.mark.parametrize("result", ["None", "[]", "{'x': '7'}"])
    def test_a_wrong_result_is_a_bug_of_the_plugin(self, folder: Path, result: str) -> None:
        hook = f"\n    @hookimpl\n    def find_many(self, operations):\n        return {result}\n"
        crm = choose(discover(write(folder, acme=PROVIDER + hook)))
        with pytest.raises(OutcomeUnknown) as raised:
            crm.find_many(self.RECEIPTS, 1.0)
        assert raised.value.code == Code.PLUGIN_BUG

    def test_time_that_is_over_is_an_error_and_no_gap(self, folder: Path) -> None:
        body = 'self.request("GET", "http://127.0.0.1:1")'
        with pytest.raises(OutOfTime):
            acme(folder, body, hook="find_lead").find_many(self.RECEIPTS, 0.0)


class TestManyLeads:
    """Leads that a plugin creates together."""

    OTHER = replace(LEAD, id="0" * 32)
    HOOKS = """
    leads_at_once = 7

    @hookimpl
    def create_leads(self, leads):
        ids = [operation.id for lead, operation in leads]
        {create}

    @hookimpl
    def find_leads(self, operations):
        {find}
"""

    def crm(self, folder: Path, create: str = "pass", find: str = "return {}") -> HookCaller:
        hooks = self.HOOKS.replace("{create}", create).replace("{find}", find)
        return choose(discover(write(folder, acme=PROVIDER + hooks)))

    def test_each_lead_comes_with_its_operation_and_has_its_outcome(self, folder: Path) -> None:
        crm = self.crm(folder, "return {one.id: Delivered(self.name, lead.first_name + one.id) for lead, one in leads}")
        assert crm.leads_at_once == 7
        assert crm.create_leads([LEAD, self.OTHER], 1.0) == {
            one.id: Delivered("acme", CANARY + one.id) for one in (LEAD, self.OTHER)
        }  # fmt: skip

    def test_a_plugin_without_the_hook_creates_one_at_a_time(self, folder: Path) -> None:
        assert acme(folder, "pass").leads_at_once == 0

    @pytest.mark.parametrize("outcome", ['Delivered("other", "7")', '"7"', "True", 'Delivered(self.name, "")'])
    def test_a_wrong_outcome_is_a_bug_of_this_lead_only(self, folder: Path, outcome: str) -> None:
        crm = self.crm(folder, f'return {{ids[0]: {outcome}, ids[1]: Delivered(self.name, "8")}}')
        found = crm.create_leads([LEAD, self.OTHER], 1.0)
        wrong = found[LEAD.id]
        assert isinstance(wrong, OutcomeUnknown)
        assert (wrong.code, found[self.OTHER.id]) == (Code.PLUGIN_BUG, Delivered("acme", "8"))

    def test_a_missing_outcome_is_unknown_and_none_is_not(self, folder: Path) -> None:
        found = self.crm(folder, "return {ids[1]: None}").create_leads([LEAD, self.OTHER], 1.0)
        assert isinstance(found[LEAD.id], OutcomeUnknown)
        assert found[self.OTHER.id] is None

    @pytest.mark.parametrize("create", ["return None", "return [1]", "raise KeyError(leads[0][0].first_name)"])
    def test_a_wrong_result_is_a_bug_of_all(self, folder: Path, create: str) -> None:
        with pytest.raises(OutcomeUnknown) as raised:
            self.crm(folder, create).create_leads([LEAD, self.OTHER], 1.0)
        assert raised.value.code == Code.PLUGIN_BUG
        assert CANARY not in str(raised.value)

    def test_an_error_shows_nothing_of_any_lead(self, folder: Path) -> None:
        with pytest.raises(Unavailable) as raised:
            self.crm(folder, "raise Unavailable(leads[0][0].first_name)").create_leads([LEAD, self.OTHER], 1.0)
        assert CANARY not in str(raised.value)

    def test_what_is_found_is_checked(self, folder: Path) -> None:
        found = self.crm(folder, find='return {operations[1].id: Delivered(self.name, "7", adopted=True)}')
        assert found.find_leads([LEAD, self.OTHER], 1.0) == {self.OTHER.id: Delivered("acme", "7", adopted=True)}

    def test_a_plugin_that_cannot_find_them_together_is_refused(self, folder: Path) -> None:
        hook = "\n    @hookimpl\n    def create_leads(self, leads):\n        return {}\n"
        [problem] = discover(write(folder, acme=PROVIDER + hook)).quarantined
        assert "lacks find_leads" in str(problem)

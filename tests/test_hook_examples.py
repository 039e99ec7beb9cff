"""The blocks of docs/plugins/hooks.md are one plugin: each hook has an example, and each example does what it says."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs

import pytest

from crmgate.background import stop_all
from crmgate.errors import AuthFailed, NotFound
from crmgate.model import Activity, Delivered, Kind, Lead, Operation, new_id
from crmgate.plugin_host.caller import HOOKS, HookCaller
from crmgate.plugin_host.listeners import Listeners
from crmgate.plugin_host.loader import Plugins, discover
from crmgate.plugin_host.sources import SourcePlugins
from crmgate.provider import CRMProvider
from crmgate.sources import Received, SourceRequest
from crmgate.testing import FakeCRM, ProviderContract, Request, Response

PAGE = (Path(__file__).parent.parent / "docs" / "plugins" / "hooks.md").read_text()
SECTIONS = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))


def built() -> str:
    """The plugin: the class of the first part, the methods of the second part, and the functions of the third."""
    first, second, third = re.split(r"^## .+\n", PAGE, flags=re.MULTILINE)
    return blocks(first) + textwrap.indent(blocks(second), " " * 4) + blocks(third)


def blocks(part: str) -> str:
    return "\n".join(re.findall(r"```python\n(.*?)```", part, re.DOTALL)) + "\n"


KEY = "the-key-of-the-test"
REFUSED = Lead(first_name="Refused")


class FakeAcme(FakeCRM):
    """The part of Acme CRM's API that the page uses."""

    def __init__(self) -> None:
        super().__init__()
        self.leads: list[dict[str, Any]] = []
        self.notes: list[dict[str, Any]] = []
        self.fields = {"name": "text", "surname": "text", "mail": "email", "phone": "phone"}

    def records(self) -> dict[str, list[dict[str, Any]]]:
        return {"leads": self.leads, "notes": self.notes}

    def answer(self, request: Request) -> Response:
        if request.header("X-Key") != KEY:
            return Response(401)
        body = json.loads(request.body) if request.body else {}
        with self.lock:
            match request.method, request.path.strip("/").split("/"):
                case "POST", ["leads", "batch"]:
                    return self._json(201, {"ids": [self._added_one(lead) for lead in json.loads(request.body)]})
                case "GET", ["leads"] if "refs" in (query := parse_qs(request.query)):
                    refs = query["refs"][0].split(",")
                    return self._json(200, {"leads": [lead for lead in self.leads if lead["ref"] in refs]})
                case "POST", ["leads"]:
                    return self._added(self.leads, body)
                case "POST", ["leads", _, "notes"] if self._lead(body["lead"]):
                    return self._added(self.notes, body)
                case "POST", ["fields"]:
                    self.fields[body["name"]] = "text"
                    return self._json(201, body)
                case "GET", ["fields"]:
                    return self._json(200, {"fields": self.fields})
                case "GET", ["leads"] if "ids" in (query := parse_qs(request.query)):
                    ids = query["ids"][0].split(",")
                    return self._json(200, {"leads": [self._whole(one) for one in self.leads if str(one["id"]) in ids]})
                case "GET", ["leads" | "notes" as table]:
                    [wanted] = parse_qs(request.query)["ref"]
                    return self._json(200, {table: [row for row in getattr(self, table) if row["ref"] == wanted]})
                case "GET" | "PATCH", ["leads", lead_id] if lead := self._lead(lead_id):
                    lead |= body
                    return self._json(200, lead)
        return Response(404, '{"error": "no such lead"}')

    def _lead(self, lead_id: str) -> dict[str, Any] | None:
        return next((lead for lead in self.leads if str(lead["id"]) == lead_id), None)

    def _whole(self, lead: dict[str, Any]) -> dict[str, Any]:
        return lead | {"timeline": [note for note in self.notes if note["lead"] == str(lead["id"])]}

    def _added_one(self, lead: dict[str, Any]) -> int | None:
        if lead["name"] == REFUSED.first_name:
            return None
        self._added(self.leads, lead)
        return len(self.leads)

    def _added(self, rows: list[dict[str, Any]], body: dict[str, Any]) -> Response:
        rows.append(body | {"id": len(rows) + 1})
        return self._json(201, rows[-1])

    def _json(self, status: int, content: dict[str, Any]) -> Response:
        return Response(status, json.dumps(content))


def page_plugin() -> type[CRMProvider]:
    """The provider class of the page."""
    module = ModuleType("acme")
    exec(compile(built(), "hooks.md", "exec"), vars(module))
    [found] = (one for one in vars(module).values() if isinstance(one, type) and one.__module__ == "acme")
    return found


class TestThePageKeepsTheContract(ProviderContract):
    plugin = page_plugin()

    def fake(self) -> FakeAcme:
        return FakeAcme()

    def settings(self, fake: FakeCRM) -> Mapping[str, str]:
        return {"ACME_URL": fake.url, "ACME_KEY": KEY}

    def refused_lead(self, fake: FakeCRM) -> Lead:
        return REFUSED


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the plugin."""
    folder = tmp_path_factory.mktemp("hooks")
    (folder / "acme.py").write_text(built())
    return folder


@pytest.fixture(scope="module")
def plugins(folder: Path) -> Plugins:
    found = discover(folder)
    assert found.quarantined == []
    return found


@pytest.fixture
def acme() -> Iterator[FakeAcme]:
    with FakeAcme() as fake:
        yield fake


@pytest.fixture
def crm(plugins: Plugins, acme: FakeAcme) -> HookCaller:
    return plugins.choose("acme", {"ACME_URL": acme.url, "ACME_KEY": KEY}, 2.0, ("127.0.0.1",))


def operation(kind: Kind, lead_id: str = "", **data: Any) -> Operation:
    payload = Lead(**data) if kind in (Kind.CREATE_LEAD, Kind.UPDATE_LEAD) else Activity(**data)
    return Operation(new_id(), kind, payload.to_dict(), 0.0, lead_id=lead_id)


@pytest.mark.parametrize("hook", HOOKS)
def test_each_hook_has_an_example(hook: str) -> None:
    assert hook in SECTIONS, f"docs/plugins/hooks.md has no section ### `{hook}`"
    assert re.search(rf"@hookimpl\n *def {hook}\(", SECTIONS[hook]), f"docs/plugins/hooks.md: no example of {hook}"


def test_no_section_is_about_a_hook_that_is_gone() -> None:
    assert SECTIONS.keys() - set(HOOKS) == set()


def test_the_operations_reach_the_crm(crm: HookCaller, acme: FakeAcme) -> None:
    created = crm.deliver(operation(Kind.CREATE_MINIMAL_LEAD, channel="telegram"), 2.0)
    assert created == Delivered("acme", "1")
    assert (acme.leads[0]["name"], "telegram" in acme.leads[0]["notes"].lower()) == ("Messenger", True)
    crm.deliver(operation(Kind.LOG_ACTIVITY, "1", channel="whatsapp"), 2.0)
    assert (acme.notes[0]["lead"], "whatsapp" in acme.notes[0]["text"].lower()) == ("1", True)
    crm.deliver(operation(Kind.UPDATE_LEAD, "1", first_name="Ada", city="London"), 2.0)
    assert acme.leads[0]["name"] == "Ada"
    assert "City: London" in acme.leads[0]["notes"]
    crm.deliver(operation(Kind.CREATE_LEAD, first_name="Grace", email="g@example.com"), 2.0)
    assert (acme.leads[1]["name"], acme.leads[1]["mail"]) == ("Grace", "g@example.com")


def test_what_an_operation_left_is_found(crm: HookCaller) -> None:
    create = operation(Kind.CREATE_LEAD, first_name="Ada")
    assert crm.find(create, 2.0) is None
    crm.deliver(create, 2.0)
    click = operation(Kind.LOG_ACTIVITY, "1", channel="telegram")
    assert crm.find(click, 2.0) is None
    crm.deliver(click, 2.0)
    assert crm.find(create, 2.0) == crm.find(click, 2.0) == Delivered("acme", "1", adopted=True)


def test_leads_are_created_and_found_together(crm: HookCaller) -> None:
    names = ("Ada", REFUSED.first_name, "Grace")
    several = [operation(Kind.CREATE_LEAD, first_name=name) for name in names]
    ada, refused, grace = (one.id for one in several)
    assert crm.create_leads(several, 2.0) == {ada: Delivered("acme", "1"), refused: None, grace: Delivered("acme", "2")}
    assert crm.find_leads(several, 2.0) == {
        ada: Delivered("acme", "1", adopted=True), grace: Delivered("acme", "2", adopted=True),
    }  # fmt: skip


def test_a_lead_that_is_gone_is_not_found(crm: HookCaller) -> None:
    with pytest.raises(NotFound):
        crm.deliver(operation(Kind.UPDATE_LEAD, "9", first_name="Ada"), 2.0)


def test_a_missing_field_is_described_and_set_up(crm: HookCaller, acme: FakeAcme) -> None:
    del acme.fields["phone"]
    assert not all(check.ok for check in crm.test_connection(2.0).checks)
    [problem] = [field.problem for field in crm.describe_fields(2.0) if field.problem]
    assert problem == "Acme CRM has no field phone: add it, or set ACME_MAP_PHONE to another field."
    assert [step.what for step in crm.provision(2.0, apply=False).steps if not step.done] == ["field phone"]
    assert "phone" not in acme.fields
    assert all(step.done for step in crm.provision(2.0, apply=True).steps)
    assert "phone" in acme.fields
    connection = crm.test_connection(2.0)
    assert connection.connected
    assert all(check.ok for check in connection.checks)


def test_the_source_is_read(plugins: Plugins) -> None:
    body = json.dumps({"entry": {"who": "Ada Lovelace", "mail": "ada@example.com", "number": 7}}).encode()
    request = SourceRequest("POST", {"content-type": "application/json"}, body)
    read = SourcePlugins(plugins.manager)
    assert read("acmeforms", request) == [Received({"full_name": "Ada Lovelace", "email": "ada@example.com"}, "7")]
    assert read("tilda", request) is None


def test_the_listeners_log_what_happened(plugins: Plugins, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "crmgate.plugins.acme")
    click = operation(Kind.CREATE_MINIMAL_LEAD, channel="telegram")
    listeners = Listeners(plugins.manager)
    listeners.notify("operation_accepted", operation=click)
    listeners.notify("operation_delivered", operation=click, delivered=Delivered("acme", "7"))
    listeners.notify("operation_dead", operation=click)
    listeners.notify(
        "provider_paused", provider="acme", error=AuthFailed(), cause="refused",
        explanation="it refuses the credentials", remedy="correct them", waiting=3,
    )  # fmt: skip
    listeners.notify("provider_recovered", provider="acme", waiting=3)
    listeners.notify("worker_missing", seconds=61.0, waiting=3)
    listeners.notify("worker_back")
    listeners.notify("ledger_unavailable", reason="ConnectionError")
    listeners.notify("ledger_available", seconds=20.0)
    listeners.notify("ledger_nearly_full", share=0.83, waiting=3)
    listeners.notify("spool_waiting", operations=3, size=4096, seconds=61.0, share=0.01)
    listeners.notify("waiting_too_long", seconds=900.0, waiting=3)
    listeners.notify("records_missing", missing=2, checked=900, operations=["a", "b"])
    stop_all()
    code = click.tracking_code
    assert caplog.messages == [
        f"accepted {code}", f"{code} is the record 7 in acme", f"{code} is a dead letter",
        "acme is paused (refused): it refuses the credentials; 3 wait", "acme works again",
        "no worker for 61 s; 3 wait", "a worker runs again", "Redis is unavailable: ConnectionError",
        "Redis is available again after 20 s", "Redis is 83 % full; 3 wait",
        "the spool has 3 submissions, the oldest for 61 s; it is 1 % full",
        "the oldest of 3 operations has waited for 900 s",
        "2 of 900 delivered operations are missing, such as a, b",
    ]  # fmt: skip

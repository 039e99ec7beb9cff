"""What form tools post reaches the CRM once: through gunicorn, the worker and the fake EspoCRM, one stack for all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from click.testing import CliRunner, Result

from crmgate.cli import main
from crmgate.sources.tools import TOOLS
from tests.integration.stack import Stack
from tests.processes import DEADLINE, wait_until
from tests.sources.payloads import EXAMPLES, META_SEVERAL, TILDA_TEST, Sent
from tests.sources.test_signatures import b64, digest

SECRET = "the-secret"
NAMES = [*TOOLS, "crmtool"]
PLUGIN = """
from crmgate import hookimpl
from crmgate.sources import Received, Handshake

@hookimpl
def parse_source(source, request):
    if source != "own":
        return None
    if request.method == "GET":
        return Handshake("ready")
    name, email = request.body.decode().split(";")
    return [Received({"first_name": name, "email": email}, delivery_id=email)]
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("sources")
    (folder / "own.py").write_text(PLUGIN)
    (folder / "own.py").chmod(0o600)
    settings = {f"SOURCE_{name.upper()}_SECRET": SECRET for name in [*NAMES, "own"]}
    with Stack(folder, PLUGINS_DIR=str(folder), METRICS_PUBLIC="on", **settings) as running:
        yield running.start()


def run(stack: Stack, *arguments: str) -> Result:
    """Run `crmgate` with the settings of the stack."""
    return CliRunner().invoke(main, arguments, env=stack.env)


def post(stack: Stack, name: str, sent: Sent, query: str = f"?token={SECRET}", **headers: str) -> requests.Response:
    return requests.post(
        f"{stack.url}/in/{name}{query}",
        data=sent.body,
        headers={"Content-Type": sent.media, **headers},
        timeout=DEADLINE,
    )


def person(name: str, sent: Sent) -> Sent:
    """The same body about another person, so that the sources do not meet in one lead."""
    body = sent.body
    for email in (b"ada", b"zaphod", b"jane"):
        body = body.replace(email + b"@example.com", f"{name}@example.com".encode())
        body = body.replace(email + b"%40example.com", f"{name}%40example.com".encode())
    number = f"1{NAMES.index(name) if name in NAMES else 99:02}".encode()
    for start, end in ((b"123", b"-4567"), (b"123", b"4567"), (b"123", b"-45-67")):
        body = body.replace(start + end, number + end)
    return Sent(body, sent.media)


def leads(stack: Stack, email: str) -> list[dict[str, Any]]:
    return [lead for lead in stack.espocrm.leads if lead.get("emailAddress") == email]


@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_a_tool_becomes_one_lead(stack: Stack, name: str) -> None:
    sent, email = person(name, EXAMPLES[name][0]), f"{name}@example.com"
    wrong = post(stack, name, sent, "?token=wrong")
    before = stack.client.zcard("{crmgate}:ops")
    assert (wrong.status_code, wrong.json()["type"]) == (401, "/problems/wrong-secret")
    answers = [post(stack, name, sent) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    [[one], [two]] = [answer.json()["items"] for answer in answers]
    assert one["complete"]
    assert one["id"] == two["id"]
    stack.wait_for(one["id"], "delivered")
    assert len(leads(stack, email)) == 1
    assert stack.client.zcard("{crmgate}:ops") == before + 1, "nothing else was stored"


@pytest.mark.parametrize(
    ("name", "header"),
    [("typeform", "Typeform-Signature"), ("meta", "X-Hub-Signature-256")],
)
def test_a_signed_body(stack: Stack, name: str, header: str) -> None:
    sent = person(f"signed-{name}", EXAMPLES[name][0])
    sent = Sent(sent.body.replace(b"a3a12ec6", b"ffffffff").replace(b"444444444441", b"555"), sent.media)
    value = {"typeform": b64, "meta": bytes.hex}[name](digest(sent.body))  # type: ignore[operator]
    stored = stack.client.zcard("{crmgate}:ops")
    tampered = Sent(sent.body.replace(b"signed", b"forged"), sent.media)
    assert post(stack, name, tampered, "", **{header: f"sha256={value}"}).status_code == 401
    assert stack.client.zcard("{crmgate}:ops") == stored
    answer = post(stack, name, sent, "", **{header: f"sha256={value}"})
    assert answer.status_code == 200
    stack.wait_for(answer.json()["items"][0]["id"], "delivered")


def test_a_repetition_with_another_body_keeps_the_first(stack: Stack) -> None:
    bodies = [{"tranid": "9:9", "Email": f"tilda{number}@example.com", "Name": "Ada"} for number in (1, 2)]
    answers = [requests.post(f"{stack.url}/in/tilda?token={SECRET}", data=body, timeout=DEADLINE) for body in bodies]
    assert [answer.status_code for answer in answers] == [200, 200]
    [one, two] = [answer.json()["items"][0]["id"] for answer in answers]
    assert one == two
    stack.wait_for(one, "delivered")
    assert [len(leads(stack, str(body["Email"]))) for body in bodies] == [1, 0]


def test_several_leads_in_one_body(stack: Stack) -> None:
    answer = post(stack, "meta", Sent(META_SEVERAL.body.replace(b"4444444", b"7777777"), META_SEVERAL.media))
    items = answer.json()["items"]
    assert len({item["id"] for item in items}) == 3
    for item in items:
        stack.wait_for(item["id"], "delivered")


def test_handshakes(stack: Stack) -> None:
    stored = stack.client.zcard("{crmgate}:ops")
    assert (post(stack, "tilda", TILDA_TEST).status_code, post(stack, "tilda", TILDA_TEST).text) == (200, "ok")
    query = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": SECRET}
    answer = requests.get(f"{stack.url}/in/meta", params=query, timeout=DEADLINE)
    assert (answer.status_code, answer.text) == (200, "1158201444")
    wrong = requests.get(f"{stack.url}/in/meta", params=query | {"hub.verify_token": "x"}, timeout=DEADLINE)
    assert wrong.status_code == 401
    own = requests.get(f"{stack.url}/in/own?token={SECRET}", timeout=DEADLINE)
    assert (own.status_code, own.text) == (200, "ready")
    assert stack.client.zcard("{crmgate}:ops") == stored


def test_a_source_of_a_plugin(stack: Stack) -> None:
    for _ in range(2):
        answer = post(stack, "own", Sent(b"Ada;own@example.com", "text/plain"))
        assert answer.status_code == 200
    stack.wait_for(answer.json()["items"][0]["id"], "delivered")
    assert len(leads(stack, "own@example.com")) == 1
    broken = post(stack, "own", Sent(b"Ada", "text/plain"))
    assert (broken.status_code, broken.json()["items"][0]["complete"]) == (200, False)
    assert "parse_source failed: ValueError in own.py:11" in stack.web.output()


@pytest.mark.parametrize("name", NAMES)
def test_what_nobody_understands_is_edited_released_and_delivered(stack: Stack, name: str) -> None:
    answer = post(stack, name, Sent(f'{{"left": "open for {name}"'.encode(), "application/json"))
    assert answer.status_code == 200
    [item] = answer.json()["items"]
    assert not item["complete"]
    operation = stack.operation(item["id"])
    assert (operation.state, operation.suspicion) == ("suspect", "incomplete")
    if name == NAMES[0]:
        is_shown_as_incomplete(stack, item["id"])
    contact = f"edited.{name}@example.com"
    edit = run(stack, "dlq", "edit", item["id"], "--set", "first_name=Ada", "--set", f"email={contact}")
    assert edit.exit_code == 0, edit.output
    assert run(stack, "dlq", "retry", item["id"]).exit_code == 0
    stack.wait_for(item["id"], "delivered")
    [lead] = leads(stack, contact)
    assert f"open for {name}" in json.dumps(lead)


def is_shown_as_incomplete(stack: Stack, operation_id: str) -> None:
    listed = json.loads(run(stack, "dlq", "list", "--suspects", "--json").stdout)["items"]
    assert ("incomplete", operation_id) in [(each["cause"], each["id"]) for each in listed]
    assert "incomplete" in run(stack, "ops", "list", "--state", "suspect").stdout
    metrics = requests.get(f"{stack.url}/metrics", timeout=DEADLINE).text
    assert 'crmgate_suspects_total{cause="incomplete"}' in metrics
    refused = run(stack, "dlq", "edit", operation_id, "--set", "city=Izmir")
    assert refused.exit_code == 1, "without a name and a contact it is still no lead"


def test_secrets_and_contacts_are_in_no_log(stack: Stack) -> None:
    wait_until("the log", lambda: "/in/<source>" in stack.web.output())
    log = stack.web.output() + stack.worker.output()
    assert SECRET not in log
    assert "@example.com" not in log

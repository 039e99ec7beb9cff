"""Web, command line and metrics show the same cause with the same texts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from flask import Flask

from crmgate import services, web
from crmgate.config import Settings
from crmgate.model import Kind, Operation, new_id, rfc3339
from crmgate.operators.waiting import advice
from crmgate.store.gate import Cause, Explanation, Gate, Recipient, explain
from crmgate.store.ledger import Ledger
from crmgate.store.tokens import Scope, digest, generate
from tests.cli.conftest import Run, output_of
from tests.dead_letters import add_dead_letters
from tests.processes import ROOT, RedisProcess
from tests.web.test_auth import bearer

SINCE = 1_800_000_000.0
FIELD = "invalid_value emailAddress"
MINI = Recipient("mini")
CAUSES = [
    ("outage", {}), ("refused", {}), ("refused", {"confirmed": "1"}),
    ("limited", {}), ("epidemic", {"reason": FIELD}), ("paused", {}),
]  # fmt: skip


@dataclass
class Site:
    """A gateway with tokens, its command line, a dead letter and a waiting operation."""

    run: Callable[..., Any]
    client: Any
    tokens: dict[str, str]
    dead: str
    waiting: str

    def get(self, path: str, token: str = "", method: str = "GET") -> Any:
        return self.client.open(path, method=method, headers=bearer(self.tokens[token]) if token else {})

    def provider(self, token: str = "") -> str:
        """The check of the CRM in /readyz."""
        checks = {check["name"]: check["detail"] for check in self.get("/readyz", token).json["checks"]}
        return str(checks["provider"])


@pytest.fixture
def site(run: Run, mini: dict[str, str], redis_process: RedisProcess, ledger: Ledger) -> Iterator[Site]:
    tokens = {str(scope): generate()[1] for scope in Scope}
    entries = ",".join(f"{scope}:{scope}:{digest(text)}" for scope, text in tokens.items())
    settings = mini | {"REDIS_URL": redis_process.url, "API_TOKENS": entries}
    app = Flask("crmgate", root_path=str(ROOT / "crmgate"))
    app.extensions["crmgate"] = services.build(Settings.load(settings))
    web.init_app(app)
    ledger.beat("w")
    waiting = Operation(new_id(), Kind.CREATE_LEAD, {"first_name": "Ada", "email": "ada@example.com"}, time.time())
    ledger.accept(waiting, MINI, alarm=3600)
    [dead] = add_dead_letters(ledger, provider="mini", at=time.time() - 60)
    yield Site(lambda *words: run(*words, **settings), app.test_client(), tokens, dead, waiting.id)
    app.extensions["crmgate.clicks"].stop()


@pytest.fixture(params=CAUSES, ids=lambda case: "-".join([case[0], *case[1]]))
def shut(request: pytest.FixtureRequest, site: Site, ledger: Ledger, redis_client: redis.Redis) -> Gate:
    """The gate of the CRM, shut for one of the causes."""
    cause, more = request.param
    fields = {"cause": cause, "since": SINCE, "until": time.time() + 600, "by": "x"} | more
    redis_client.hset("{crmgate}:gate:mini", mapping=fields)
    return ledger.gate(MINI)


def words(gate: Gate) -> Explanation:
    found = explain(gate)
    assert found is not None
    return found


def test_each_cause_has_a_case() -> None:
    assert {cause for cause, _ in CAUSES} == {str(cause) for cause in Cause}


def test_readyz_shows_the_cause_but_the_public_sees_no_field_of_the_crm(site: Site, shut: Gate) -> None:
    public = site.provider()
    assert public == advice(shut, detail=False)
    assert words(shut).what in public
    assert words(shut).remedy in public
    assert rfc3339(SINCE) in public
    assert "emailAddress" not in public
    assert site.provider("read") == advice(shut)
    assert (FIELD in site.provider("read")) == (shut.cause is Cause.EPIDEMIC)


def test_the_web_shows_the_cause(site: Site, shut: Gate) -> None:
    expected = {
        "cause": str(shut.cause), "what": words(shut).what, "remedy": words(shut).remedy,
        "detail": words(shut).detail or None,
    }  # fmt: skip
    tested = site.get("/api/v1/crm/test", "read").json
    assert tested["connected"], "the connection test passes: it does not depend on the gate"
    retried = site.get(f"/api/v1/operations/{site.waiting}/retry", "operate", "POST")
    released = site.get(f"/api/v1/dead-letters/{site.dead}/retry", "operate", "POST")
    assert (retried.status_code, released.status_code) == (202, 202)
    listed = site.get("/api/v1/operations", "read").json["items"]
    shown = site.get(f"/api/v1/operations/{site.waiting}", "read").json
    waits = [answer["waits"] for answer in (retried.json, released.json, shown, *listed)]
    assert len(waits) == 5
    for found in (tested["gate"], *waits):
        assert {name: found[name] for name in expected} == expected
    samples = site.get("/metrics", "read").text.splitlines()
    paused = [line for line in samples if line.startswith("crmgate_provider_paused{") and line.endswith(" 1.0")]
    assert paused == [f'crmgate_provider_paused{{cause="{shut.cause}",provider="mini"}} 1.0']


def test_the_command_line_shows_the_cause(site: Site, shut: Gate, ledger: Ledger) -> None:
    expected = (words(shut).what, words(shut).remedy)
    tested = output_of(site.run("crm", "test", "--json"))["gate"]
    assert (tested["cause"], tested["what"], tested["remedy"]) == (shut.cause, *expected)
    checked = {line["check"]: line for line in output_of(site.run("check", "--json"))["checks"]}["deliveries"]
    hinted = site.run("dlq", "retry", site.dead, site.waiting)
    assert hinted.exit_code == 0
    assert hinted.stdout == f"{site.dead}: released\n{site.waiting}: released\n"
    assert hinted.stderr.count("Not sent yet") == 1
    texts = (site.run("crm", "test").stdout, checked["detail"], hinted.stderr)
    for text in texts:
        assert all(part in text for part in expected), text
    assert checked["result"] == "warn"
    assert expected[0] in site.run("ops", "show", site.waiting).stdout
    assert expected[0] in site.run("crm", "resume").stdout
    assert {ledger.get(i).state for i in (site.dead, site.waiting)} <= {"waiting", "accepted"}  # type: ignore[union-attr]


def test_with_an_open_gate_no_problem_is_reported(site: Site) -> None:
    assert site.provider("read") == "A CRM is configured, and takes requests."
    assert site.get("/api/v1/crm/test", "read").json["gate"]["cause"] is None
    assert site.get(f"/api/v1/operations/{site.waiting}", "read").json["waits"]["cause"] is None
    assert output_of(site.run("crm", "test", "--json"))["gate"]["cause"] is None
    assert "What to do" not in site.run("crm", "test").stdout
    checked = {line["check"]: line for line in output_of(site.run("check", "--json"))["checks"]}["deliveries"]
    assert checked["result"] == "ok"
    assert "Not sent yet" not in site.run("dlq", "retry", site.dead).stderr

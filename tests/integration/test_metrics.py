"""`/metrics` of a running gateway: the same figures from every process, and only with a token."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from crmgate.store.tokens import digest, generate
from tests.integration.stack import Stack, person
from tests.processes import DEADLINE, ROOT, wait_until

TOKEN = generate()[1]
DOCUMENTED = re.findall(r"^\| `(crmgate_\w+)` \|", (ROOT / "docs/observability.md").read_text(), re.MULTILINE)
Labels = dict[str, str]


def scrape(stack: Stack) -> dict[str, list[tuple[Labels, float]]]:
    """The samples by name."""
    response = requests.get(f"{stack.url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=DEADLINE)
    assert response.status_code == 200, response.text
    found: dict[str, list[tuple[Labels, float]]] = {}
    for family in text_string_to_metric_families(response.text):
        assert family.documentation
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def value(samples: dict[str, list[tuple[Labels, float]]], name: str, **labels: str) -> float:
    return sum(number for known, number in samples.get(name, []) if labels.items() <= known.items())


@pytest.fixture
def started(own_stack: Stack) -> Stack:
    own_stack.env |= {"API_TOKENS": f"prometheus:read:{digest(TOKEN)}", "CRM_RETRY_DELAYS": "0.2", "RECONCILE": "daily"}
    own_stack.env["SPOOL_DIR"] = str(own_stack.folder / "spool")
    return own_stack.start()


def test_figures_are_true_whichever_process_answers(started: Stack) -> None:
    stack = started
    assert requests.get(f"{stack.url}/metrics", timeout=DEADLINE).status_code == 401
    for number in range(12):
        stack.submit(person(number))
    stack.espocrm.fail("answer", status=400, method="POST", path="/Lead", times=1)
    dead = stack.submit(person(20), 202)
    stack.wait_for(dead, "dead")
    for path in ("/nowhere/at-all", "/api/v1/operations/" + dead):
        requests.get(stack.url + path, timeout=DEADLINE)

    requests_of = "crmgate_http_request_duration_seconds_count"
    posts = {"method": "POST", "route": "/api/v1/applications", "status": "2xx"}
    for _ in range(8):
        samples = scrape(stack)
        assert value(samples, requests_of, **posts) == 13
        assert value(samples, requests_of, route="/api/v1/operations/<operation_id>") == 1
        assert value(samples, requests_of, route="-", status="4xx") == 1
    assert value(samples, "crmgate_operations_total", event="accepted") == 13
    assert value(samples, "crmgate_operations_total", event="delivered") == 12
    assert value(samples, "crmgate_operations_total", event="dead") == 1
    assert value(samples, "crmgate_dead_letters") == 1
    assert value(samples, "crmgate_workers") == 1
    attempts = {"provider": "espocrm", "kind": "create_lead"}
    assert value(samples, "crmgate_attempts_total", outcome="delivered", **attempts) == 12
    assert value(samples, "crmgate_attempts_total", outcome="invalid_request", **attempts) == 1
    assert value(samples, "crmgate_attempt_duration_seconds_count", provider="espocrm") == 13
    assert value(samples, "crmgate_provider_paused") == 0

    wait_until("the worker compares with the CRM", lambda: "crmgate_reconcile_checked" in scrape(stack))
    samples = scrape(stack)
    assert value(samples, "crmgate_reconcile_missing") == 0
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in samples} - set(DOCUMENTED) == set()
    assert len(DOCUMENTED) >= 12
    exposed = set(samples)
    for file in ("contrib/prometheus/crmgate.yml", "contrib/grafana/crmgate.json"):
        named = set(re.findall(r"\bcrmgate_\w+", (ROOT / file).read_text()))
        assert len(named) >= 7
        assert named <= exposed, file
    assert set(DOCUMENTED) <= {re.sub(r"_count$", "", name) for name in exposed}

    stack.worker.stop()
    stack.redis.stop()
    samples = scrape(stack)
    assert value(samples, "crmgate_ledger_up") == 0
    assert value(samples, requests_of, **posts) == 13
    assert "crmgate_dead_letters" not in samples, "not known is not none"


def test_a_paused_crm_and_the_age_of_what_waits_are_seen(started: Stack) -> None:
    stack = started
    stack.espocrm.fail("answer", status=401)
    stack.submit(person(1), 202)

    def paused() -> bool:
        samples = scrape(stack)
        cause = value(samples, "crmgate_provider_paused", provider="espocrm", cause="refused")
        return cause == 1 and value(samples, "crmgate_oldest_waiting_seconds") > 0

    wait_until("the pause is seen", paused)
    assert value(scrape(stack), "crmgate_operations_waiting") == 1


def test_the_folder_of_the_counters_goes_with_gunicorn(own_stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    own_stack.env |= {"TMPDIR": str(tmp_path / "temporary"), "METRICS_PUBLIC": "on", "PROMETHEUS_MULTIPROC_DIR": ""}
    own_stack.redis.start()
    own_stack.start_web()
    assert requests.get(f"{own_stack.url}/metrics", timeout=DEADLINE).status_code == 200
    [folder] = (tmp_path / "temporary").glob("crmgate-metrics-*")
    assert list(folder.glob("*.db"))
    assert own_stack.web.stop() == 0
    assert not folder.exists()


def test_the_dashboard_is_one() -> None:
    board = json.loads((ROOT / "contrib/grafana/crmgate.json").read_text())
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"]) >= 10
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]}
    assert len(places) == len(board["panels"])

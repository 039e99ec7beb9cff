"""A real Prometheus scrapes a gateway: every expression of the dashboard and of the rules works on what it has."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from ruamel.yaml import YAML

from crmgate.cli.redis_server import free_port
from tests.integration.stack import Stack, person
from tests.needs import need
from tests.processes import DEADLINE, ROOT, Process, wait_until

RULES, BOARD = ROOT / "contrib/prometheus/crmgate.yml", ROOT / "contrib/grafana/crmgate.json"


def of_the_rules() -> list[str]:
    rules = YAML(typ="safe").load(RULES)
    return [rule["expr"] for group in rules["groups"] for rule in group["rules"]]


def of_the_board() -> list[str]:
    return [target["expr"] for panel in json.loads(BOARD.read_text())["panels"] for target in panel["targets"]]


class Prometheus:
    """A Prometheus with the rules, which scrapes the gateway every second."""

    def __init__(self, folder: Path, stack: Stack) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.config = folder / "prometheus.yml"
        self.config.write_text(f"""\
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{RULES}"]
scrape_configs:
  - job_name: crmgate
    static_configs: [{{targets: ["{stack.url.removeprefix("http://")}"]}}]
""")
        address, data = self.url.removeprefix("http://"), folder / "data"
        self.process = Process(
            "prometheus",
            [need("prometheus"), f"--config.file={self.config}", f"--storage.tsdb.path={data}",
             f"--web.listen-address={address}"],
            folder,
        )  # fmt: skip

    def ask(self, path: str, **query: str) -> Any:
        answer = requests.get(f"{self.url}/api/v1/{path}", params=query, timeout=DEADLINE)
        assert answer.json()["status"] == "success", answer.text
        return answer.json()["data"]

    def names(self) -> set[str]:
        """The names of all series; empty while it does not answer."""
        try:
            return set(self.ask("label/__name__/values"))
        except requests.RequestException:
            assert self.process.running, self.process.output()
            return set()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A gateway that has delivered, has a dead letter, has counted a click and serves its metrics without a token."""
    folder = tmp_path_factory.mktemp("watched")
    spool = str(folder / "spool")
    with Stack(folder, METRICS_PUBLIC="on", CRM_ON_REJECTED_FIELD="dead", SPOOL_DIR=spool) as stack:
        stack.start()
        stack.submit(person(1))
        reason = "Field validation failure; entityType: Lead, field: source, type: valid."
        refused = {"messageTranslation": {"label": "validationFailure", "data": {"field": "source", "type": "valid"}}}
        stack.espocrm.fail(
            "answer", status=400, body=json.dumps(refused), headers={"X-Status-Reason": reason},
            method="POST", path="/Lead", times=1,
        )  # fmt: skip
        stack.wait_for(stack.submit(person(2), 202), "dead")
        click = {"channel": "telegram", "session": "s", "referral_code": "ADA"}
        answer = requests.post(f"{stack.url}/api/v1/messenger-events", json=click, timeout=DEADLINE)
        assert answer.ok, answer.text
        yield stack


@pytest.fixture(scope="module")
def prometheus(watched: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    server = Prometheus(tmp_path_factory.mktemp("prometheus"), watched)
    server.process.start()
    wait_until("it has scraped the gateway", lambda: "crmgate_build_info" in server.names())
    yield server
    server.process.kill()


def test_every_metric_that_is_named_exists(prometheus: Prometheus) -> None:
    expressions = [*of_the_rules(), *of_the_board()]
    assert len(expressions) > 30
    named = {name for text in expressions for name in re.findall(r"\bcrmgate_\w+", text)}
    assert {"crmgate_delivery_seconds_bucket", "crmgate_clicks_total", "crmgate_suspects"} < named
    assert named - prometheus.names() == set()


@pytest.mark.parametrize("expression", [*dict.fromkeys([*of_the_rules(), *of_the_board()])])
def test_every_expression_works(prometheus: Prometheus, expression: str) -> None:
    assert prometheus.ask("query", query=expression)["resultType"] == "vector"


def test_the_labels_of_the_rules_and_of_the_board_exist(prometheus: Prometheus) -> None:
    texts = " ".join([*of_the_rules(), *of_the_board()])
    grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", texts) for label in group.split(",")}
    matched = set(re.findall(r"(\w+)=~?\"", texts))
    assert grouped | matched <= set(prometheus.ask("labels"))


def test_the_figures_arrive(prometheus: Prometheus) -> None:
    def samples(query: str) -> dict[str, float]:
        found = prometheus.ask("query", query=query)["result"]
        return {" ".join(str(v) for k, v in sorted(each["metric"].items())): float(each["value"][1]) for each in found}

    by_cause = "max by (provider, code, field) (crmgate_dead_letters) > 0"
    assert samples(by_cause) == {"invalid_value source espocrm": 1.0}
    assert samples("max by (channel) (crmgate_clicks_total)")["telegram"] == 1
    assert samples("max(crmgate_delivery_seconds_count)")[""] >= 1


def test_the_server_evaluates_the_rules(prometheus: Prometheus) -> None:
    def rules() -> list[Any]:
        return [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]

    wait_until("each rule was evaluated", lambda: all(rule["health"] != "unknown" for rule in rules()))
    assert {rule["name"]: rule.get("lastError") for rule in rules() if rule["health"] != "ok"} == {}
    assert len(rules()) == len(of_the_rules())


def test_promtool_accepts_the_rules(prometheus: Prometheus) -> None:
    promtool = str(Path(need("prometheus")).with_name("promtool"))
    for arguments in (["check", "rules", str(RULES)], ["check", "config", str(prometheus.config)]):
        done = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

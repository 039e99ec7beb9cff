"""`crmgate plugins try` as a process against CRMs over HTTP; its recording answers the plugin as the CRM did."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from crmgate.testing import FakeCRM, ReplayedCRM
from crmgate.testing.espocrm import FakeEspoCRM
from tests.cli.conftest import Run, output_of
from tests.plugin_host.trial.crm import CANARIES, KEY, LivelyAcme, SlowSearch
from tests.processes import DEADLINE, ROOT
from tests.testing.contract.acme import Acme

PLUGIN = "from tests.testing.contract.acme import Acme as Base\n\n\nclass Acme(Base):\n    pass\n"
IN_MEMORY = "from tests.plugin_host.trial.crm import InMemory as Base\n\n\nclass Memory(Base):\n    pass\n"
ESPO_KEY = "KEY-OF-THE-GATEWAY"


@dataclass
class Tried:
    """A CRM that was tried, the output of the command, and the recording."""

    crm: FakeCRM
    plugin: Path
    returncode: int
    output: dict[str, Any]
    recording: Path

    def text(self) -> str:
        return "".join(path.read_text() for path in self.recording.iterdir())


def tried(name: str, crm: FakeCRM, folder: Path, plugin: Path, **settings: str) -> Tried:
    recording = folder / "recording"
    command = [sys.executable, "-m", "crmgate", "plugins", "try", name, "--yes", "--json", "--record", str(recording)]
    env = os.environ | {"PYTHONPATH": str(ROOT), "PLUGINS_DIR": str(folder / "plugins"), "CRM_TIMEOUT": "30"} | settings
    result = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=DEADLINE)
    assert result.stdout, result.stderr
    return Tried(crm, plugin, result.returncode, json.loads(result.stdout), recording)


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tried]:
    folder = tmp_path_factory.mktemp("acme")
    plugin = folder / "plugins/acme.py"
    plugin.parent.mkdir()
    plugin.write_text(PLUGIN)
    with LivelyAcme() as crm:
        crm.tables["fields"] = [{"name": name} for name in Acme.lead_fields.values()]
        yield tried("acme", crm, folder, plugin, ACME_URL=crm.url, ACME_KEY=KEY)


@pytest.fixture(scope="module")
def espo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tried]:
    with FakeEspoCRM(api_key=ESPO_KEY) as crm:
        folder = tmp_path_factory.mktemp("espo")
        yield tried("espocrm", crm, folder, ROOT / "plugins/espocrm", ESPOCRM_URL=crm.url, ESPOCRM_API_KEY=ESPO_KEY)


@pytest.fixture(params=["acme", "espo"])
def either(request: pytest.FixtureRequest) -> Tried:
    found: Tried = request.getfixturevalue(request.param)
    return found


def test_the_steps_pass_and_the_records_are_named(either: Tried) -> None:
    states = {step["name"]: step["state"] for step in either.output["steps"]}
    assert (either.returncode, either.output["ok"]) == (0, True), either.output
    assert set(states.values()) == {"ok", "skipped"}
    assert [name for name, state in states.items() if state == "skipped"] == ["clean-up"]
    assert [one["step"] for one in either.output["records"]] == ["create", "minimal"]
    stored = json.dumps(either.crm.records(), default=str)
    assert all(one["id"] in stored for one in either.output["records"])
    assert stored.count("please delete ") >= 1


def test_the_recording_holds_no_secret_and_no_person(either: Tried) -> None:
    text = either.text()
    found = [canary for canary in (*CANARIES, ESPO_KEY, str(either.crm.port)) if canary in text]
    sent = [request for request in either.crm.requests if request.method == "POST"]
    email = next(word for word in sent[0].body.decode().split('"') if word.endswith("@example.com"))
    assert found == []
    assert email.removesuffix("@example.com") not in text
    assert "crmgate-test-000000000000@example.com" in text


def test_the_plugin_passes_the_same_steps_on_the_replay(either: Tried) -> None:
    with ReplayedCRM(either.recording) as crm:
        steps = crm.repeat(either.plugin)
    assert [step.name for step in steps if step.ok is False] == []
    assert len(steps) == len(either.output["steps"])
    assert crm.unused == []
    assert len(crm.requests) == len(either.crm.requests)


def test_the_example_of_the_documentation_works(acme: Tried, tmp_path: Path) -> None:
    page = (ROOT / "docs/plugins/trying.md").read_text()
    [example] = re.findall(r"<!-- example: replay -->\n+```python\n(.*?)```", page, re.DOTALL)
    shutil.copytree(acme.recording, tmp_path / "tests/plugins/recordings/acme")
    shutil.copytree(acme.plugin.parent, tmp_path / "plugins")
    names = {"__file__": str(tmp_path / "tests/plugins/test_acme.py")}
    exec(example, names)
    test: Any = names["test_the_plugin_does_what_it_did_with_the_real_account"]
    test()
    (tmp_path / "plugins/acme.py").write_text(PLUGIN.replace("pass", "lead_fields = {'email': 'mail'}"))
    with pytest.raises(AssertionError, match="the plugin differs from the recording"):
        test()


def test_a_changed_request_is_named(acme: Tried) -> None:
    class Changed(Acme):
        lead_fields = Acme.lead_fields | {"city": "town"}

    with ReplayedCRM(acme.recording) as crm, pytest.raises(AssertionError) as caught:
        crm.repeat(Changed)
    assert "POST /leads is not in the recording" in str(caught.value)
    assert '"town": "Reykjavik"' in str(caught.value)


def test_a_request_that_is_no_longer_sent_is_named(acme: Tried) -> None:
    with ReplayedCRM(acme.recording) as crm:
        crm.unused.append(crm.unused[0])
        with pytest.raises(AssertionError, match="the plugin no longer sends GET /"):
            crm.repeat(Acme)


@pytest.fixture
def slow(folder: Path) -> Iterator[tuple[SlowSearch, dict[str, str]]]:
    (folder / "plugins").mkdir()
    (folder / "plugins/acme.py").write_text(PLUGIN)
    with SlowSearch() as crm:
        crm.lag = 0
        yield crm, {"ACME_URL": crm.url, "ACME_KEY": KEY}


def test_it_asks_first_and_a_no_sends_nothing(run: Run, slow: tuple[SlowSearch, dict[str, str]]) -> None:
    crm, settings = slow
    for answer in ("n\n", ""):
        result = run("plugins", "try", "acme", stdin=answer, **settings)
        assert result.exit_code == 1
        assert f"ACME_URL: {crm.url}" in result.stdout
        assert "ACME_KEY: is set" in result.stdout
        assert "crmgate test please delete" in result.stdout
        assert KEY not in result.output
    assert crm.requests == []


def test_the_answer_yes_starts_it(run: Run, slow: tuple[SlowSearch, dict[str, str]]) -> None:
    crm, settings = slow
    result = run("plugins", "try", "acme", stdin="y\n", **settings)
    assert result.exit_code == 0, result.output
    assert "11 steps passed, 0 failed." in result.stdout
    assert "Delete these test records in the CRM:" in result.stdout
    assert len(crm.tables["leads"]) == 2


def test_a_step_that_fails_says_what_to_do(run: Run, slow: tuple[SlowSearch, dict[str, str]], folder: Path) -> None:
    crm, settings = slow
    crm.fail("answer", method="POST", path="/leads", status=401, body="{}")
    result = run("plugins", "try", "acme", "--yes", "--record", "rec", **settings)
    assert result.exit_code == 1
    assert "What to do: Check the key, and the rights of its user" in result.stdout
    assert "failed: create." in result.stdout
    with ReplayedCRM(folder / "rec") as replayed:
        assert [step.name for step in replayed.repeat(Acme) if step.ok is False] == ["create"]


def test_a_plugin_without_http_has_nothing_to_record(run: Run, folder: Path, slow: Any) -> None:
    (folder / "plugins/acme.py").write_text(IN_MEMORY)
    result = run("plugins", "try", "memory", "--yes", "--record", "rec")
    assert result.exit_code == 0, result.output
    assert "create        ok" in result.stdout
    assert "find minimal  ok" in result.stdout
    assert "There is nothing to record: the plugin sent no request with self.request." in result.stdout
    assert not (folder / "rec").exists()
    assert "perhaps" not in result.stdout, "nothing was sent for hooks that the plugin lacks"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("acme", "--json"), 2, "add --yes"),
        (("nobody", "--yes"), 2, "NAME, got 'nobody': there is no such plugin."),
        (("acme", "--yes", "--record", "plugins"), 2, "it has other files, such as "),
    ],
)
def test_a_wrong_use_sends_nothing(
    run: Run, slow: tuple[SlowSearch, dict[str, str]], arguments: tuple[str, ...], status: int, message: str
) -> None:
    crm, settings = slow
    result = run("plugins", "try", *arguments, **settings)
    assert result.exit_code == status
    assert message in result.stderr
    assert crm.requests == []


def test_wrong_settings_are_named(run: Run, slow: tuple[SlowSearch, dict[str, str]]) -> None:
    result = run("plugins", "try", "acme", "--yes", ACME_URL="nonsense")
    assert result.exit_code == 2
    assert "ACME_URL" in result.stderr
    assert "ACME_KEY" in result.stderr


def test_other_settings_of_the_gateway_may_be_wrong(run: Run, slow: tuple[SlowSearch, dict[str, str]]) -> None:
    _, settings = slow
    result = run("plugins", "try", "acme", "--yes", "--json", REDIS_URL="nonsense", CRM_PROVIDER="other", **settings)
    assert result.exit_code == 0, result.output
    assert output_of(result)["recorded"] == []

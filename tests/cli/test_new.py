"""`crmgate plugins new`: the new plugin works before its author changes anything."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from crmgate.plugin_host.loader import discover
from tests.cli.conftest import Run, output_of
from tests.processes import DEADLINE, Process, RedisProcess, gunicorn, huey_worker, wait_until

FILES = ["plugins/acme.py", "tests/plugins/test_acme.py", "docs/plugins/acme.md"]


@pytest.fixture
def acme(run: Run, folder: Path) -> Path:
    """A folder with an unchanged new plugin."""
    assert run("plugins", "new", "acme").exit_code == 0
    return folder


@pytest.mark.parametrize(
    "name",
    ["", "Acme", "9crm", "_acme", "acme_", "a__b", "a-b", "a.b", "../acme", "acme.py", "añil", "a b", "a" * 31, "redis",
     "crm", "c_r_m", "plugins", "espocrm", "alerts"],
)  # fmt: skip
def test_a_bad_name_is_refused(run: Run, folder: Path, name: str) -> None:
    result = run("plugins", "new", "--", name)
    assert result.exit_code == 2
    assert "cannot be the name of a plugin" in result.stderr
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("existing", FILES)
def test_no_file_is_overwritten_and_then_none_is_written(run: Run, folder: Path, existing: str) -> None:
    path = folder / existing
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    result = run("plugins", "new", "acme")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"there is already {existing}." in result.stderr
    assert [file for file in folder.rglob("*") if file.is_file()] == [path]
    assert path.read_text() == "mine"


def test_where_a_file_cannot_be_written_none_is(run: Run, folder: Path) -> None:
    (folder / "docs").write_text("no folder")
    result = run("plugins", "new", "acme")
    assert result.exit_code == 1
    assert "Nothing was written." in result.stderr
    assert not (folder / "plugins/acme.py").exists()


def test_it_prints_the_written_files_and_the_next_steps(run: Run, folder: Path) -> None:
    result = run("plugins", "new", "acme", PLUGINS_DIR="crms")
    assert result.exit_code == 0
    assert "  crms/acme.py\n  tests/plugins/test_acme.py\n  docs/plugins/acme.md\n" in result.stdout
    assert "crmgate plugins check crms/acme.py" in result.stdout
    assert '.parents[2] / "crms/acme.py"' in (folder / "tests/plugins/test_acme.py").read_text()
    answer = output_of(run("plugins", "new", "other", "--json"))
    assert answer["files"] == [path.replace("acme", "other") for path in FILES]
    assert answer["settings"] == ["OTHER_URL", "OTHER_KEY"]
    assert len(answer["next"]) == 4


def test_the_plugins_folder_may_be_elsewhere(run: Run, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert run("plugins", "new", "acme", PLUGINS_DIR=str(elsewhere)).exit_code == 0
    assert f'"{elsewhere}/acme.py"' in (folder / "tests/plugins/test_acme.py").read_text()
    assert (elsewhere / "acme.py").exists()


@pytest.mark.parametrize("name", ["my_crm_2", "lead", "fake", "test", "x", "class", "provider"])
def test_the_name_is_put_in_everywhere(run: Run, folder: Path, name: str) -> None:
    files = output_of(run("plugins", "new", name, "--json"))["files"]
    for file in files:
        text = (folder / file).read_text()
        assert "acme" not in text.lower()
        if file.endswith(".py"):
            compile(text, file, "exec")
    found = discover(folder / "plugins")
    assert (list(found.providers), found.quarantined) == ([name], [])
    assert set(found.providers[name].Settings().fields) == {f"{name.upper()}_URL", f"{name.upper()}_KEY"}


def test_its_test_passes(acme: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", FILES[1]]
    result = subprocess.run(command, cwd=acme, capture_output=True, text=True, timeout=5 * DEADLINE)
    assert result.returncode == 0, result.stdout
    assert " passed" in result.stdout


def test_the_check_passes(acme: Path) -> None:
    """Runs as a process, because it imports the test under its own name."""
    command = [sys.executable, "-m", "crmgate", "plugins", "check", FILES[0]]
    result = subprocess.run(command, cwd=acme, capture_output=True, text=True, timeout=5 * DEADLINE)
    shown = [line.partition(": ")[0] for line in result.stderr.splitlines()]
    assert (result.returncode, shown) == (0, [f"{number} of {len(shown)}" for number in range(1, len(shown) + 1)])
    assert result.stdout.endswith("\nNo problem.\n")


@pytest.fixture
def crm(acme: Path) -> Iterator[Any]:
    """The fake CRM of the new plugin's test."""
    spec = importlib.util.spec_from_file_location("new_plugin_test", acme / FILES[1])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.FakeAcme() as fake:
        yield fake


@pytest.fixture
def gateway(acme: Path, crm: Any) -> Iterator[str]:
    """A gateway that found the plugin in its folder."""
    redis = RedisProcess(acme / "redis")
    settings = {"PLUGINS_DIR": str(acme / "plugins"), "ACME_URL": crm.url, "ACME_KEY": crm.key}
    env = settings | {"CRM_PROVIDER": "acme", "REDIS_URL": redis.url}
    web, worker = gunicorn(acme, env, workers=1), huey_worker(acme, env)
    processes: list[Process] = [redis, web, worker]
    for process in processes:
        process.start()
    url = f"http://127.0.0.1:{web.env['PORT']}"
    wait_until("the gateway is ready", lambda: _is_ready(url))
    yield url
    for process in reversed(processes):
        process.kill()


def _is_ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/readyz", timeout=DEADLINE).status_code == 200
    except requests.RequestException:
        return False


def test_it_delivers_through_a_running_gateway(gateway: str, crm: Any) -> None:
    body = {"first_name": "Ada", "email": "ada@example.com", "phone": "+905321234567", "budget": "10,500 EUR"}
    at_once = requests.post(f"{gateway}/api/v1/applications", json=body, timeout=DEADLINE)
    assert at_once.status_code == 201, at_once.text
    (lead,) = crm.leads
    assert (lead["first_name"], lead["mobile"]) == ("Ada", "+905321234567")
    assert lead["reference"] == at_once.json()["id"]
    assert "Budget: 10,500 EUR" in lead["description"]

    crm.fail("drop", when="after", times=1)
    later = requests.post(f"{gateway}/api/v1/applications", json=body | {"email": "b@example.com"}, timeout=DEADLINE)
    assert later.status_code == 202, later.text
    status = gateway + later.headers["Location"]
    wait_until("the worker found it", lambda: requests.get(status, timeout=DEADLINE).json()["status"] == "delivered")
    assert [lead["email"] for lead in crm.leads] == ["ada@example.com", "b@example.com"]

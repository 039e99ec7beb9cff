"""The image: what it holds, and how its containers start."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest
import requests
from packaging.requirements import Requirement

from crmgate import __version__
from crmgate.testing.espocrm import FakeEspoCRM
from tests.deploy.files import ROOT
from tests.distributions import needed_by
from tests.integration.stack import person
from tests.processes import DEADLINE, Process, RedisProcess, gunicorn, huey_worker, wait_until

DOCKERFILE = (ROOT / "Dockerfile").read_text()
ENTRYPOINT = str(ROOT / "contrib/docker/entrypoint.sh")
ADMIN = {"ESPOCRM_ADMIN_USERNAME": "admin", "ESPOCRM_ADMIN_PASSWORD": "Admin-Fake-1"}
STARTERS = ["Procfile", "docker-compose.yml", "contrib/systemd/crmgate-worker.service", "crmgate/cli/dev.py"]


def test_every_package_is_pinned() -> None:
    text = (ROOT / "contrib/docker/constraints.txt").read_text()
    pins = [Requirement(line) for line in re.findall(r"^(\S+==[^\\\n]+) \\$", text, re.MULTILINE)]
    versions = {pin.name: str(pin.specifier).removeprefix("==") for pin in pins}
    assert needed_by(distribution("crmgate").requires or ()) - versions.keys() == set(), (
        "pin them in contrib/docker/constraints.txt"
    )
    for requirement in map(Requirement, distribution("crmgate").requires or ()):
        version = versions.get(requirement.name)
        assert version is None or version in requirement.specifier


def test_every_pin_has_the_hashes_of_its_packages() -> None:
    """pip needs them for all, or for none. `contrib/docker/hashes.py` writes them."""
    text = (ROOT / "contrib/docker/constraints.txt").read_text()
    pins = re.split(r"(?<!\\)\n", text.strip())
    assert all(re.fullmatch(r"\S+==[^\\\n]+( \\\n    --hash=sha256:[0-9a-f]{64})+", pin) for pin in pins)
    assert "--require-hashes -r constraints.txt" in DOCKERFILE


def test_what_it_copies_is_there_and_is_let_in() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists()
            assert any(source == path or source.startswith(f"{path}/") for path in let_in), source


def test_its_labels_name_the_version_of_the_code_and_the_base() -> None:
    labels = dict(re.findall(r'org\.opencontainers\.image\.([\w.]+)="(.*?)"', DOCKERFILE))
    assert labels.keys() >= {"title", "description", "licenses"}
    assert labels["version"] == __version__
    assert labels["base.name"].endswith("/python:${PYTHON}")


def test_it_is_no_root_and_says_whether_it_lives() -> None:
    assert re.search(r"^USER (\d+)", DOCKERFILE, re.MULTILINE)
    assert "HEALTHCHECK" in DOCKERFILE
    assert "/healthz" in DOCKERFILE


@pytest.mark.parametrize("file", STARTERS)
def test_the_worker_is_stopped_gracefully(file: str) -> None:
    words = (ROOT / file).read_text().replace('"', " ").replace(",", " ").split()
    start = words.index("crmgate.worker.huey")
    assert words[words.index("--graceful-signal", start) + 1] == "TERM"
    assert words[words.index("--worker-type", start) + 1] == "thread"


@pytest.fixture
def espocrm() -> Iterator[FakeEspoCRM]:
    """An EspoCRM that was just installed: it has the fields of the module, and nobody but its administrator."""
    with FakeEspoCRM(api_key=None) as crm:
        yield crm


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisProcess]:
    process = RedisProcess(tmp_path / "redis")
    process.start()
    yield process
    process.kill()


def behind_the_entrypoint(process: Process) -> Process:
    process.command = [ENTRYPOINT, *process.command]
    return process


def test_after_the_start_of_everything_a_lead_arrives_without_a_manual_step(
    tmp_path: Path, espocrm: FakeEspoCRM, redis: RedisProcess
) -> None:
    keys = tmp_path / "keys"
    env = {
        "CRM_PROVIDER": "espocrm", "ESPOCRM_URL": espocrm.url, "ESPOCRM_API_KEY": "", "REDIS_URL": redis.url,
        "ESPOCRM_API_KEY_FILE": str(keys / "ESPOCRM_API_KEY"),
    }  # fmt: skip
    web, worker = (behind_the_entrypoint(one) for one in (gunicorn(tmp_path, env, 1), huey_worker(tmp_path, env)))
    setup = Process(
        "setup", [sys.executable, "-m", "crmgate", "crm", "setup", "--yes", "--save", str(keys)], tmp_path,
        ADMIN | {"CRM_PROVIDER": "espocrm", "ESPOCRM_URL": espocrm.url},
    )  # fmt: skip
    try:
        for process in (web, worker):
            process.start()
        wait_until("both wait", lambda: all("Waiting for EspoCRM's key" in one.output() for one in (web, worker)))
        setup.start()
        assert setup.popen is not None
        assert setup.popen.wait(DEADLINE) == 0, setup.output()
        url = f"http://127.0.0.1:{web.env['PORT']}"
        wait_until("the gateway is ready", lambda: _ready(url))
        response = requests.post(f"{url}/api/v1/applications", json=person(1), timeout=DEADLINE)
        assert response.status_code == 201, response.text
        queued = requests.post(
            f"{url}/api/v1/applications", json=person(2), headers={"Prefer": "respond-async"}, timeout=DEADLINE
        )
        assert queued.status_code == 202
        wait_until("the worker has delivered", lambda: len(espocrm.leads) == 2)
        key = (keys / "ESPOCRM_API_KEY").read_text().strip()
        assert not [one.name for one in (web, worker, setup) if key in one.output()]
        assert (web.stop(), worker.stop()) == (0, 0)
    finally:
        for process in (web, worker, setup):
            process.kill()


def _ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/readyz", timeout=DEADLINE).status_code == 200
    except requests.RequestException:
        return False


@pytest.mark.parametrize("env", [
    {"CRM_PROVIDER": "bitrix", "ESPOCRM_API_KEY_FILE": "/does/not/exist"},
    {"CRM_PROVIDER": "espocrm", "ESPOCRM_API_KEY": "key", "ESPOCRM_API_KEY_FILE": "/does/not/exist"},
    {"CRM_PROVIDER": "espocrm"},
])  # fmt: skip
def test_nothing_waits_that_needs_no_key_from_a_file(env: dict[str, str]) -> None:
    done = subprocess.run(
        [ENTRYPOINT, "echo", "a b"], env=env, capture_output=True, text=True, timeout=DEADLINE, check=True
    )
    assert (done.stdout, done.stderr) == ("a b\n", "")


def test_who_waits_can_be_stopped(tmp_path: Path) -> None:
    env = {"CRM_PROVIDER": "espocrm", "ESPOCRM_API_KEY_FILE": str(tmp_path / "key")}
    process = Process("waiting", [ENTRYPOINT, *shlex.split("echo never")], tmp_path, env)
    process.start()
    wait_until("it waits", lambda: "Waiting" in process.output())
    process.stop()
    assert "never" not in process.output()

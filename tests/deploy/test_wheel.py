"""The wheel: what `pip install` and `pipx run crmgate dev` give a user who has no checkout."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import PathDistribution, distribution
from pathlib import Path

import pytest
import requests

from tests.deploy.files import ROOT
from tests.distributions import needed_by
from tests.processes import DEADLINE, Process, free_port, wait_until

SOURCES = ("crmgate", "plugins", "setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
COMPILED = shutil.ignore_patterns("__pycache__", "*.egg-info")
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
PYTHON_PACKAGES = Path("lib") / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources: a build leaves files behind, which a later build would take in."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=COMPILED)
        else:
            shutil.copy(source, folder / name)
    run(*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder / "dist"), str(folder))
    [built] = (folder / "dist").iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel and what it requires: links to the packages of this environment."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder)
    packages = folder / PYTHON_PACKAGES
    for name in needed_by(requirements(wheel)):
        link(name, packages)
    run(*PIP, "--python", str(folder / "bin/python"), "install", "--no-deps", "--no-index", str(wheel))
    return folder


def requirements(wheel: Path) -> list[str]:
    [metadata] = (part for part in zipfile.Path(wheel).iterdir() if part.name.endswith(".dist-info"))
    return PathDistribution(metadata).requires or []


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 0, done.stdout + done.stderr


def link(name: str, packages: Path) -> None:
    """Link the modules and the metadata of a distribution into the folder `packages`."""
    found = distribution(name)
    for top in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
        if not (packages / top).exists():
            (packages / top).symlink_to(found.locate_file(top))


def crmgate(installed: Path, folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the command `crmgate` of the wheel in `folder`, with `settings` and nothing else in the environment."""
    command = [str(installed / "bin/crmgate"), *arguments]
    return subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, timeout=DEADLINE)


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_every_file_of_the_package_and_every_shipped_plugin_is_in_it(wheel: Path) -> None:
    sources = {path for top in ("crmgate", "plugins") for path in (ROOT / top).rglob("*") if path.is_file()}
    expected = {str(path.relative_to(ROOT)) for path in sources if "__pycache__" not in path.parts}
    expected = {name.replace("plugins/", "crmgate/plugins/", 1) if name.startswith("plugins/") else name
                for name in expected}  # fmt: skip
    found = {name for name in names_in(wheel) if ".dist-info/" not in name}
    assert expected - found == set(), "setup.cfg, [options.package_data], leaves them out of the wheel"
    assert found - expected == set()


def test_in_an_empty_folder_it_has_all_the_plugins(installed: Path, tmp_path: Path) -> None:
    done = crmgate(installed, tmp_path, "plugins", "list", "--json", CRM_PROVIDER="espocrm")
    assert done.returncode == 0, done.stdout + done.stderr
    listed = json.loads(done.stdout)
    assert {one["name"]: one["active"] for one in listed["providers"]} == {
        "bitrix": False, "espocrm": True, "hubspot": False, "mail": False, "sandbox": False, "webhook": False,
    }  # fmt: skip
    assert [Path(one["file"]).name for one in listed["listeners"]] == ["alerts.py"]
    assert listed["quarantined"] == []
    folders = {Path(one["file"]).parent for one in (*listed["providers"], *listed["listeners"])}
    assert folders == {installed / PYTHON_PACKAGES / "crmgate/plugins"}


def test_a_plugin_of_the_user_is_added(installed: Path, tmp_path: Path) -> None:
    assert crmgate(installed, tmp_path, "plugins", "new", "acme").returncode == 0
    done = crmgate(installed, tmp_path, "plugins", "list", "--json", CRM_PROVIDER="acme")
    assert done.returncode == 0, done.stdout + done.stderr
    names = {one["name"]: one["file"] for one in json.loads(done.stdout)["providers"]}
    assert names.keys() == {"acme", "bitrix", "espocrm", "hubspot", "mail", "sandbox", "webhook"}
    assert names["acme"] == "plugins/acme.py"


@pytest.fixture
def dev(installed: Path, tmp_path: Path) -> Iterator[Process]:
    """`crmgate dev` in an empty folder."""
    empty = tmp_path / "empty"
    empty.mkdir()
    settings = {"PORT": str(free_port()), "PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1", "WEB_CONCURRENCY": "1"}
    command = ["env", "--ignore-environment", f"--chdir={empty}", *(f"{k}={v}" for k, v in settings.items())]
    process = Process("dev", [*command, str(installed / "bin/crmgate"), "dev"], tmp_path, settings)
    process.start()
    yield process
    if process.running:
        process.stop(signal.SIGINT)
    process.kill()


def test_in_an_empty_folder_the_whole_gateway_starts_and_delivers_a_lead(dev: Process) -> None:
    wait_until("the gateway is ready", lambda: "crmgate is ready" in dev.output() or not dev.running)
    assert dev.running, dev.output()
    url = f"http://127.0.0.1:{dev.env['PORT']}"
    lead = {"first_name": "Ada", "email": "ada@example.com"}
    answer = requests.post(f"{url}/api/v1/applications", json=lead, timeout=DEADLINE)
    assert (answer.status_code, answer.json()["status"]) == (201, "delivered"), answer.text
    for page in ("/docs", "/demo", "/static/crmgate.js", "/api/v1/openapi.json"):
        assert requests.get(url + page, timeout=DEADLINE).status_code == 200, page

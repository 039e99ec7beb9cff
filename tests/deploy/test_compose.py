"""docker-compose.yml: what can be proven of it without a Docker engine."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from dotenv import dotenv_values
from redis.backoff import NoBackoff
from redis.retry import Retry
from ruamel.yaml import YAML

from crmgate import __version__
from crmgate.cli.redis_server import executable, free_port
from crmgate.config import Settings
from tests.deploy.files import CADDYFILE, COMPOSE, NEW_ENV, ROOT, services
from tests.needs import need
from tests.processes import DEADLINE, Process, wait_until

NASTY = r"""a"b'c\d $e`f #g"""
NEVER = Retry(NoBackoff(), 0)
ESPOCRM_NEEDS = ("ESPOCRM_ADMIN_USERNAME", "ESPOCRM_ADMIN_PASSWORD", "ESPOCRM_DATABASE_PASSWORD")
WEB = ("web", "web2")
PROFILED = {"mysql", "espocrm", "espocrm-daemon", "espocrm-setup"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(COMPOSE, tmp_path)
    return tmp_path


def new_env(folder: Path, *domains: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", NEW_ENV, *domains], cwd=folder, capture_output=True, text=True, check=False)


def configured(folder: Path, **environ: str) -> dict[str, Any]:
    """The services as `docker-compose config` prints them, with everything filled in."""
    command = [need("docker-compose"), "--project-directory", str(folder), "-f", str(folder / COMPOSE.name), "config"]
    done = subprocess.run(
        command, cwd=folder, env={"PATH": os.environ["PATH"]} | environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    configuration: dict[str, Any] = YAML(typ="safe").load(done.stdout)["services"]
    return configuration


def test_it_is_valid_for_the_compose_specification() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_docker_compose_takes_it_with_a_new_env(folder: Path) -> None:
    assert new_env(folder, "app.example.com", "crm.example.com").returncode == 0
    written = dotenv_values(folder / ".env")
    configuration = configured(folder)
    assert configuration.keys() == services().keys()
    assert configuration["espocrm"]["environment"]["ESPOCRM_ADMIN_PASSWORD"] == written["ESPOCRM_ADMIN_PASSWORD"]
    assert configuration["caddy"]["environment"]["CRM_DOMAIN"] == "crm.example.com"
    assert configuration["web"]["environment"]["COMPOSE_PROFILES"] == "espocrm"


def test_the_settings_of_web_and_worker_are_good_and_hold_no_secret_of_a_neighbour(folder: Path) -> None:
    new_env(folder, "app.example.com", "crm.example.com")
    (folder / "key").write_text("KEY\n")
    configuration = configured(folder)
    for service in (*WEB, "worker"):
        given = configuration[service]["environment"]
        held = [name for name, value in given.items() if value and ("PASSWORD" in name or "ADMIN" in name)]
        assert held == ["REDIS_PASSWORD"]
        Settings.load(given)
        assert given["ESPOCRM_API_KEY_FILE"].startswith("/run/crmgate/")
    assert configuration["espocrm-setup"]["environment"]["ESPOCRM_ADMIN_PASSWORD"]


def test_without_a_password_for_redis_nothing_starts(folder: Path) -> None:
    (folder / ".env").write_text("APP_DOMAIN=app.example.com\n")
    with pytest.raises(AssertionError, match="set REDIS_PASSWORD in"):
        configured(folder)


def test_a_new_env_is_private_and_never_overwrites_one(folder: Path) -> None:
    assert new_env(folder).returncode == 2
    assert not (folder / ".env").exists()
    assert new_env(folder, "app.example.com").returncode == 0
    assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600
    before = (folder / ".env").read_text()
    again = new_env(folder, "other.example.com")
    assert (again.returncode, (folder / ".env").read_text()) == (1, before)


def test_bitrix_starts_no_espocrm(folder: Path) -> None:
    new_env(folder, "app.example.com")
    configuration = configured(folder)
    assert configuration["web"]["environment"]["COMPOSE_PROFILES"] == "bitrix"
    assert _started(folder, "bitrix") == services().keys() - PROFILED
    assert _started(folder, "espocrm") == services().keys()


def _started(folder: Path, profile: str) -> set[str]:
    """What docker-compose would start: asked from its own parts, since `config` shows every profile's services."""
    script = """
import sys
from unittest.mock import MagicMock
from compose.config import config
from compose.config.environment import Environment
from compose.project import Project

folder, profile = sys.argv[1:]
details = config.find(folder, ["docker-compose.yml"], Environment.from_env_file(folder))
project = Project.from_config("crmgate", config.load(details), MagicMock(), None, enabled_profiles=[profile])
print(*(service.name for service in project.get_services(include_deps=True)))
"""
    interpreter = Path(need("docker-compose")).read_text().split("\n", 1)[0].removeprefix("#!").strip()
    done = subprocess.run(
        [interpreter, "-W", "ignore", "-c", script, str(folder), profile], cwd=folder, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_what_starts_always_depends_on_nothing_of_a_profile() -> None:
    for name in services().keys() - PROFILED:
        assert not PROFILED & set(services()[name].get("depends_on", ()))
    assert all(services()[name]["profiles"] == ["espocrm"] for name in PROFILED)


def test_only_caddy_publishes_ports() -> None:
    assert [name for name, service in services().items() if "ports" in service] == ["caddy"]


def test_every_image_is_pinned_to_a_version() -> None:
    images = [service["image"] for service in services().values() if "build" not in service]
    assert all(re.fullmatch(r"[a-z/]+:(\$\{[A-Z_]+:-)?[0-9]+\.[0-9.]+(-alpine)?\}?", image) for image in images), images


def test_the_image_has_the_version_of_the_code() -> None:
    built = {service["image"] for service in services().values() if "build" in service}
    assert built == {f"crmgate:{__version__}"}


@pytest.mark.parametrize("name", services())
def test_a_container_can_do_little(name: str) -> None:
    service = services()[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    if "build" in service:
        assert service["read_only"] is True
        assert "cap_add" not in service


@pytest.mark.parametrize("name", services())
def test_a_container_has_a_limit_of_memory_processors_and_processes(name: str) -> None:
    assert {"mem_limit", "cpus", "pids_limit"} <= services()[name].keys()


@pytest.mark.parametrize("name", services())
def test_a_container_is_checked(name: str) -> None:
    check = services()[name]["healthcheck"]
    assert "disable" not in check
    assert check.keys() >= {"test", "interval", "timeout", "retries"} or name in WEB, "the check of the image"


@pytest.mark.parametrize("name", [*WEB, "worker"])
def test_a_first_start_is_no_failed_start(name: str) -> None:
    """They wait for the key until EspoCRM has installed itself, and the setup has written it."""
    waiting = [services()[other]["healthcheck"]["start_period"] for other in ("espocrm", "espocrm-setup")]
    assert seconds(services()[name]["healthcheck"]["start_period"]) >= sum(map(seconds, waiting))


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def test_espocrm_reaches_no_web_server() -> None:
    """They are in one network, so that the gateway reaches EspoCRM; there no web server listens."""
    of_espocrm = {network for name in PROFILED for network in services()[name]["networks"]}
    for name in WEB:
        networks, words = services()[name]["networks"], services()[name]["command"]
        hosts = {words[at + 1].partition(":")[0] for at, word in enumerate(words) if word == "--bind"}
        [(network, [alias])] = [(network, of["aliases"]) for network, of in networks.items() if of]
        assert hosts == {alias, "127.0.0.1"}
        assert network not in of_espocrm
        assert f"{alias}:8000" in CADDYFILE.read_text()


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Process]:
    """The command of the container that sets EspoCRM up, run here with a stand-in for the command `crmgate`."""
    [shell, flag, script] = services()["espocrm-setup"]["command"]
    process = Process("setup", [shell, flag, script.replace("/run/crmgate", str(tmp_path))], tmp_path)
    process.env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    yield process
    process.kill()


def checked(folder: Path) -> int:
    """The status of the container's health check."""
    [kind, *command] = services()["espocrm-setup"]["healthcheck"]["test"]
    assert kind == "CMD"
    moved = [word.replace("/run/crmgate", str(folder)) for word in command]
    return subprocess.run(moved, check=False).returncode


def stand_in(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_the_setup_stays_when_it_is_done(setup: Process, tmp_path: Path) -> None:
    stand_in(tmp_path, "crmgate", f'echo "$*"; echo KEY > {tmp_path}/ESPOCRM_API_KEY')
    assert checked(tmp_path) == 1
    setup.start()
    wait_until("it is healthy", lambda: checked(tmp_path) == 0)
    assert setup.output() == f"crm setup --yes --save {tmp_path}\n"
    wait_until("it waits", lambda: b"infinity" in Path(f"/proc/{setup.pid}/cmdline").read_bytes())


def test_a_setup_that_fails_ends_and_is_tried_again(setup: Process, tmp_path: Path) -> None:
    stand_in(tmp_path, "crmgate", "exit 1")
    setup.start()
    assert setup.popen is not None
    assert setup.popen.wait(DEADLINE) == 1
    assert services()["espocrm-setup"]["restart"].startswith("on-failure")


DEPLOY = str(ROOT / "contrib/docker/deploy.sh")
REPLACE = "compose up -d --no-build --no-deps --wait {}"


def deployed(folder: Path, *options: str, failing: str = "none") -> tuple[int, list[str]]:
    """The status of the script, and what it asked of a stand-in for Docker that fails at `failing`."""
    stand_in(folder, "docker", f'echo "$*"\ncase "$*" in *"--wait {failing}" | "{failing}") exit 1 ;; esac')
    environ = {"PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", DEPLOY, *options], env=environ, capture_output=True, text=True, check=False)
    assert ("not healthy" in done.stderr) == ("--wait" in done.stdout and done.returncode == 1)
    return done.returncode, done.stdout.splitlines()


def test_a_deploy_replaces_one_service_after_the_other(tmp_path: Path) -> None:
    one_by_one = [REPLACE.format(name) for name in (*WEB, "worker")]
    assert deployed(tmp_path) == (0, ["compose build web", *one_by_one])
    assert deployed(tmp_path, "--no-build") == (0, one_by_one)
    assert deployed(tmp_path, "--unknown") == (2, [])


def test_a_deploy_ends_at_the_first_service_that_is_not_healthy(tmp_path: Path) -> None:
    assert deployed(tmp_path, failing="web2")[1][-1] == REPLACE.format("web2")
    assert deployed(tmp_path, failing="compose build web") == (1, ["compose build web"])


def test_the_gateway_gets_more_time_to_stop_than_it_takes() -> None:
    command = services()["worker"]["command"]
    shutdown = int(command[command.index("--shutdown-timeout") + 1])
    graces = [seconds(services()[name]["stop_grace_period"]) for name in (*WEB, "worker")]
    assert min(graces) >= shutdown + 10
    assert all(services()[name]["init"] is True for name in (*WEB, "worker")), "signals reach the process"


def test_redis_takes_any_password_and_shows_none(tmp_path: Path) -> None:
    """The command of the container, run here."""
    port, [shell, flag, script] = free_port(), services()["redis"]["command"]
    moved = script.replace("$$", "$").replace("/run/", f"{tmp_path}/").replace("/data", str(tmp_path))
    moved = moved.replace("exec redis-server", f"exec {executable()}").rstrip() + f" --bind 127.0.0.1 --port {port}\n"
    moved = moved.replace("${REDIS_MAXMEMORY:-256mb}", "256mb")
    process = Process("redis", [shell, flag, moved], tmp_path, {"REDIS_PASSWORD": NASTY})
    left = tmp_path / "temp-rewriteaof-bg-7.aof"  # by a Redis that was killed during a rewrite
    left.touch()
    process.start()
    try:
        client = redis.Redis(port=port, password=NASTY, retry=NEVER)
        wait_until("redis answers", lambda: _pings(client))
        assert not left.exists()
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("hash-max-ziplist-value") == {"hash-max-ziplist-value": "4096"}
        assert client.config_get("maxmemory") == {"maxmemory": str(256 * 1024**2)}
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=port, retry=NEVER).ping()
        assert NASTY.encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert stat.S_IMODE((tmp_path / "redis.conf").stat().st_mode) == 0o600
        client.close()
    finally:
        process.kill()


def _pings(client: Any) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


@pytest.mark.parametrize("missing", ["", *ESPOCRM_NEEDS])
def test_espocrm_does_not_start_with_the_password_of_its_image(tmp_path: Path, missing: str) -> None:
    """The entrypoint of the container, run here with a stand-in for the image's own."""
    stand_in = tmp_path / "docker-entrypoint.sh"
    stand_in.write_text('#!/bin/sh\necho "started $*"\n')
    stand_in.chmod(0o755)
    entrypoint = [part.replace("$$", "$") for part in services()["espocrm"]["entrypoint"]]
    environ = {name: "" if name == missing else "x" for name in ESPOCRM_NEEDS}
    done = subprocess.run(
        [*entrypoint, *services()["espocrm"]["command"]], env=environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if missing:
        assert done.returncode == 1
        assert missing in done.stderr
    else:
        assert done.stdout == "started apache2-foreground\n"


def test_the_files_that_are_mounted_exist() -> None:
    for service in services().values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert not source.startswith(".") or (ROOT / source).exists(), source

"""Every environment variable in the deployment files is read by a program, and every one that is read stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.deploy.files import (
    DROP_IN,
    ROOT,
    UNITS,
    known_names,
    services,
    used_in_caddyfile,
    used_in_compose,
)
from tests.test_docs import container_names

GATEWAY = ("web", "web2", "worker", "espocrm-setup")
PYTHON = {"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}
COMPOSE_ITSELF = {"COMPOSE_PROFILES"}
SCRIPT = ROOT / "contrib/sql/init/03-espocrm.sh"


def test_every_variable_of_the_compose_file_is_known() -> None:
    """`WORKER_PROCESSES` is read by `crmgate dev` and by Docker Compose, not by the gateway."""
    assert used_in_compose() <= known_names() | {"WORKER_PROCESSES"}


@pytest.mark.parametrize("service", GATEWAY)
def test_the_gateway_is_given_no_setting_that_it_does_not_have(service: str) -> None:
    assert set(services()[service]["environment"]) <= known_names()


@pytest.mark.parametrize("service", GATEWAY)
def test_every_setting_of_env_reaches_the_gateway(service: str) -> None:
    assert services()[service]["env_file"] == ".env"


def test_every_variable_of_the_caddyfile_is_known_and_handed_over() -> None:
    assert used_in_caddyfile() <= container_names()
    given = set(services()["caddy"]["environment"])
    assert given <= used_in_caddyfile()
    # The rest is for a Caddy that is no container: ports, and where the others are.
    assert used_in_caddyfile() - given == {
        "HTTP_PORT", "HTTPS_PORT", "WEB_UPSTREAM", "CRM_UPSTREAM",
    }  # fmt: skip


@pytest.mark.parametrize("unit", [*UNITS, DROP_IN], ids=lambda unit: unit.name)
def test_every_variable_of_a_unit_is_known(unit: Path) -> None:
    lines = re.findall(r"^#?Environment=(.+)$", unit.read_text(), re.MULTILINE)
    assert {name for line in lines for name in re.findall(r"([A-Z_]+)=", line)} <= known_names() | PYTHON


def test_every_name_for_the_containers_is_used() -> None:
    used = used_in_compose() | used_in_caddyfile() | COMPOSE_ITSELF
    assert container_names() <= used


def test_the_database_is_given_what_its_script_reads() -> None:
    read = set(re.findall(r"\$\{([A-Z_]+)", SCRIPT.read_text()))
    assert read == set(services()["mysql"]["environment"])

"""The files of the deployment, read once, and the names of the environment in them."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.test_docs import container_names, settings

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
CADDYFILE = ROOT / "Caddyfile"
UNITS = sorted((ROOT / "contrib/systemd").glob("*.service"))
DROP_IN = ROOT / "contrib/systemd/caddy.service.d/crmgate.conf"
NEW_ENV = ROOT / "contrib/docker/new-env.sh"


@cache
def services() -> dict[str, dict[str, Any]]:
    """The services of docker-compose.yml as they are written; variables are not filled in."""
    written: dict[str, dict[str, Any]] = YAML(typ="safe").load(COMPOSE.read_text())["services"]
    return written


def known_names() -> set[str]:
    """Every name that may stand in `.env`, with the files of secrets."""
    return settings() | container_names() | {f"{name}_FILE" for name in settings()}


def used_in_compose() -> set[str]:
    return set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", COMPOSE.read_text()))


def used_in_caddyfile() -> set[str]:
    return set(re.findall(r"\{\$([A-Z_]+)", CADDYFILE.read_text()))


def drop_in() -> dict[str, str]:
    """The environment of Debian's Caddy, as systemd reads it: C escapes in quotes (systemd.exec(5))."""
    found = re.findall(r'^Environment=("?)([A-Z_]+)=(.*?)\1$', DROP_IN.read_text(), re.MULTILINE)
    return {name: value.encode().decode("unicode_escape") if quote else value for quote, name, value in found}

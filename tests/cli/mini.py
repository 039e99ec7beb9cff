"""A CRM stored in the file `crm.json`, for the tests of the command line; MINI_MODE sets how it fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from crmgate import hookimpl
from crmgate.errors import AuthFailed, ConfigError, Unavailable
from crmgate.model import Check, Connection, CrmField, Delivered, Provision, Step
from crmgate.provider import CRMProvider, ProviderSettings, fields, secret

NEEDED = ("referral", "reference")


class Mini(CRMProvider):
    name = "mini"
    label = "Mini CRM"

    class Settings(ProviderSettings):
        MINI_TOKEN = secret(required=True)
        MINI_ADMIN = secret()
        MINI_KEY = secret()
        MINI_MODE = fields.String(load_default="")

    @hookimpl
    def create_lead(self) -> Delivered:
        raise Unavailable

    @hookimpl
    def create_minimal_lead(self) -> Delivered:
        raise Unavailable

    @hookimpl
    def find_lead(self) -> None:
        return None

    @hookimpl
    def test_connection(self) -> Connection:
        print("a plugin that prints")
        match self.settings["MINI_MODE"]:
            case "crash":
                raise ZeroDivisionError(self.settings["MINI_TOKEN"])
            case "refused":
                hint = (
                    "the token "
                    + self.settings["MINI_TOKEN"]
                    + " is refused [red]: check\x1b[2J MINI_TOKEN. "
                    + "x" * 200
                )
                return Connection("mini", False, 1.5, (Check("address", True), Check("token", False, hint)))
        return Connection("mini", True, 12.3, (Check("address", True), Check("token", True)))

    @hookimpl
    def describe_fields(self) -> tuple[CrmField, ...]:
        if self.settings["MINI_MODE"] == "refused":
            raise AuthFailed(f"the token {self.settings['MINI_TOKEN']} is refused")
        there = _state()["fields"]
        options = tuple(f"option{number}" for number in range(40))
        return tuple(
            CrmField(name, f"{name}_c", "enum", options) if name in there
            else CrmField(name, f"{name}_c", problem=f"there is no such field ({self.settings['MINI_TOKEN']})")
            for name in NEEDED
        )  # fmt: skip

    @hookimpl
    def provision(self, apply: bool) -> Provision:
        if "MINI_ADMIN" not in self.settings:
            raise ConfigError(["MINI_ADMIN: setting it up takes an administrator."])
        state = _state()
        for name in NEEDED if apply else ():
            if self.settings["MINI_MODE"] == "half" and name == "reference":
                raise Unavailable("the CRM went away")
            state["fields"] = sorted({*state["fields"], name})
            Path("crm.json").write_text(json.dumps(state))
        steps = tuple(
            Step(f"field {name}, by {self.settings['MINI_ADMIN']}", name in state["fields"]) for name in NEEDED
        )
        return Provision(steps, {"MINI_KEY": "it's a key", "MINI_TOKEN": self.settings["MINI_TOKEN"]})


def _state() -> dict[str, Any]:
    path = Path("crm.json")
    return dict(json.loads(path.read_text())) if path.exists() else {"fields": []}

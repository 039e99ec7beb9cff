"""Rights of the API user, as EspoCRM lists them for its own client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from crmgate.errors import ProviderError
from crmgate.model import Check

from .api import EspoApi

Right = tuple[str, str, str]
"""Entity type, action, and the level that crmgate needs."""
CHECKED: Mapping[str, tuple[Right, ...]] = {
    "create leads": (("Lead", "create", "yes"),),
    "read leads": (("Lead", "read", "all"),),
    "update leads": (("Lead", "edit", "all"),),
    "log activities": (("Call", "create", "yes"), ("Lead", "stream", "all")),
}
"""Rights by the name of their check. One of the rights is enough."""
_NARROW = {"yes": ("no",), "all": ("no", "own", "team")}
"""Levels that are too narrow, by the level that is needed."""


@dataclass(frozen=True)
class EspoRights:
    """Rights of the API user. For an administrator's key EspoCRM may list none: what is not listed is allowed.

    `assignment` is the level of the right to assign records to other users; empty: not listed.
    """

    scopes: Mapping[str, Any] = field(default_factory=dict)
    lead_fields: Mapping[str, Any] = field(default_factory=dict)
    assignment: str = ""
    own_id: str = ""

    @classmethod
    def read(cls, api: EspoApi) -> EspoRights:
        """The rights as they are now. Raises `ProviderError`."""
        body = api.read("App/user")
        user, acl = _dict(body.get("user")), _dict(body.get("acl"))
        fields = _dict(_dict(acl.get("fieldTable")).get("Lead"))
        return cls(
            _dict(acl.get("table")), fields, str(acl.get("assignmentPermission") or ""), str(user.get("id") or "")
        )

    @classmethod
    def listed(cls, api: EspoApi) -> EspoRights:
        """The rights; none are listed if EspoCRM refuses to show them. Raises `ProviderError` without an answer."""
        try:
            return cls.read(api)
        except ProviderError as error:
            if error.status is None:
                raise
            return cls()

    def checks(self) -> Iterator[Check]:
        """One check for each entry of `CHECKED`."""
        for name, rights in CHECKED.items():
            held = [f"{scope}: {action}: {self._level(scope, action)}" for scope, action, _ in rights]
            narrow = all(self._level(scope, action) in _NARROW[needed] for scope, action, needed in rights)
            needed = " or ".join(": ".join(right) for right in rights)
            detail = f"the role of the API user has {' and '.join(held)}, but crmgate needs {needed}"
            yield Check(name, not narrow, detail if narrow else "")

    def field_problem(self, name: str) -> str:
        """The effect of a role that hides or protects a field of Lead; empty: it does not."""
        rule = _dict(self.lead_fields.get(name))
        if rule.get("read") == "no":
            return "the role of the API user hides it: its value goes into the description. Allow to read it"
        if rule.get("edit") == "no":
            return "the role of the API user may not edit it: its value goes into the description. Allow to edit it"
        return ""

    def _level(self, scope: str, action: str) -> str:
        rule = self.scopes.get(scope)
        if rule is False:  # no access at all
            return "no"
        return str(_dict(rule).get(action) or "")


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}

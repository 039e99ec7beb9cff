"""The setup of Bitrix24: user fields."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress

from crmgate.errors import AuthFailed, Rejected
from crmgate.model import Provision, Step
from crmgate.provider import FieldMap

from .answers import ADMIN
from .api import BitrixApi
from .fields import BitrixFields
from .values import targets


class BitrixSetup:
    """Creates the user fields that the mapping `wanted` names and the portal lacks."""

    def __init__(self, api: BitrixApi, fields: BitrixFields, wanted: FieldMap) -> None:
        self._api, self._fields, self._wanted = api, fields, wanted

    def provision(self, apply: bool) -> Provision:
        """List the user fields; with `apply`, create the missing ones as text. Raises `ProviderError`."""
        wanted = {name: fact for fact, name in targets(self._wanted, "UF_")}
        missing = wanted.keys() - self._fields.read().keys()
        if apply and missing:
            for name in filter(re.compile(r"UF_CRM_[A-Z0-9_]{1,43}").fullmatch, sorted(missing)):
                self._add_field(name, wanted[name])
            self._fields.forget()
            missing = wanted.keys() - self._fields.read().keys()
        steps = [
            Step(f"{self._api.target.name} field {name} ({fact})", name not in missing) for name, fact in wanted.items()
        ]
        return Provision((*steps, *self._administrator()) if missing else tuple(steps))

    def _administrator(self) -> Iterator[Step]:
        profile = self._api.call("profile", {}, safe=True)["result"]
        yield Step(ADMIN, isinstance(profile, dict) and profile.get("ADMIN") is True)

    def _add_field(self, name: str, fact: str) -> None:
        """Add a text field. A field that the portal refuses is still missing afterwards."""
        names = {"FIELD_NAME": name.removeprefix("UF_CRM_"), "LABEL": fact.replace("_", " ").capitalize()}
        kind = {"USER_TYPE_ID": "string", "MULTIPLE": "N", "MANDATORY": "N", "SHOW_FILTER": "Y"}
        params = {"fields": names | kind | {"XML_ID": f"CRMGATE_{fact.upper()}"}}
        try:
            with suppress(Rejected):
                self._api.call(f"crm.{self._api.target.name}.userfield.add", params, safe=False)
        except AuthFailed as error:
            raise AuthFailed(ADMIN, code=error.code, vendor_code=error.vendor_code, status=error.status) from None

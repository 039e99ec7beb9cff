"""The fields of a lead: standard fields, user fields that an administrator added, and their valid values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from crmgate.testing.bitrix24.wire import Params, VendorError, flatten, integer, text, yes

SOURCES = {
    "CALL": "Call",
    "EMAIL": "E-Mail",
    "WEB": "Website",
    "ADVERTISING": "Advertising",
    "PARTNER": "Existing client",
    "RECOMMENDATION": "By recommendation",
    "TRADE_SHOW": "Exhibition",
    "WEBFORM": "CRM form",
    "CALLBACK": "Callback",
    "RC_GENERATOR": "Sales boost",
    "STORE": "Online store",
    "OTHER": "Other",
}
"""The sources of a new portal. The administrator of a portal may edit them."""

STAGES = {
    "NEW": "Unassigned",
    "IN_PROCESS": "In progress",
    "PROCESSED": "Processed",
    "JUNK": "Junk lead",
    "CONVERTED": "Good lead",
}

# fmt: off
USER_TYPES = frozenset((
    "string", "integer", "double", "boolean", "datetime", "date", "money", "url", "address", "enumeration",
    "file", "employee", "crm_status", "iblock_section", "iblock_element", "crm",
))
# fmt: on

LENGTHS = {"title": 255, "name": 50, "lastName": 50}
"""Maximum number of characters that a field keeps. The rest is cut, and the answer shows that."""

PRESET = {
    "UF_CRM_REFERRAL_CODE": "Referral code",
    "UF_CRM_1234567892": "Source",
    "UF_CRM_1234567893": "User type",
    "UF_CRM_1234567894": "Language",
    "UF_CRM_1234567896": "Field of study",
    "UF_CRM_1234567897": "University",
}


@dataclass(frozen=True)
class Field:
    """One standard field: `name` in `crm.item.*`, `old` in `crm.lead.*`."""

    name: str
    type: str = "string"
    read_only: bool = False
    old: str = ""

    @property
    def upper(self) -> str:
        return self.old or re.sub(r"(?<!^)([A-Z])", r"_\1", self.name).upper()


STANDARD = {
    item.name: item
    for item in (
        Field("id", "integer", read_only=True),
        Field("title"),
        Field("honorific"),
        Field("name"),
        Field("secondName"),
        Field("lastName"),
        Field("birthdate", "date"),
        Field("companyTitle"),
        Field("post"),
        Field("stageId", "crm_status", old="STATUS_ID"),
        Field("stageSemanticId", read_only=True, old="STATUS_SEMANTIC_ID"),
        Field("statusDescription", "text"),
        Field("sourceId", "crm_status"),
        Field("sourceDescription", "text"),
        Field("comments", "text"),
        Field("opportunity", "double"),
        Field("currencyId"),
        Field("isManualOpportunity", "boolean"),
        Field("opened", "boolean"),
        Field("assignedById", "user"),
        Field("originatorId"),
        Field("originId"),
        Field("webformId", "integer"),
        Field("utmSource"),
        Field("utmMedium"),
        Field("utmCampaign"),
        Field("utmContent"),
        Field("utmTerm"),
        Field("createdBy", "user", read_only=True, old="CREATED_BY_ID"),
        Field("updatedBy", "user", read_only=True, old="MODIFY_BY_ID"),
        Field("createdTime", "datetime", read_only=True, old="DATE_CREATE"),
        Field("updatedTime", "datetime", read_only=True, old="DATE_MODIFY"),
        Field("hasPhone", "boolean", read_only=True),
        Field("hasEmail", "boolean", read_only=True),
    )
}

BY_OLD_NAME = {item.upper: item for item in STANDARD.values()}


@dataclass
class UserField:
    """A field that an administrator added. `options` are the items of an enumeration: id -> text."""

    id: int
    name: str
    type: str = "string"
    label: str = ""
    xml_id: str | None = None
    multiple: bool = False
    mandatory: bool = False
    show_filter: bool = False
    sort: int = 100
    options: dict[int, str] = field(default_factory=dict)
    option_xml_ids: dict[int, str] = field(default_factory=dict)

    @property
    def camel(self) -> str:
        """The name in `crm.item.*` without `useOriginalUfNames`: `ufCrmReferralCode`, `ufCrm_1234567892`."""
        parts = self.name.removeprefix("UF_CRM_").split("_")
        return "ufCrm" + "".join(f"_{part}" if part[:1].isdigit() else part.capitalize() for part in parts)


def full_name(name: str) -> str:
    """The full name of a user field: in capitals, with the prefix `UF_CRM_`, which replaces a prefix `UF_`."""
    name = name.upper()
    code = name.removeprefix("UF_CRM_") if name.startswith("UF_CRM_") else name.removeprefix("UF_")
    name = f"UF_CRM_{code}"
    if len(name) > 50:
        raise VendorError("ERROR_CORE", "The field name is too long (more than 50 characters).<br>")
    if not re.fullmatch(r"[A-Z0-9_]+", name):
        raise VendorError("ERROR_CORE", "The field name contains invalid characters. Use A-Z, 0-9 and _.<br>")
    return name


@dataclass
class Values:
    """Checks a lead's values. An error names the field by code, or by label as the web pages do."""

    sources: Mapping[str, str] | None
    """The sources of the portal; None: any source is stored."""
    user_fields: Mapping[str, UserField]
    by_label: bool
    enforce_required: bool

    def check(self, values: Mapping[str, Any], complete: bool) -> None:
        """Refuse the first bad value; `complete`: the record is new, so mandatory fields count."""
        for name, value in values.items():
            if name in self.user_fields:
                self._check_user_field(self.user_fields[name], value)
            elif name in STANDARD and text(value) and not self._standard(STANDARD[name], value):
                raise self._refused(name)
        for item in self.user_fields.values():
            wanted = self.enforce_required and item.mandatory and (complete or item.name in values)
            if wanted and values.get(item.name) in (None, "", []):
                raise VendorError(
                    "CRM_FIELD_ERROR_REQUIRED", f'Required field "{self._called(item.name)}" is not filled'
                )

    def _standard(self, item: Field, value: Any) -> bool:
        if item.name == "stageId":
            return value in STAGES
        if item.name == "sourceId":
            return self.sources is None or value in self.sources
        return fits(item.type, value)

    def _check_user_field(self, item: UserField, value: Any) -> None:
        if item.multiple and value not in (None, "") and not isinstance(value, list | dict):
            kind = "string" if isinstance(value, str) else type(value).__name__
            raise VendorError("100", f"Expected iterable value for multiple field, but got {kind} instead")
        for single in flatten(value) if item.multiple else [value]:
            if single not in (None, "", False) and not self._user_value(item, single):
                raise self._refused(item.name)

    def _user_value(self, item: UserField, value: Any) -> bool:
        if item.type == "enumeration":
            return str(value) in {str(option) for option in item.options}
        return fits(item.type, value)

    def _refused(self, name: str) -> VendorError:
        return VendorError("CRM_FIELD_ERROR_VALUE_NOT_VALID", f'Invalid value of the field "{self._called(name)}"')

    def _called(self, name: str) -> str:
        # Open in the documentation: whether "field" in its text is the code or the label.
        item = self.user_fields.get(name)
        return item.label if item and self.by_label else name


def fits(kind: str, value: Any) -> bool:
    """Whether a value is of a field's type. Types without a rule of their own take any plain value."""
    if isinstance(value, list | dict):
        return False
    if kind in {"integer", "user", "employee"}:
        return re.fullmatch(r"-?[0-9]+", str(value)) is not None
    if kind == "double":
        return re.fullmatch(r"-?[0-9]+([.,][0-9]+)?", str(value)) is not None
    return True


def typed(kind: str, value: Any) -> Any:
    """A checked value as the portal stores and returns it. An invalid date is silently not set."""
    if kind in {"date", "datetime"}:
        return _moment(kind, text(value))
    if kind == "boolean":
        return "Y" if yes(value) else "N"
    if not text(value):
        return None
    if kind in {"integer", "user", "employee", "enumeration"}:
        return integer(value)
    return float(text(value).replace(",", ".")) if kind == "double" else text(value)


def _moment(kind: str, value: str) -> str | None:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return f"{moment:%Y-%m-%d}T03:00:00+03:00" if kind == "date" else value


def describe_standard(item: Field) -> Params:
    """A standard field in the answer of `crm.item.fields`."""
    return {
        "type": item.type,
        "isRequired": False,
        "isReadOnly": item.read_only,
        "isImmutable": False,
        "isMultiple": False,
        "isDynamic": False,
        "title": item.name,
        "upperName": item.upper,
    }


def describe_user_field(item: UserField) -> Params:
    """A user field in the answer of `crm.item.fields`."""
    description = {
        "type": item.type,
        "isRequired": item.mandatory,
        "isReadOnly": False,
        "isImmutable": False,
        "isMultiple": item.multiple,
        "isDynamic": True,
        "title": item.label,
        "listLabel": item.label,
        "formLabel": item.label,
        "filterLabel": item.label,
        "upperName": item.name,
    }
    items = [{"ID": str(option), "VALUE": value} for option, value in item.options.items()]
    return description | ({"items": items} if item.type == "enumeration" else {})


FM_FIELD = {
    "type": "crm_multifield",
    "isRequired": False,
    "isReadOnly": False,
    "isImmutable": False,
    "isMultiple": True,
    "isDynamic": False,
    "title": "fm",
    "upperName": "FM",
}

_LABELS = ("EDIT_FORM_LABEL", "LIST_COLUMN_LABEL", "LIST_FILTER_LABEL", "ERROR_MESSAGE", "HELP_MESSAGE")


def user_field_row(item: UserField, labelled: bool) -> Params:
    """A user field in the answer of `crm.lead.userfield.list`; labels come only with a filter on LANG."""
    row: Params = {
        "ID": str(item.id),
        "ENTITY_ID": "CRM_LEAD",
        "FIELD_NAME": item.name,
        "USER_TYPE_ID": item.type,
        "XML_ID": item.xml_id,
        "SORT": str(item.sort),
        "MULTIPLE": _flag(item.multiple),
        "MANDATORY": _flag(item.mandatory),
        "SHOW_FILTER": "E" if item.show_filter else "N",
        "SHOW_IN_LIST": "Y",
        "EDIT_IN_LIST": "Y",
        "IS_SEARCHABLE": "N",
        "SETTINGS": {},
    }
    labels = dict.fromkeys(_LABELS[:3], item.label) | dict.fromkeys(_LABELS[3:]) if labelled else {}
    return row | labels | ({"LIST": list(_option_rows(item))} if item.type == "enumeration" else {})


def _option_rows(item: UserField) -> Iterable[Params]:
    for position, (option, value) in enumerate(item.options.items(), start=1):
        xml_id = item.option_xml_ids.get(option, "")
        yield {"ID": str(option), "SORT": str(position * 10), "VALUE": value, "DEF": "N", "XML_ID": xml_id}


def _flag(value: bool) -> str:
    return "Y" if value else "N"

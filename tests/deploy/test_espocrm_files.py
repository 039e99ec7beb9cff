"""contrib/espocrm: the module that gives EspoCRM crmgate's fields, their labels and their places."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from crmgate.plugin_host.loader import discover
from plugins.espocrm.setup import NEW_FIELDS, TEXT_LENGTH
from tests.deploy.files import ROOT, services

MODULE = ROOT / "contrib/espocrm/custom/Espo/Modules/Crmgate"
RESOURCES = MODULE / "Resources"
ROW = re.compile(r"\| `(\w+C)` \|[^|]*\| *(\d*) *\|.*")
LANGUAGES = ("en_US", "tr_TR", "ru_RU")
FIELDS = {"referralCodeC", "userTypeC", "languageC", "fieldOfStudyC", "universityC", "crmgateOperationIdC"}


def read(path: str) -> Any:
    return json.loads((RESOURCES / path).read_text(encoding="utf-8"))


def named(layout: Any) -> set[str]:
    """Every field that a layout shows."""
    if isinstance(layout, dict) and "name" in layout:
        return {layout["name"]}
    children = layout.values() if isinstance(layout, dict) else layout if isinstance(layout, list) else ()
    return {name for child in children for name in named(child)}


@pytest.mark.parametrize("path", sorted(MODULE.rglob("*.*")), ids=lambda path: str(path.relative_to(RESOURCES)))
def test_every_file_is_json(path: Path) -> None:
    assert path.suffix == ".json"
    json.loads(path.read_text(encoding="utf-8"))


def test_every_custom_field_of_the_mapping_is_there_and_takes_what_is_sent() -> None:
    metadata = read("metadata/entityDefs/Lead.json")
    espocrm = discover(ROOT / "plugins", ("espocrm",)).providers["espocrm"]
    assert {name for name in espocrm.lead_fields.values() if name.endswith("C")} == metadata["fields"].keys() == FIELDS
    for fact, name in espocrm.lead_fields.items():
        options = metadata["fields"].get(name, {}).get("options")
        assert options is None or set(espocrm.lead_values[fact].values()) <= set(options)


def test_espocrm_refuses_a_second_lead_of_one_operation() -> None:
    metadata = read("metadata/entityDefs/Lead.json")
    assert metadata["indexes"]["crmgateOperationIdC"] == {"type": "unique", "columns": ["crmgateOperationIdC"]}
    operation_id = metadata["fields"]["crmgateOperationIdC"]
    assert operation_id["duplicateIgnore"] is True, "a lead that a person duplicates must not keep the id"
    assert not operation_id.get("readOnly"), "EspoCRM drops what is sent to a read-only field"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_field_and_option_has_a_label(language: str) -> None:
    fields, words = read("metadata/entityDefs/Lead.json")["fields"], read(f"i18n/{language}/Lead.json")
    assert words["fields"].keys() == FIELDS
    for name, field in fields.items():
        assert set(words["options"].get(name, {})) == set(field.get("options", ()))
        assert bool(field.get("tooltip")) == (name in words["tooltips"])
    panels = {panel["label"] for panel in read("layouts/Lead/detail.json")} - {"Overview", "Details"}
    assert panels == words["labels"].keys()


def test_the_layouts_show_the_fields_and_are_the_ones_that_count() -> None:
    assert FIELDS - {"crmgateOperationIdC"} <= named(read("layouts/Lead/detail.json"))
    assert set(read("layouts/Lead/filters.json")) >= FIELDS
    shipped = {path.stem for path in (RESOURCES / "layouts/Lead").iterdir()}
    assert read("metadata/app/layouts.json")["Lead"] == {name: {"module": "Crmgate"} for name in shipped}


def test_it_is_mounted_where_the_image_copies_it_from() -> None:
    inside = f"/usr/src/espocrm/{MODULE.relative_to(ROOT / 'contrib/espocrm')}"
    assert f"./{MODULE.relative_to(ROOT)}:{inside}:ro" in services()["espocrm"]["volumes"]


STOCK_LAYOUTS = {
    "detail": {
        *("name", "accountName", "emailAddress", "phoneNumber", "title", "doNotCall", "address", "website"),
        *("description", "status", "source", "opportunityAmount", "campaign", "industry"),
    },
    "filters": {
        *("assignedUser", "address", "campaign", "createdAt", "createdBy", "emailAddress", "status", "source"),
        *("opportunityAmountConverted", "phoneNumber", "targetLists", "teams", "createdAccount"),
        *("modifiedAt", "streamUpdatedAt", "accountName", "industry"),
    },
}
"""Fields in the layouts of Lead of EspoCRM 9.2.7. A layout of a module replaces the stock one."""


@pytest.mark.parametrize("layout", STOCK_LAYOUTS)
def test_a_layout_hides_no_stock_field(layout: str) -> None:
    shipped = read(f"layouts/Lead/{layout}.json")
    shown = named(shipped) if layout == "detail" else set(shipped)
    assert STOCK_LAYOUTS[layout] - shown == set()
    assert shown - STOCK_LAYOUTS[layout] <= FIELDS


def test_every_way_of_the_setup_creates_the_same_lengths() -> None:
    """The files, `crmgate crm setup`, and the table of the setup page for people."""
    lengths = {name: field.get("maxLength") for name, field in read("metadata/entityDefs/Lead.json")["fields"].items()}
    page = (ROOT / "docs/espocrm-setup.md").read_text(encoding="utf-8")
    rows = [row for row in map(ROW.fullmatch, page.splitlines()) if row]
    assert {row[1]: int(row[2]) if row[2] else None for row in rows} == lengths
    espocrm = discover(ROOT / "plugins", ("espocrm",)).providers["espocrm"]
    for fact, name in espocrm.lead_fields.items():
        if name in FIELDS:
            assert NEW_FIELDS.get(fact, {"maxLength": TEXT_LENGTH}).get("maxLength") == lengths[name]

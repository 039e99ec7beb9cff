"""Problems that `crm test` reports before they affect a lead."""

from __future__ import annotations

from typing import Any

import pytest

from crmgate.testing.espocrm import GATEWAY_ROLE, OPERATION_FIELD, FakeEspoCRM
from tests.plugins.espocrm.rig import failing, provider


def problems(crm: FakeEspoCRM, **settings: str) -> str:
    """All problems that the connection test reports."""
    return " ".join(
        f"{name} {detail}" for name, detail in failing(provider(crm.url, **settings).test_connection()).items()
    )


@pytest.mark.parametrize("name", ["accountName", "officeC"])
def test_a_required_field_that_nothing_fills(crm: FakeEspoCRM, name: str) -> None:
    crm.add_field("officeC", "varchar")
    crm.require_field(name)
    assert name in problems(crm)


def test_a_missing_unique_index() -> None:
    with FakeEspoCRM(unique_operation_id=False) as crm:
        found = problems(crm)
    assert OPERATION_FIELD in found
    assert "index" in found


def test_an_assigned_user_that_does_not_exist(crm: FakeEspoCRM) -> None:
    assert "ESPOCRM_ASSIGNED_USER_ID" in problems(crm, ESPOCRM_ASSIGNED_USER_ID="nobody")


@pytest.mark.parametrize("read", ["yes", "no"])
def test_a_field_that_the_role_limits(crm: FakeEspoCRM, read: str) -> None:
    crm.limit_field("universityC", read=read)
    assert "universityC" in problems(crm)


@pytest.mark.parametrize("rights", [{"read": "own"}, {"edit": "own"}, {"read": "team"}, {"edit": "team"}])
def test_rights_that_are_too_narrow(crm: FakeEspoCRM, rights: dict[str, Any]) -> None:
    crm.set_role({**GATEWAY_ROLE, "Lead": {**GATEWAY_ROLE["Lead"], **rights}})
    (action, level), found = next(iter(rights.items())), problems(crm)
    assert action in found
    assert level in found


def test_an_option_that_a_list_lacks(crm: FakeEspoCRM) -> None:
    crm.set_options("userTypeC", ["", "parent"])
    assert "userTypeC" in problems(crm)


def states(crm: FakeEspoCRM, **settings: str) -> dict[str, str]:
    """The state of each field that has a problem."""
    return {line.name: line.found for line in provider(crm.url, **settings).describe_fields() if line.problem}


def test_each_field_has_its_state(crm: FakeEspoCRM) -> None:
    assert states(crm) == {}
    crm.remove_field("languageC")
    crm.set_options("userTypeC", ["", "parent"])
    crm.limit_field("universityC", read="yes")
    crm.add_field("officeC", "varchar", required=True)
    assert states(crm, ESPOCRM_MAP_CITY="emailAddress") == {
        "languageC": "missing", "userTypeC": "option_missing", "universityC": "read_only", "officeC": "required",
        "emailAddress": "problem",
    }  # fmt: skip


def test_the_state_of_a_mapped_field_that_not_every_lead_fills(crm: FakeEspoCRM) -> None:
    crm.require_field("emailAddress")
    assert states(crm) == {"emailAddress": "required"}


def test_the_state_of_a_field_without_an_index() -> None:
    with FakeEspoCRM(unique_operation_id=False) as crm:
        assert states(crm) == {OPERATION_FIELD: "problem"}

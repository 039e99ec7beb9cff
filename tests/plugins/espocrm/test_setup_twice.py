"""The setup of EspoCRM when it is killed, or runs twice at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from crmgate.errors import Duplicate, Unavailable
from crmgate.provider import time_budget
from crmgate.testing.espocrm import FakeEspoCRM
from tests.plugins.espocrm.rig import provider, written
from tests.plugins.espocrm.test_setup import ADMIN, NO_KEY, lead_fields, setup, undone

FEW = {f"ESPOCRM_MAP_{fact}": "" for fact in ("USER_TYPE", "LANGUAGE", "FIELD_OF_STUDY", "UNIVERSITY")}
CREATED = {"referralCodeC", "crmgateOperationIdC"}


@pytest.fixture
def stock() -> Iterator[FakeEspoCRM]:
    """EspoCRM as it was installed: no fields, no API user."""
    with FakeEspoCRM(custom_fields=False, api_key=None) as crm:
        yield crm


class Killed(BaseException):
    """The process ends: nothing is sent afterwards, also not by `finally`."""


def impatient(crm: FakeEspoCRM) -> Any:
    """A provider whose setup waits for no other one."""
    plugin = provider(crm.url, **ADMIN | NO_KEY | FEW)
    plugin._setup._lock.patience = 0.0
    return plugin


def killed_at(plugin: Any, number: int, *, sent: bool) -> bool:
    """Run the setup until a request, which is the last one that is `sent`. Returns whether it came so far."""
    original, count = plugin._transport.send, 0

    def send(*args: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == number and sent:
            original(*args, **options)
        if count >= number:
            raise Killed
        return original(*args, **options)

    plugin._transport.send = send
    try:
        setup(plugin)
    except Killed:
        return True
    return False


def settled(crm: FakeEspoCRM) -> dict[str, Any]:
    """What the setup leaves in EspoCRM."""
    records = crm.records()
    return {
        "fields": {name for name, one in lead_fields(crm).items() if one.get("isCustom")},
        "prefix": not crm.database.settings["customPrefixDisabled"],
        "roles": sorted(role["name"] for role in records["Role"] if not role["deleted"]),
        "users": [user["userName"] for user in records["User"] if user["type"] == "api"],
    }


WHOLE = {"fields": CREATED, "prefix": True, "roles": ["Gateway", "crmgate"], "users": ["crmgate"]}


@pytest.mark.parametrize(("number", "sent"), [(1, False), *((number, True) for number in range(1, 27))])
def test_a_killed_setup_is_completed_by_the_next(stock: FakeEspoCRM, number: int, sent: bool) -> None:
    """To EspoCRM, a kill before a request is the same as one after the request before it."""
    killed_at(impatient(stock), number, sent=sent)
    assert undone(setup(impatient(stock))) == []
    assert settled(stock) == WHOLE


def test_every_request_is_among_those(stock: FakeEspoCRM) -> None:
    assert not killed_at(impatient(stock), 27, sent=True)
    assert len(stock.requests) >= 20


def test_a_setting_of_the_administrator_is_kept_by_a_killed_setup(stock: FakeEspoCRM) -> None:
    stock.database.settings["customPrefixDisabled"] = True
    for number in range(8, 20, 3):
        killed_at(impatient(stock), number, sent=True)
    assert undone(setup(impatient(stock))) == []
    assert settled(stock) == WHOLE | {"prefix": False}


def test_an_interrupted_setup_is_a_step_until_another_one_ends_it(stock: FakeEspoCRM) -> None:
    setup(impatient(stock))
    stock.add_record("Role", name="crmgate setup under way, step 3, restores customPrefixDisabled", data={})
    stock.database.settings["customPrefixDisabled"] = True
    stock.requests.clear()
    (step,) = undone(setup(impatient(stock), apply=False))
    assert ("interrupted" in step, written(stock)) == (True, [])
    assert undone(setup(impatient(stock))) == []
    assert settled(stock) == WHOLE


@pytest.mark.parametrize("setups", [2, 4])
def test_setups_at_once_all_end_well(stock: FakeEspoCRM, setups: int) -> None:
    barrier = threading.Barrier(setups)

    def run(_: int) -> list[str]:
        plugin = provider(stock.url, **ADMIN | NO_KEY | FEW)
        barrier.wait()
        return undone(setup(plugin))

    with ThreadPoolExecutor(setups) as pool:
        assert list(pool.map(run, range(setups))) == [[]] * setups
    assert settled(stock) == WHOLE


def test_a_field_that_a_person_creates_meanwhile_is_no_error(stock: FakeEspoCRM) -> None:
    plugin = impatient(stock)
    reason = "Field 'referralCodeC' already exists in 'Lead'."
    stock.fail("answer", status=409, path="fieldManager", headers={"X-Status-Reason": reason}, times=1)
    assert [step.split(":")[0] for step in undone(setup(plugin))] == ["field referralCodeC of Lead"]
    assert undone(setup(plugin)) == []


def test_a_conflict_names_what_exists(stock: FakeEspoCRM) -> None:
    stock.fail("answer", status=409, path="v1/User", method="POST", headers={"X-Status-Reason": "userNameExists"})
    with pytest.raises(Duplicate, match=r"already has a record or a field of this name: User\Z"):
        setup(impatient(stock))


def test_a_setup_that_finds_another_one_says_so_when_its_time_is_over(stock: FakeEspoCRM) -> None:
    stock.add_record("Role", name="crmgate setup under way, step 3", data={})
    plugin = provider(stock.url, **ADMIN | NO_KEY | FEW)
    plugin._setup._lock.poll = 60.0
    with time_budget(30), pytest.raises(Unavailable, match="another setup"):
        setup(plugin)
    assert [role["name"] for role in stock.records()["Role"] if not role["deleted"]][1:] == [
        "crmgate setup under way, step 3"
    ]

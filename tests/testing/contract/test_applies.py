"""Which checks of the kit apply to a plugin: the others are no tests of it, and no declaration loses one silently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from crmgate.testing import FakeCRM, ProviderContract
from crmgate.testing.contract import Contract
from crmgate.testing.contract.applies import left_out
from crmgate.testing.contract.modes import ModeChecks
from tests.testing.contract import acme
from tests.testing.contract.acme import Acme
from tests.testing.contract.modal import AtMostOnce, Keyed
from tests.testing.mutation.mutate import contracts

ALL = {name for name in dir(ProviderContract) if name.startswith("test_")}
OF_MODES = {"delivery is exactly_once": 3}
NO_BATCHES = {"the plugin has no create_leads": 8}
NO_KEY = {"the plugin does not have the capability unique_key": 1}
OWN_RATE = {"the CRM limits the rate in its own way": 1}
NOTHING_BUT_LEADS = NO_BATCHES | NO_KEY | {
    "the plugin has no update_lead": 7, "the plugin has no log_activity": 4, "the plugin has no find_many": 3,
    "the plugin has no describe_fields": 2, "the plugin has no provision": 2,
}  # fmt: skip
LEFT_OUT: Mapping[str, Mapping[str, int]] = {
    "espocrm": OF_MODES | NO_BATCHES,
    "bitrix": OF_MODES | NO_KEY | OWN_RATE,
    "bitrix_deals": OF_MODES | NO_KEY | OWN_RATE | {"the plugin creates one lead at a time": 7},
    "hubspot": OF_MODES | NO_BATCHES,
    "sandbox": OF_MODES | NO_BATCHES | {"the plugin does not have the capability detects_duplicates": 5},
    "webhook": NOTHING_BUT_LEADS | {"delivery is idempotent": 13, "a successful status alone confirms": 3},
    "mail": NOTHING_BUT_LEADS | OWN_RATE | {"delivery is at_most_once": 16},
    "sheet": OF_MODES | NO_BATCHES | NO_KEY | {
        "the plugin has no find_many": 3, "the plugin has no preview": 1, "the plugin has no describe_fields": 2,
        "the plugin has no provision": 2,
    },
}  # fmt: skip
"""Number of checks that do not apply to a plugin, by the reason. All others run."""


@pytest.mark.parametrize("name", LEFT_OUT)
def test_each_plugin_has_all_checks_but_those_that_do_not_apply(name: str) -> None:
    contract = contracts()[name][1]
    assert Counter(left_out(contract).values()) == LEFT_OUT[name]
    assert checks_of(contract) == ALL - left_out(contract).keys()


def test_each_plugin_of_the_project_is_in_the_list() -> None:
    """The contract of `scaffold` is about a file that `crmgate plugins new` writes, and that of `oauth` is a part."""
    assert LEFT_OUT.keys() == contracts().keys() - {"scaffold", "oauth"}


class TestAcmeWithoutKeys(ModeChecks):
    """None of these checks applies to Acme: `test_pytest_collects_no_check_that_does_not_apply` looks for them."""

    plugin = Acme


def test_pytest_collects_no_check_that_does_not_apply(request: pytest.FixtureRequest) -> None:
    assert left_out(TestAcmeWithoutKeys).keys() == {name for name in vars(ModeChecks) if name.startswith("test_")}
    collected = [item for item in request.session.items if isinstance(item, pytest.Function)]
    assert request.node in collected
    assert [item.name for item in collected if item.cls is TestAcmeWithoutKeys] == []


def test_another_plugin_has_checks_of_its_own_although_the_base_class_left_them_out() -> None:
    keyed = type("Keys", (acme.TestAcme,), {"plugin": Keyed})
    once = type("Once", (keyed,), {"plugin": AtMostOnce})
    again = type("Again", (once,), {"plugin": Acme})
    assert {one for one in checks_of(keyed) if "idempotent" in one} - checks_of(again) != set()
    assert checks_of(once) - checks_of(keyed) == {"test_at_most_once_is_never_sent_after_an_unknown_outcome"}
    assert checks_of(again) == checks_of(acme.TestAcme)


def test_a_hook_without_its_capability_has_its_checks() -> None:
    """`test_capabilities_are_the_optional_hooks` reports it besides."""
    silent = type("Silent", (Acme,), {"capabilities": frozenset({"detects_duplicates"})})
    assert checks_of(type("Silent", (acme.TestAcme,), {"plugin": silent})) == checks_of(acme.TestAcme)


@pytest.mark.parametrize("source", [None, "raise ImportError", "import crmgate"])
def test_a_plugin_that_cannot_be_loaded_fails_each_check(source: str | None, tmp_path: Path) -> None:
    if source:
        (tmp_path / "acme.py").write_text(source)
    contract = type("Unloadable", (acme.TestAcme,), {"plugin": tmp_path / "acme.py"})
    assert checks_of(contract) == ALL
    with pytest.raises(Exception, match=r"acme\.py"):
        contract.provider_class()


@pytest.mark.parametrize("plugin", [None, property(lambda self: Acme)])
def test_a_class_that_names_no_plugin_has_all_checks_and_each_says_so(plugin: object) -> None:
    contract = type("Base", (ProviderContract,), {"plugin": plugin})
    assert checks_of(contract) == ALL
    with pytest.raises(AssertionError, match="The class of the contract has no `plugin`"):
        contract.provider_class()


def test_a_plugin_of_an_instance_is_none() -> None:
    contract = type("Later", (ProviderContract,), {})()
    contract.__dict__["plugin"] = Acme
    with pytest.raises(AssertionError, match="The class of the contract has no `plugin`"):
        contract.provider_class()


def test_wrong_capabilities_are_reported_by_a_check_not_by_the_import() -> None:
    nothing = type("Nothing", (Acme,), {"capabilities": None})
    contract = type("Wrong", (acme.TestAcme,), {"plugin": nothing})()
    contract.setup_method()
    with pytest.raises(AssertionError, match=r"capabilities is of type NoneType\."):
        contract.test_the_gateway_accepts_it()
    contract.teardown_method()


def test_a_delivery_that_the_settings_change_loses_no_check_silently() -> None:
    def start(self: Acme, *arguments: Any, **options: Any) -> None:
        Acme.__init__(self, *arguments, **options)
        self.delivery = "idempotent"  # type: ignore[misc]

    contract = type("Modal", (acme.TestAcme,), {"plugin": type("Changing", (Acme,), {"__init__": start})})()
    contract.setup_method()
    with pytest.raises(AssertionError, match="is idempotent with these settings, but exactly_once in the class"):
        contract.test_delivery_is_a_mode()
    contract.teardown_method()


def test_a_check_that_one_base_class_left_out_is_that_of_another_base_class() -> None:
    def test_update_makes_no_record(self: Contract) -> None:
        """Of an author whose CRM updates in its own way."""

    plain = type("Plain", (Acme,), {"capabilities": frozenset(), "update_lead": None})
    left = type("Left", (acme.TestAcme,), {"plugin": plain})
    assert "test_update_makes_no_record" in left_out(left)
    own = type("Own", (ProviderContract,), {"test_update_makes_no_record": test_update_makes_no_record})
    both = type("Both", (left, own), {})
    assert vars(both)["test_update_makes_no_record"] is test_update_makes_no_record


def test_a_check_of_the_author_s_own_stays() -> None:
    def test_retry_after_is_read_in_each_form(self: Contract) -> None:
        """Of a CRM that limits the rate in its own way."""

    def rate_limit(self: Contract, fake: FakeCRM) -> None:
        fake.fail("answer", status=503)

    own = {"rate_limit": rate_limit, "test_retry_after_is_read_in_each_form": test_retry_after_is_read_in_each_form}
    assert left_out(type("Own", (acme.TestAcme,), own)).keys() == left_out(acme.TestAcme).keys()
    del own["test_retry_after_is_read_in_each_form"]
    assert "test_retry_after_is_read_in_each_form" in left_out(type("Usual", (acme.TestAcme,), own))


@pytest.mark.parametrize(
    ("number", "batches", "said"),
    [
        (50, False, "leads_at_once is 50 with these settings. Remove `batches = False` from the contract."),
        (3, True, "leads_at_once is 3 with these settings. Set `batches = False` in the contract."),
        ("4", True, "leads_at_once is of type str."),
    ],
)
def test_a_wrong_description_of_batches_loses_no_check(number: object, batches: bool, said: str) -> None:
    plugin = type("Batches", (Acme,), {"leads_at_once": property(lambda self: number)})
    contract = type("Contract", (acme.TestAcme,), {"plugin": plugin, "batches": batches})()
    contract.setup_method()
    with pytest.raises(AssertionError) as caught:
        contract.test_leads_at_once_is_as_described()
    contract.teardown_method()
    assert said in str(caught.value)


def test_a_contract_that_returns_no_refused_lead_fails() -> None:
    contract = type("Contract", (acme.TestAcme,), {"refused_lead": lambda self, fake: None})()
    contract.setup_method()
    with pytest.raises(AssertionError, match="`refused_lead` returns None"):
        contract.test_a_refused_lead_fails_no_other_one()
    contract.teardown_method()


def checks_of(contract: type[Contract]) -> set[str]:
    """The checks that pytest collects: what can be called."""
    return {name for name in dir(contract) if name.startswith("test_") and callable(getattr(contract, name))}

"""The contract kit: a correct plugin passes every check, and each broken one fails those that are meant for it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from crmgate import hookimpl
from crmgate.model import Delivered, Kind, Operation
from crmgate.provider import CRMProvider
from crmgate.testing import ProviderContract
from crmgate.testing.contract import Contract
from crmgate.testing.contract.applies import NotApplicable
from crmgate.testing.contract.capabilities import CapabilityChecks
from crmgate.testing.contract.mapping import MappingChecks
from crmgate.testing.contract.once import OnceChecks
from tests.testing.contract import broken_answers, broken_batches, broken_hooks  # noqa: F401 - they register plugins
from tests.testing.contract.acme import Acme, TestAcme
from tests.testing.contract.broken import BROKEN
from tests.testing.contract.modal import AtMostOnce, Keyed
from tests.testing.contract.two_records import PersonAndLead

ALL_CHECKS = sorted(name for name in dir(TestAcme) if name.startswith("test_"))
SOME = 6
"""Every sixth plugin is held against all checks, the others against their own: all of them take a minute."""


@pytest.mark.parametrize("name", BROKEN)
def test_each_broken_plugin_fails_its_own_checks_and_no_other(name: str) -> None:
    plugin, expected, alone = BROKEN[name]
    every = not alone and [*BROKEN].index(name) % SOME == 0
    checks = ALL_CHECKS if every else sorted(expected)
    assert {check for check in checks if not passes(plugin, check)} == expected


def test_each_check_has_a_plugin_that_fails_it() -> None:
    checks = {name for name in dir(ProviderContract) if name.startswith("test_")}
    assert checks == set().union(*(failed for _, failed, _ in BROKEN.values()))


@pytest.mark.parametrize("plugin", [Keyed, AtMostOnce, PersonAndLead])
def test_a_correct_plugin_of_another_kind_fails_no_check(plugin: type[CRMProvider]) -> None:
    assert [check for check in ALL_CHECKS if not passes(plugin, check)] == []


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_of_operation_has_a_check_of_what_arrives(kind: Kind) -> None:
    def idle(self: Acme, operation: Operation) -> Delivered:
        return self.delivered("A1")

    plugin = type("Idle", (Acme,), {kind: hookimpl(idle)})
    failed = any(not passes(plugin, name) for name in named(MappingChecks, CapabilityChecks))
    assert failed, f"crmgate/testing/contract: no check fails for a plugin whose {kind} sends nothing"


def test_each_kind_of_operation_has_a_check_of_a_lost_answer() -> None:
    looked_up = set[Kind]()

    class Watched(Acme):
        @hookimpl
        def find_lead(self, operation: Operation) -> Delivered | None:
            looked_up.add(operation.kind)
            return super().find_lead(operation)

    assert {name for name in named(OnceChecks, CapabilityChecks) if not passes(Watched, name)} == set()
    assert looked_up == {*Kind}, "crmgate/testing/contract: no check loses the answer to the others and looks it up"


LOST = (
    "create_answered_with_html_is_outcome_unknown", "lost_answer_makes_no_second_record", "threads_share_a_provider",
    "operation_id_is_sent", "create_answered_with_nothing_is_outcome_unknown",
)  # fmt: skip


@pytest.mark.parametrize("check", LOST)
def test_what_to_write_for_a_receiver_with_keys_is_about_keys_and_not_about_a_look_up(check: str) -> None:
    """A first draft of a webhook: it sends no key, and takes any answer for a success."""

    class Draft(Keyed):
        def _post(self, record: dict[str, Any], operation: Operation) -> Delivered:
            self._send("POST", "leads", json={"first": record.get("first", "")})
            return self.delivered(operation.id)

    text = message(Draft, check)
    assert "find_lead" not in text
    assert "in self" not in text
    assert "key" in text
    assert ("body_confirms = False" in text) == ("with_nothing" in check)


def message(plugin: type[CRMProvider], check: str) -> str:
    """What a check says about a plugin that fails it."""
    contract = contract_of(plugin)()
    contract.setup_method()
    try:
        with pytest.raises(AssertionError) as caught:
            getattr(contract, f"test_{check}")()
    finally:
        contract.teardown_method()
    return str(caught.value)


@cache
def contract_of(plugin: type[Any]) -> type[Contract]:
    """The contract of a plugin, with little patience."""
    return type("Contract", (getattr(plugin, "contract", TestAcme),), {"plugin": plugin, "patience": 0.2})


def named(*parts: type[Contract]) -> list[str]:
    return [name for part in parts for name in vars(part) if name.startswith("test_")]


def passes(plugin: type[CRMProvider], check: str) -> bool:
    contract = contract_of(plugin)()
    test = getattr(contract, check)
    if isinstance(test, NotApplicable):
        return True
    contract.setup_method()
    try:
        test()
    except Exception:  # a plugin that cannot even be started fails, too
        return False
    finally:
        contract.teardown_method()
    return True


def test_no_part_of_the_contract_replaces_a_helper_of_another_part() -> None:
    parts = [part for part in ProviderContract.__mro__ if part not in (Contract, ProviderContract, object)]
    names = [name for part in parts for name in vars(part) if not name.startswith("__")]
    assert sorted(name for name in {*names} if names.count(name) > 1) == []


def test_the_kit_can_be_imported_without_pytest() -> None:
    code = "import sys; sys.modules['pytest'] = sys.modules['_pytest'] = None; import crmgate.testing"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


PAGE = Path(__file__).parents[3] / "docs" / "plugins" / "testing.md"


def test_the_documentation_shows_the_example_that_runs() -> None:
    page, source = PAGE.read_text(), Path(__file__).with_name("acme.py").read_text()
    shown = re.findall(r"^# docs:\n(.*?)\n+ *# docs: end$", source, re.MULTILINE | re.DOTALL)
    assert len(shown) == 2
    for example in shown:
        assert example.strip() in page, "copy the example again"
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        ast.parse(block)


def test_the_documentation_names_each_check_and_what_can_be_overridden() -> None:
    page = PAGE.read_text()
    checks = {name: getattr(ProviderContract, name) for name in dir(ProviderContract) if name.startswith("test_")}
    shown = re.findall(r"^- (`test_.*)", page, re.MULTILINE)
    assert sorted(shown) == sorted(f"`{name}`: {check.__doc__}" for name, check in checks.items())
    overridable = [name for name in vars(Contract) if not name.startswith("_")]
    author = overridable[: overridable.index("setup_method")]
    assert len(author) >= 9
    assert [name for name in author if f"| `{name}` |" not in page] == []

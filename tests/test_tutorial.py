"""The blocks of docs/plugins/tutorial.md are plugins that load, deliver and keep the contract."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from crmgate.errors import AuthFailed, ConfigError, OutcomeUnknown, ProviderError, RateLimited, Rejected, Unavailable
from crmgate.model import Activity, Kind, Lead, Operation, new_id
from crmgate.plugin_host.caller import HookCaller
from crmgate.plugin_host.loader import MODULE_PREFIX, Plugins, discover
from crmgate.testing.contract.applies import left_out
from tests.listeners import notify_at_the_end
from tests.processes import DEADLINE

PAGE = (Path(__file__).parent.parent / "docs" / "plugins" / "tutorial.md").read_text()
SECTIONS = dict(re.findall(r"^## (\d)\. .+?\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL))
BLOCKS = {
    int(number): re.findall(r"```python\n(.*?)```", text, re.DOTALL) for number, text in SECTIONS.items()
}  # fmt: skip
STAGES = [BLOCKS[number][0] for number in (1, 2, 3, 4)]
[CONTRACT] = BLOCKS[5]
GROWN, *UPDATES = BLOCKS[6]
CHANGES = {6: UPDATES, 7: BLOCKS[7], 8: BLOCKS[8]}
"""The blocks of a step, each of which adds to the class `Acme` or replaces a part of it."""
KEY = "the-key-of-the-test"
LEAD = Lead(first_name="Ada", last_name="Lovelace", email="ada@example.com", city="London", additional_info="Hello")


def stage(number: int, folder: Path) -> Plugins:
    """The plugins that load if a step of the tutorial is the only one."""
    (folder / "acme.py").write_text(STAGES[number - 1])
    plugins = discover(folder)
    assert [str(error) for error in plugins.quarantined] == []
    return plugins


def chosen(number: int, folder: Path, **settings: str) -> HookCaller:
    return stage(number, folder).choose("acme", settings, 2.0, ("127.0.0.1",))


def operation(data: Lead | Activity = LEAD, kind: Kind = Kind.CREATE_LEAD) -> Operation:
    return Operation(new_id(), kind, data.to_dict(), 0.0)


def changed(source: str, block: str) -> str:
    """A class with the functions and attributes of `block`, each in place of the one of the same name."""
    parts = ast.parse(source).body
    [into] = [part for part in parts if isinstance(part, ast.ClassDef) and part.name in ("Acme", "FakeAcme")]
    new = {name_of(part): part for part in ast.parse(block).body}
    kept = [new.pop(name_of(part), part) for part in into.body]
    attributes = [part for part in new.values() if isinstance(part, ast.Assign)]
    into.body = [*kept[:1], *attributes, *kept[1:], *(part for part in new.values() if part not in attributes)]
    return ast.unparse(ast.fix_missing_locations(ast.Module(parts, [])))


def name_of(part: ast.stmt) -> str:
    """Name of a function, of a class or of an attribute; of anything else, its source."""
    if isinstance(part, ast.FunctionDef | ast.ClassDef):
        return part.name
    return ast.unparse(part.targets[0] if isinstance(part, ast.Assign) else part)


def plugin_after(step: int, blocks: int) -> str:
    """The plugin after the first `blocks` of a step, and after all blocks of the steps before it."""
    imports = re.findall(r"`(\w+)` comes from `([\w.]+)`", PAGE)
    assert len(imports) == 2
    source = "".join(f"from {module} import {name}\n" for name, module in imports) + STAGES[-1]
    for block in [block for number in range(6, step) for block in CHANGES[number]] + CHANGES[step][:blocks]:
        source = changed(source, block)
    return source


def grown_contract() -> str:
    """The contract test of step 5 with the fake of step 6."""
    parts = re.findall(r"`(self\.\w+ = \[\])`|`(from [\w.]+ import \w+)`", SECTIONS["6"])
    assert len(parts) == 2
    source = f"{parts[1][1]}\n{CONTRACT}".replace("self.leads = []\n", f"self.leads = []\n        {parts[0][0]}\n")
    return changed(source, GROWN)


@pytest.fixture(autouse=True)
def _leave_no_modules() -> Iterator[None]:
    yield
    sys.modules.pop(MODULE_PREFIX + "acme", None)


@pytest.fixture
def acme() -> Iterator[Any]:
    """The fake of the last step, running."""
    module = ModuleType("test_acme")
    module.__file__ = __file__
    exec(compile(CONTRACT, "tutorial.md", "exec"), vars(module))
    with module.FakeAcme() as fake:
        yield fake


def settings(acme: Any) -> dict[str, str]:
    return {"ACME_URL": acme.url, "ACME_KEY": KEY}


def test_the_plugin_grows_from_9_to_61_lines() -> None:
    assert [len(block.splitlines()) for block in STAGES] == [9, 30, 42, 61]
    assert "has 61 lines" in PAGE


def test_step_1_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "crmgate")
    accepted = operation()
    notify_at_the_end(stage(1, tmp_path), "operation_accepted", operation=accepted)
    assert caplog.messages == [f"accepted: {accepted.tracking_code}"]


def test_a_misspelt_hook_is_refused_in_the_words_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "acme.py").write_text(STAGES[0].replace("accepted(", "acepted("))
    [error] = discover(tmp_path).quarantined
    assert f"plugin set aside: plugins/acme.py: {error.reason} {error.remedy}\n" in PAGE


@pytest.mark.parametrize("number", [2, 3, 4])
def test_each_crm_delivers_and_finds(tmp_path: Path, acme: Any, number: int) -> None:
    crm = chosen(number, tmp_path, **settings(acme))
    click = operation(Activity("telegram", "TG-1"), Kind.CREATE_MINIMAL_LEAD)
    for sent in (operation(), click):
        assert crm.find(sent, 2.0) is None
        delivered = crm.deliver(sent, 2.0)
        found = crm.find(sent, 2.0)
        assert found is not None
        assert (found.record_id, found.adopted) == (delivered.record_id, True)
    assert crm.test_connection(2.0).connected


@pytest.mark.parametrize("number", [3, 4])
def test_a_lead_arrives_whole(tmp_path: Path, acme: Any, number: int) -> None:
    sent = operation()
    chosen(number, tmp_path, **settings(acme), ACME_MAP_EMAIL="email").deliver(sent, 2.0)
    [lead] = acme.leads
    assert lead.items() >= {"name": "Ada", "surname": "Lovelace", "email": "ada@example.com", "ref": sent.id}.items()
    assert lead["notes"].startswith("Hello\n\nCity: London")


def test_step_3_takes_what_it_did_not_foresee_for_an_unknown_outcome(tmp_path: Path, acme: Any) -> None:
    acme.fail("answer", status=200, body="<html>Please log in</html>")
    with pytest.raises(OutcomeUnknown):
        chosen(3, tmp_path, **settings(acme)).deliver(operation(), 2.0)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, OutcomeUnknown), (302, Unavailable), (401, AuthFailed), (404, Unavailable), (422, Rejected),
        (429, RateLimited), (500, OutcomeUnknown), (503, Unavailable),
    ],
)  # fmt: skip
def test_step_4_names_errors_after_what_to_do_next(
    tmp_path: Path, acme: Any, status: int, kind: type[ProviderError]
) -> None:
    crm = chosen(4, tmp_path, **settings(acme))
    acme.fail("answer", status=status, body="<html>", headers={"Retry-After": "7"})
    with pytest.raises(ProviderError) as caught:
        crm.deliver(operation(), 2.0)
    assert type(caught.value) is kind
    if status == 429:
        assert caught.value.retry_after == 7
    test = crm.test_connection(2.0)
    assert not test.connected
    assert "ACME_KEY" in test.checks[0].detail


def test_settings_are_checked_at_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        chosen(3, tmp_path, ACME_URL="http://acme.example")
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["ACME_KEY"]


def test_step_5_keeps_the_contract(tmp_path: Path) -> None:
    (tmp_path / "acme.py").write_text(STAGES[-1])
    (tmp_path / "test_acme.py").write_text(CONTRACT)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "test_acme.py"]
    run = subprocess.run(
        [*command, "--rootdir", "."], cwd=tmp_path, capture_output=True, text=True, timeout=5 * DEADLINE
    )
    assert run.returncode == 0, run.stdout
    passed = re.search(r"(\d+) passed", run.stdout)
    assert passed is not None
    assert int(passed[1]) > 40


def contract_of(folder: Path, plugin: str) -> type[Any]:
    """The contract test of step 6 for a plugin, both written as the page says."""
    (folder / "acme.py").write_text(plugin)
    module = ModuleType("test_acme")
    module.__file__ = str(folder / "test_acme.py")
    exec(compile(grown_contract(), "tutorial.md", "exec"), vars(module))
    return type("TestAcme", (module.TestAcme,), {"patience": 0.2})


def complaint(contract: type[Any], check: str) -> str:
    """What a check says: nothing if it passes."""
    test = contract()
    test.setup_method()
    try:
        getattr(test, check)()
    except AssertionError as error:
        return str(error)
    finally:
        test.teardown_method()
    return ""


def test_step_8_keeps_the_contract_with_updates_activities_and_known_persons(tmp_path: Path) -> None:
    contract = contract_of(tmp_path, plugin_after(8, len(CHANGES[8])))
    checks = {name for name in dir(contract) if name.startswith("test_")} - left_out(contract).keys()
    said = {name: complaint(contract, name) for name in checks}
    assert {name: text for name, text in said.items() if text} == {}
    added = {name for name in said if "_update" in name or "_activity_" in name or "known_person" in name}
    added = {name for name in added if "batch" not in name}
    assert len(added) > 14


MESSAGES = [
    (int(number), check, message)
    for number, text in SECTIONS.items()
    for check, message in re.findall(r"^```\n(test_\w+): (.+)\n```$", text, re.MULTILINE)
]


@pytest.mark.parametrize(("step", "check", "message"), MESSAGES, ids=[check for _, check, _ in MESSAGES])
def test_the_contract_says_what_the_page_says(tmp_path: Path, step: int, check: str, message: str) -> None:
    """It says that of the plugin after the blocks above the message, and no longer after all blocks of the step."""
    above = SECTIONS[str(step)].split(message)[0]
    source = plugin_after(step, above.count("```python") - (step == 6))  # the first block of step 6 is the fake
    if check == "test_capabilities_are_the_optional_hooks":
        source = re.sub(r"^ +capabilities = .+\n", "", source, flags=re.MULTILINE)
    assert complaint(contract_of(tmp_path, source), check) == message
    (tmp_path / "done").mkdir()
    assert complaint(contract_of(tmp_path / "done", plugin_after(step, len(CHANGES[step]))), check) == ""


def test_each_of_the_later_steps_begins_with_what_the_contract_says() -> None:
    assert [step for step, _, _ in MESSAGES] == [6, 6, 7, 8, 8]

"""The blocks of docs/plugins/tutorial.md are plugins that load, deliver and keep the contract."""

from __future__ import annotations

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
from tests.listeners import notify_at_the_end
from tests.processes import DEADLINE

PAGE = (Path(__file__).parent.parent / "docs" / "plugins" / "tutorial.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
*STAGES, CONTRACT = BLOCKS
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


def test_the_plugin_grows_from_9_to_64_lines() -> None:
    assert [len(block.splitlines()) for block in STAGES] == [9, 30, 42, 64]
    assert "has 64 lines" in PAGE


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

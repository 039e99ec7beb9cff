"""`crmgate plugins list` and `check`: files that cannot be used are reported with reason and remedy."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from crmgate.cli import checkup
from tests.cli.conftest import Run, output_of
from tests.processes import DEADLINE, ROOT

MISSPELT = "from crmgate import hookimpl\n\n@hookimpl\ndef operation_delivred(operation):\n    pass\n"
LISTENER = "from crmgate import hookimpl\n\n@hookimpl\ndef operation_delivered(operation):\n    pass\n"
CONTRACT = """
from pathlib import Path
import unittest
from crmgate.testing import FakeCRM, ProviderContract, Response

class Fake(FakeCRM):
    def answer(self, request):
        return Response(200)

    def records(self):
        return {}

class TestMini(ProviderContract):
    plugin = Path("plugins/mini.py").absolute()

    def fake(self):
        return Fake()

    def settings(self, fake):
        return {"MINI_TOKEN": "token-of-mini-4711"}

    def test_of_its_own(self):
        assert 1 == 2

    def test_with_a_fixture(self, tmp_path):
        pass

    def test_that_is_skipped(self):
        raise unittest.SkipTest("not today")
"""


def plugin(folder: Path, name: str, text: str) -> Path:
    """A file in the plugins folder."""
    path = folder / "plugins" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_broken_files_are_listed_with_reason_and_remedy(run: Run, folder: Path, mini: dict[str, str]) -> None:
    plugin(folder, "misspelt.py", MISSPELT)
    plugin(folder, "syntax.py", "def\n")
    plugin(folder, "twin.py", (folder / "plugins/mini.py").read_text())
    result = run("plugins", "list", **mini)
    assert result.exit_code == 1
    words = " ".join(result.stdout.split())
    assert "mini Mini CRM plugins/mini.py CRM yes exactly_once" in words
    assert "plugins/misspelt.py there is no hook 'operation_delivred'. Did you mean operation_delivered?" in words
    assert "plugins/syntax.py line 1: invalid syntax. Correct the syntax." in words
    assert "plugins/twin.py the provider 'mini' is already defined by plugins/mini.py. Rename" in words
    assert result.stderr == "", "each file is reported once"
    answer = output_of(run("plugins", "list", "--json", **mini))
    assert [Path(one["file"]).name for one in answer["quarantined"]] == ["misspelt.py", "syntax.py", "twin.py"]
    assert all(one["reason"] and one["remedy"] for one in answer["quarantined"])


def test_a_provider_that_is_not_there_is_reported(run: Run, mini: dict[str, str]) -> None:
    result = run("plugins", "list", CRM_PROVIDER="acme")
    assert result.exit_code == 1
    assert "CRM_PROVIDER, got 'acme': there is no such plugin." in result.stdout


def test_the_list_does_not_depend_on_the_other_settings(run: Run, mini: dict[str, str]) -> None:
    """An operator who corrects a configuration needs the list."""
    assert run("plugins", "list", CRM_PROVIDER="mini", CRM_TIMEOUT="soon", REDIS_URL="nonsense").exit_code == 0


def test_a_folder_that_is_missing_and_a_file_that_is_left_out_are_reported(run: Run, mini: dict[str, str]) -> None:
    missing, left_out = run("plugins", "list", PLUGINS_DIR="elsewhere"), run("plugins", "list", PLUGINS_ALLOWED="acme")
    assert missing.exit_code == left_out.exit_code == 0
    assert "PLUGINS_DIR, got 'elsewhere': there is no such folder." in missing.stdout
    assert "PLUGINS_ALLOWED leaves out mini.py." in left_out.stdout


def test_the_list_as_json(run: Run, folder: Path, mini: dict[str, str]) -> None:
    file = str(plugin(folder, "tell.py", LISTENER).relative_to(folder))
    answer = output_of(run("plugins", "list", "--json", **mini))
    capabilities = [
        "create_lead", "create_minimal_lead", "describe_fields", "find_lead", "provision", "test_connection"
    ]  # fmt: skip
    names = {"name": "mini", "label": "Mini CRM", "file": "plugins/mini.py"}
    own = {part: [one for one in answer[part] if one["file"].startswith("plugins/")]
           for part in ("providers", "listeners")}  # fmt: skip
    assert own == {
        "providers": [names | {"active": True, "delivery": "exactly_once", "capabilities": capabilities}],
        "listeners": [{"name": "tell", "label": "", "file": file, "hooks": ["operation_delivered"]}],
    }
    assert answer.keys() - own.keys() == {"quarantined", "notes"}
    assert answer["quarantined"] == answer["notes"] == []


@pytest.mark.parametrize(
    ("name", "text", "told_of"),
    [
        ("broken.py", "import no_such_module\n", "import failed: No module named 'no_such_module'."),
        ("broken.py", "raise SystemExit(3)\n", "SystemExit at import"),
        ("broken.py", "print('hello')\n", "it implements nothing."),
        ("broken.py", MISSPELT, "there is no hook 'operation_delivred'. Did you mean operation_delivered?"),
        ("_hidden.py", LISTENER, "rename it."),
        ("plugin.txt", LISTENER, "rename it."),
    ],
)
def test_a_file_that_does_not_load_is_a_problem(run: Run, folder: Path, name: str, text: str, told_of: str) -> None:
    file = plugin(folder, name, text)
    result = run("plugins", "check", str(file))
    assert result.exit_code == 1
    assert told_of in result.stdout
    assert result.stdout.endswith("\n1 problem.\n")
    (finding,) = output_of(run("plugins", "check", "--json", str(file)))["findings"]
    assert (finding["part"], finding["state"]) == ("load", "problem")


@pytest.mark.parametrize("named", ["plugins/crm", "plugins/crm/", "plugins/crm/__init__.py"])
def test_a_folder_is_checked_as_a_file_is(run: Run, folder: Path, mini: dict[str, str], named: str) -> None:
    (folder / "plugins/crm").mkdir()
    (folder / "plugins/mini.py").rename(folder / "plugins/crm/provider.py")
    (folder / "plugins/crm/__init__.py").write_text("from .provider import Mini\n")
    text = CONTRACT.replace("plugins/mini.py", "plugins/crm")
    assert text != CONTRACT
    test = folder / f"check_crm_{len(named)}.py"  # imported under its name, once in a process
    test.write_text(text)
    answer = output_of(run("plugins", "check", named, "--test", str(test), "--json"))
    assert [(one["part"], one["state"]) for one in answer["findings"][:2]] == [("load", "ok"), ("name", "ok")]
    states = {one["name"]: one["state"] for one in answer["findings"] if one["part"] == "contract"}
    assert states["TestMini.test_minimal_lead_arrives"] == "problem"
    assert "ok" in states.values()


def test_a_folder_that_is_no_plugin_is_a_problem(run: Run, folder: Path) -> None:
    (folder / "data").mkdir()
    assert "folders without a dot that have an __init__.py" in " ".join(run("plugins", "check", "data").stdout.split())


def test_a_file_that_is_not_there_is_a_wrong_use_of_the_command(run: Run, folder: Path) -> None:
    assert run("plugins", "check", "plugins/acme.py").exit_code == 2


def test_a_name_that_another_file_has_is_a_problem(run: Run, folder: Path, mini: dict[str, str]) -> None:
    copy = shutil.copy(folder / "plugins/mini.py", folder / "copy.py")
    result = run("plugins", "check", str(copy))
    assert result.exit_code == 1
    assert "plugins/mini.py has that name too" in result.stdout
    assert run("plugins", "check", "plugins/mini.py").exit_code == 0


def test_without_a_contract_test_the_check_says_that_it_was_left_out(run: Run, mini: dict[str, str]) -> None:
    answer = output_of(run("plugins", "check", "--json", "plugins/mini.py"))
    assert answer["ok"] is True
    states = [(finding["part"], finding["state"]) for finding in answer["findings"]]
    assert states == [("load", "ok"), ("name", "ok"), ("contract", "skipped")]
    assert "there is no contract test" in answer["findings"][-1]["detail"]


def test_a_listener_needs_no_contract(run: Run, folder: Path) -> None:
    answer = output_of(run("plugins", "check", "--json", str(plugin(folder, "tell.py", LISTENER))))
    assert [(finding["part"], finding["detail"]) for finding in answer["findings"]] == [("load", "listener hooks")]


def test_breaches_of_the_contract_are_problems(run: Run, folder: Path, mini: dict[str, str]) -> None:
    (folder / "check_mini.py").write_text(CONTRACT)
    result = run("plugins", "check", "plugins/mini.py", "--test", "check_mini.py", "--json")
    assert result.exit_code == 1
    found = {finding["name"]: finding for finding in output_of(result)["findings"]}
    minimal = found["TestMini.test_minimal_lead_arrives"]
    assert minimal["state"] == "problem"
    assert "create_lead raised Unavailable" in minimal["detail"]
    assert found["TestMini.test_of_its_own"]["state"] == "problem"
    assert found["TestMini.test_with_a_fixture"]["state"] == "skipped"
    assert found["TestMini.test_that_is_skipped"]["detail"] == "not today"
    assert found["TestMini.test_plugin_has_a_name_and_a_label"]["state"] == "ok"


HANGS = """
import time
from crmgate.testing.contract import Contract


class TestMini(Contract):
    plugin = "plugins/mini.py"

    def setup_method(self): pass

    def teardown_method(self): pass

    def test_1_passes(self): print("a line that is no report")

    def test_2_hangs(self): time.sleep(600)

    def test_3_is_not_run(self): pass
"""


def test_a_check_that_hangs_is_named_and_ended(
    folder: Path, mini: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is over as soon as the check hangs, by a clock that the test moves."""
    (folder / "check_hangs.py").write_text(HANGS)
    shown = list[str]()

    def show(line: str) -> None:
        shown.append(line)
        if "hangs" in line:
            at_the_end = time.monotonic() + DEADLINE
            monkeypatch.setattr(checkup, "time", SimpleNamespace(monotonic=lambda: at_the_end))

    found = [*checkup.contract(folder / "plugins/mini.py", folder / "check_hangs.py", show, limit=DEADLINE)]
    assert shown == ["1 of 3: TestMini.test_1_passes", "2 of 3: TestMini.test_2_hangs"]
    assert [(one.name, one.ok) for one in found] == [
        ("TestMini.test_1_passes", True), ("TestMini.test_2_hangs", False), ("1 check", None)
    ]  # fmt: skip
    assert f"when the {DEADLINE:.0f} s for all checks were over" in found[1].detail


def test_a_check_that_ends_its_process_is_named(folder: Path, mini: dict[str, str]) -> None:
    (folder / "check_exits.py").write_text(HANGS.replace("time.sleep(600)", "__import__('os')._exit(3)"))
    *_, last = checkup.contract(folder / "plugins/mini.py", folder / "check_exits.py", lambda _: None)
    assert (last.name, last.ok) == ("TestMini.test_2_hangs", False)
    assert "status 3" in last.detail


def test_the_check_shows_its_progress(run: Run, folder: Path, mini: dict[str, str]) -> None:
    (folder / "check_shown.py").write_text(HANGS.replace("time.sleep(600)", "pass"))
    result = run("plugins", "check", "plugins/mini.py", "--test", "check_shown.py")
    assert result.exit_code == 0
    assert "3 of 3: TestMini.test_3_is_not_run" in result.stderr
    assert "3 checks" in result.stdout


@pytest.mark.parametrize(
    ("text", "told_of"),
    [("import no_such_module", "ModuleNotFoundError at import"), ("pass", "it has no subclass of ProviderContract")],
)
def test_a_contract_test_that_tests_nothing_is_a_problem(
    run: Run, folder: Path, mini: dict[str, str], text: str, told_of: str
) -> None:
    name = f"check_{text.partition(' ')[0]}.py"
    (folder / name).write_text(text)
    result = run("plugins", "check", "plugins/mini.py", "--test", name)
    assert result.exit_code == 1
    assert told_of in result.stdout


def test_the_project_s_own_plugins_are_listed_and_good(run: Run) -> None:
    """They are listed in any working directory, and only once if PLUGINS_DIR names their folder."""
    elsewhere, there = (output_of(run("plugins", "list", "--json", PLUGINS_DIR=folder))
                        for folder in ("elsewhere", str(ROOT / "plugins")))  # fmt: skip
    assert {one["name"] for one in elsewhere["providers"]} == {
        "bitrix",
        "espocrm",
        "hubspot",
        "mail",
        "sandbox",
        "webhook",
    }
    assert elsewhere["providers"] == there["providers"]
    assert elsewhere["quarantined"] == there["quarantined"] == []


def test_a_plugin_that_replaces_a_shipped_one_is_named(run: Run, folder: Path) -> None:
    plugin(folder, "sandbox.py", (ROOT / "plugins/sandbox.py").read_text())
    result = run("plugins", "list", CRM_PROVIDER="sandbox")
    assert result.exit_code == 0
    assert "sandbox Sandbox CRM plugins/sandbox.py CRM yes" in " ".join(result.stdout.split())
    assert "plugins/sandbox.py replaces the plugin sandbox that comes with crmgate." in result.stdout

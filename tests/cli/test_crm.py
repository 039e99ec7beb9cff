"""`crmgate crm test`, `fields` and `setup`, failures first."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
from dotenv import dotenv_values

from crmgate.plugin_host import output as plugin_output
from crmgate.sandbox import create_app, running
from crmgate.testing.bitrix24 import FakeBitrix24
from crmgate.testing.espocrm import FakeEspoCRM
from tests.cli.conftest import Run, output_of
from tests.processes import ROOT, RedisProcess

TOKEN = "token-of-mini-4711"
ADMIN = "admin-of-mini-4711"
COMMANDS = ("test", "fields", "setup")
WITHOUT_REDIS = {"REDIS_URL": "redis://127.0.0.1:1/0"}


@pytest.fixture
def admin(mini: dict[str, str]) -> dict[str, str]:
    """Settings of an administrator."""
    return mini | {"MINI_ADMIN": ADMIN}


def fields(folder: Path) -> list[str]:
    """The state of the CRM."""
    state = folder / "crm.json"
    return list(json.loads(state.read_text())["fields"]) if state.exists() else []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_problem_of_the_configuration_is_reported_at_once(run: Run, mini: dict[str, str], command: str) -> None:
    result = run("crm", command, "--json", CRM_PROVIDER="mini", CRM_TIMEOUT="soon")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "CRM_TIMEOUT, got 'soon'" in result.stderr
    assert "MINI_TOKEN: Missing" in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_provider_the_message_lists_the_providers(run: Run, mini: dict[str, str], command: str) -> None:
    unset, unknown = run("crm", command), run("crm", command, CRM_PROVIDER="acme")
    assert unset.exit_code == unknown.exit_code == 2
    assert "CRM_PROVIDER: Missing" in unset.stderr
    assert (
        "CRM_PROVIDER, got 'acme': there is no such plugin."
        " Found: bitrix, espocrm, hubspot, mail, mini, sandbox, webhook." in unknown.stderr
    )


def test_env_that_cannot_be_read_is_a_problem_of_the_configuration(run: Run, folder: Path) -> None:
    (folder / ".env").write_bytes(b"CRM_PROVIDER=\xff")
    result = run("crm", "test")
    assert (result.exit_code, result.stdout) == (2, "")
    assert ".env: the file cannot be read" in result.stderr


def test_a_failed_check_is_shown_whole_with_its_hint_and_without_secrets(run: Run, mini: dict[str, str]) -> None:
    result = run("crm", "test", **mini, MINI_MODE="refused")
    assert result.exit_code == 1
    assert result.stdout.startswith("Mini CRM (mini): not connected\n")
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("token")]
    assert line.split(maxsplit=2)[1] == "problem"
    assert line.endswith("the token *** is refused [red]: check [2J MINI_TOKEN. " + "x" * 200)
    assert "\x1b" not in result.output
    assert TOKEN not in result.output


def test_a_connection_test_that_crashes_is_a_failed_check(run: Run, mini: dict[str, str]) -> None:
    result = run("crm", "test", "--json", **mini, MINI_MODE="crash")
    assert result.exit_code == 1
    (check,) = output_of(result)["checks"]
    assert check["ok"] is False
    assert "ZeroDivisionError in mini.py" in check["detail"]
    assert TOKEN not in result.output


def test_connected(run: Run, mini: dict[str, str]) -> None:
    result = run("crm", "test", **mini, **WITHOUT_REDIS)
    assert result.exit_code == 0
    assert result.stdout == (
        "Mini CRM (mini): connected (12 ms)\n\nCHECK    RESULT  DETAIL\naddress  ok\ntoken    ok\n"
    )


def test_json_stays_json_when_a_plugin_prints(
    run: Run, mini: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(plugin_output, "_named", set())
    result = run("crm", "test", "--json", **mini, **WITHOUT_REDIS)
    checks = [{"name": name, "ok": True, "detail": ""} for name in ("address", "token")]
    names = {"provider": "mini", "label": "Mini CRM"}
    assert output_of(result) == names | {"connected": True, "latency_ms": 12.3, "checks": checks, "gate": None}
    assert "a plugin that prints" not in result.output
    assert "plugin mini prints in test_connection (mini.py:" in caplog.text


def test_a_crm_that_does_not_answer_uses_up_the_budget_and_no_more(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["crmgate.cli.crm"], "BUDGET", 1.0)
    with FakeEspoCRM(api_key="key-of-espo") as crm:
        crm.fail("hang")
        result = run("crm", "test", "--json", **real("espocrm"), ESPOCRM_URL=crm.url, ESPOCRM_API_KEY="key-of-espo")
    assert result.exit_code == 1
    assert "timeout" in output_of(result)["checks"][0]["detail"]


def test_missing_fields_are_reported(run: Run, mini: dict[str, str]) -> None:
    result = run("crm", "fields", **mini)
    assert result.exit_code == 1
    assert result.stdout.startswith("Mini CRM (mini): 2 of 2 fields have a problem\n")
    assert "there is no such field (***)" in result.stdout
    assert TOKEN not in result.output


def test_fields_of_a_crm_that_refuses_are_an_error(run: Run, mini: dict[str, str]) -> None:
    result, as_json = (run("crm", "fields", *more, **mini, MINI_MODE="refused") for more in ((), ("--json",)))
    assert result.exit_code == as_json.exit_code == 1
    assert result.stdout == ""
    assert "mini: bad_credentials: the token *** is refused" in result.stderr
    answer = output_of(as_json)
    assert (answer["complete"], answer["fields"]) == (False, [])
    assert "bad_credentials" in answer["error"]


def test_fields_and_setup_report_a_plugin_without_them(run: Run, folder: Path, admin: dict[str, str]) -> None:
    plugin = folder / "plugins/mini.py"
    text = plugin.read_text()
    for hook in ("describe_fields", "provision"):
        text = text.replace(f"    @hookimpl\n    def {hook}", f"    def {hook}")
    plugin.write_text(text)
    for command, hook in (("fields", "describe_fields"), ("setup", "provision")):
        result = run("crm", command, **admin)
        assert (result.exit_code, result.stdout) == (1, "")
        assert f"the plugin has no {hook}" in result.stderr


def test_fields_that_are_there_are_shown_with_their_options(run: Run, folder: Path, mini: dict[str, str]) -> None:
    (folder / "crm.json").write_text('{"fields": ["referral", "reference"]}')
    result = run("crm", "fields", **mini)
    assert result.exit_code == 0
    assert "all 2 fields exist" in result.stdout
    assert "option11 and 28 more" in result.stdout
    answer = output_of(run("crm", "fields", "--json", **mini))
    options = [f"option{number}" for number in range(40)]
    first = {
        "fact": "referral",
        "field": "referral_c",
        "type": "enum",
        "options": options,
        "state": "ok",
        "problem": "",
    }
    assert answer["fields"][0] == first
    assert (answer["complete"], answer["error"]) == (True, None)


def test_setup_without_an_administrator_is_a_problem_of_the_configuration(run: Run, mini: dict[str, str]) -> None:
    result = run("crm", "setup", "--yes", **mini)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "MINI_ADMIN: setting it up takes an administrator." in result.stderr


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_setup_that_is_not_confirmed_changes_nothing(
    run: Run, folder: Path, admin: dict[str, str], answer: str
) -> None:
    result = run("crm", "setup", stdin=answer, **admin)
    assert result.exit_code == 1
    assert "to do  field referral, by ***" in result.stdout
    assert fields(folder) == []
    assert "MINI_KEY" not in result.output


def test_setup_as_json_asks_nothing_and_only_plans(run: Run, folder: Path, admin: dict[str, str]) -> None:
    result = run("crm", "setup", "--json", **admin)
    answer = output_of(result)
    assert result.exit_code == 1
    assert (answer["done"], answer["applied"], answer["settings"], answer["error"]) == (False, False, {}, None)
    assert [step["done"] for step in answer["steps"]] == [False, False]
    assert fields(folder) == []


def test_setup_that_fails_half_way_says_so_and_can_be_run_again(run: Run, folder: Path, admin: dict[str, str]) -> None:
    failed = run("crm", "setup", "--yes", **admin, MINI_MODE="half")
    assert failed.exit_code == 1
    assert "the CRM went away" in failed.stderr
    assert "run the command again to do the rest" in failed.stderr
    assert fields(folder) == ["referral"]
    answer = output_of(run("crm", "setup", "--yes", "--json", **admin, MINI_MODE="half"))
    assert (answer["done"], answer["applied"]) == (False, True)
    assert "the CRM went away" in answer["error"]
    assert answer["settings"] == {}
    assert run("crm", "setup", "--yes", **admin).exit_code == 0


def test_setup_is_confirmed_done_and_done_once(run: Run, folder: Path, admin: dict[str, str]) -> None:
    result = run("crm", "setup", stdin="y\n", **admin)
    assert result.exit_code == 0
    assert fields(folder) == ["reference", "referral"]
    assert result.stdout.count("done   field") == 2
    written = folder / "lines"
    written.write_text("\n".join(line for line in result.stdout.splitlines() if line.startswith("MINI_")))
    assert dotenv_values(written) == {"MINI_KEY": "it's a key"}, "and not the token, which is set already"
    assert ADMIN not in result.output

    again = run("crm", "setup", **admin, MINI_KEY="it's a key")
    assert again.exit_code == 0
    assert "Nothing to do." in again.stdout
    assert "MINI_KEY" not in again.output


def test_setup_prints_missing_settings_even_if_nothing_is_to_do(run: Run, folder: Path, admin: dict[str, str]) -> None:
    (folder / "crm.json").write_text('{"fields": ["referral", "reference"]}')
    answer = output_of(run("crm", "setup", "--json", **admin))
    assert (answer["done"], answer["applied"], answer["settings"]) == (True, False, {"MINI_KEY": "it's a key"})


def test_setup_saves_keys_in_files_and_shows_them_nowhere(run: Run, folder: Path, admin: dict[str, str]) -> None:
    keys = folder / "run" / "keys"
    answer = run("crm", "setup", "--yes", "--save", str(keys), "--json", **admin)
    assert answer.exit_code == 0
    assert (output_of(answer)["settings"], sorted(output_of(answer)["saved"])) == ({}, sorted(map(str, keys.iterdir())))
    assert (keys / "MINI_KEY").read_text() == "it's a key\n"
    assert (keys / "MINI_KEY").stat().st_mode & 0o777 == 0o600
    (keys / "MINI_KEY").write_text("an old key")
    again = run("crm", "setup", "--yes", "--save", str(keys), **admin)
    assert again.exit_code == 0
    assert f"Saved: {keys / 'MINI_KEY'}" in again.stdout
    assert (keys / "MINI_KEY").read_text() == "it's a key\n"
    assert "it's a key" not in answer.output + again.output
    assert {path.name for path in keys.iterdir()} == {"MINI_KEY", "MINI_TOKEN"}, "no temporary file is left"


def test_setup_that_fails_or_only_plans_saves_nothing(run: Run, folder: Path, admin: dict[str, str]) -> None:
    keys = folder / "keys"
    assert run("crm", "setup", "--save", str(keys), "--json", **admin).exit_code == 1
    assert run("crm", "setup", "--yes", "--save", str(keys), **admin, MINI_MODE="half").exit_code == 1
    assert not keys.exists()


def test_a_folder_that_cannot_be_written_to_is_named(run: Run, folder: Path, admin: dict[str, str]) -> None:
    (folder / "keys").write_text("a file")
    result = run("crm", "setup", "--yes", "--save", str(folder / "keys" / "deeper"), **admin)
    assert result.exit_code == 1
    assert "keys/deeper: Not a directory. The keys were not saved." in result.stderr
    assert "it's a key" not in result.output


def real(name: str) -> dict[str, str]:
    """Settings that select a plugin of the project."""
    return {"CRM_PROVIDER": name, "PLUGINS_DIR": str(ROOT / "plugins")}


def is_good_and_then_refused(run: Run, settings: dict[str, str], wrong: dict[str, str]) -> None:
    """A connection test passes with these settings, fails with the `wrong` ones and does not show those."""
    good: Any = run("crm", "test", "--json", **settings)
    assert (good.exit_code, output_of(good)["connected"]) == (0, True), good.output
    refused = run("crm", "test", **settings | wrong)
    assert refused.exit_code == 1
    assert "problem" in refused.stdout
    assert not any(secret in refused.output for secret in wrong.values())


def test_espocrm(run: Run) -> None:
    with FakeEspoCRM(api_key="key-of-espo") as crm:
        settings = real("espocrm") | {"ESPOCRM_URL": crm.url, "ESPOCRM_API_KEY": "key-of-espo"}
        is_good_and_then_refused(run, settings, {"ESPOCRM_API_KEY": "another-key-4711"})


def test_bitrix(run: Run) -> None:
    with FakeBitrix24() as crm:
        url = crm.webhook_url
        settings = real("bitrix") | {"BITRIX_WEBHOOK_URL": url}
        wrong = url.rstrip("/").rpartition("/")[0] + "/anothersecret4711/"
        is_good_and_then_refused(run, settings, {"BITRIX_WEBHOOK_URL": wrong})


def test_sandbox(run: Run, folder: Path) -> None:
    with running(create_app(folder / "leads.db", key="key-of-the-sandbox")) as url:
        settings = real("sandbox") | {"SANDBOX_URL": url, "SANDBOX_KEY": "key-of-the-sandbox"}
        is_good_and_then_refused(run, settings, {"SANDBOX_KEY": "another-key-4711"})


def test_a_required_field_that_nothing_fills_is_named_by_every_command(
    run: Run, redis_process: RedisProcess, redis_client: redis.Redis
) -> None:
    with FakeEspoCRM(api_key="key-of-espo") as crm:
        crm.add_field("officeC", "varchar", required=True)
        settings = real("espocrm") | {"ESPOCRM_URL": crm.url, "ESPOCRM_API_KEY": "key-of-espo"}
        settings["REDIS_URL"] = redis_process.url
        answer = output_of(run("crm", "fields", "--json", **settings))
        [line] = [line for line in answer["fields"] if line["field"] == "officeC"]
        assert (line["fact"], line["state"], answer["complete"]) == ("", "required", False)
        shown = run("crm", "fields", **settings)
        assert shown.exit_code == 1
        assert shown.stdout.endswith("\nRequired in the CRM, and no fact is mapped to it: officeC.\n")
        for command in (("crm", "test", "--json"), ("check", "--json")):
            checks = output_of(run(*command, **settings))["checks"]
            [found] = [check for check in checks if "officeC" in (check.get("name") or check["check"])]
            assert found.get("ok") is False or found["result"] == "warn"
            assert "it is required" in found["detail"]

"""`crmgate person show|export|erase`: the contact stays out of the shell's history, an erasure asks first."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import redis

from crmgate.delivery import identity
from crmgate.model import Kind, Operation, new_id
from crmgate.store import keys
from crmgate.store.audit import Audit
from crmgate.store.gate import Recipient
from crmgate.store.ledger import Ledger
from crmgate.store.spool import FILE, Spool, Spooled
from tests.cli.conftest import Run, output_of
from tests.processes import RedisProcess, free_port

MINI = Recipient("mini")
EMAIL = "ada.canary@example.com"
COMMANDS = ("show", "export", "erase")


@pytest.fixture
def configured(mini: dict[str, str], redis_process: RedisProcess, ledger: Ledger) -> dict[str, str]:
    return mini | {"REDIS_URL": redis_process.url}


@pytest.fixture
def waiting(ledger: Ledger) -> str:
    """An operation of Ada that waits because deliveries are paused."""
    ledger.pause(MINI)
    payload = {"first_name": "Ada", "email": EMAIL, "phone": "+905321234567"}
    operation = Operation(new_id(), Kind.CREATE_LEAD, payload, time.time())
    ledger.accept(operation, MINI, alarm=2, people=identity.people(payload))
    return operation.id


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_no_contact_is_refused_and_not_repeated(run: Run, configured: dict[str, str], command: str) -> None:
    for arguments, stdin in (((f"{EMAIL}@",), None), (("-",), f"{EMAIL}@\n"), (("-",), "")):
        result = run("person", command, *arguments, stdin=stdin, **configured)
        assert (result.exit_code, result.stdout) == (2, "")
        assert EMAIL not in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_without_redis_nothing_is_claimed(run: Run, mini: dict[str, str], command: str) -> None:
    result = run("person", command, EMAIL, **mini, REDIS_URL=f"redis://127.0.0.1:{free_port()}")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Redis does not answer" in result.stderr
    assert EMAIL not in result.stderr


def test_nobody_is_shown_and_erased(run: Run, configured: dict[str, str]) -> None:
    shown = run("person", "show", EMAIL, **configured)
    assert (shown.exit_code, shown.stdout) == (1, "Nothing is kept about this person.\n")
    erased = run("person", "erase", EMAIL, **configured)
    assert (erased.exit_code, erased.stdout) == (0, "Nothing is kept about this person.\n")


def test_a_person_is_shown_by_a_contact_from_standard_input_or_a_prompt(
    run: Run, configured: dict[str, str], waiting: str
) -> None:
    for arguments in (("-",), ()):
        result = run("person", "show", *arguments, stdin="0532 123 45 67\n", **configured)
        assert result.exit_code == 0, result.output
        assert "1 waiting\n" in result.stdout
        assert waiting in result.stdout
        assert EMAIL not in result.output
    assert output_of(run("person", "show", "--json", EMAIL, **configured))["counts"]["waiting"] == 1


def test_an_export_is_everything_as_json(run: Run, configured: dict[str, str], waiting: str) -> None:
    data = output_of(run("person", "export", "-", stdin=f"{EMAIL}\n", **configured))
    assert [operation["payload"]["first_name"] for operation in data["operations"]] == ["Ada"]
    assert data["operations"][0]["id"] == waiting


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_an_erasure_that_is_not_confirmed_changes_nothing(
    run: Run, configured: dict[str, str], ledger: Ledger, waiting: str, answer: str
) -> None:
    result = run("person", "erase", "-", stdin=f"{EMAIL}\n{answer}", **configured)
    assert result.exit_code == 1
    assert "1 operations are discarded" in result.stdout
    assert output_of(run("person", "erase", EMAIL, "--json", **configured))["erased"] is False
    kept = ledger.get(waiting)
    assert kept is not None
    assert kept.state == "waiting"


@pytest.mark.parametrize(("arguments", "stdin"), [(("-",), f"{EMAIL}\ny\n"), ((EMAIL, "--yes"), None)])
def test_an_erasure_is_confirmed_and_audited_without_the_person(
    run: Run, configured: dict[str, str], ledger: Ledger, redis_client: redis.Redis, waiting: str,
    arguments: tuple[str, ...], stdin: str | None,
) -> None:  # fmt: skip
    result = run("person", "erase", *arguments, stdin=stdin, **configured)
    assert result.exit_code == 0, result.output
    assert "Erased; 1 operations were discarded." in result.stdout
    ended = ledger.get(waiting)
    assert ended is not None
    assert (ended.state, ended.payload, ended.events) == ("discarded", {}, ())
    entries = Audit(redis_client).recent()
    assert {entry.who[:4] for entry in entries} == {"cli:"}
    assert [entry.what for entry in entries] == ["persons.erase", "dead_letters.discard", "persons.show"]
    assert EMAIL not in result.output + str(entries)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """The spool of a web process, with a submission of Ada."""
    made = Spool(tmp_path / "spool", 1e6)
    made.prepare()
    payload = {"first_name": "Ada", "email": EMAIL}
    made.put(Spooled(Operation(new_id(), Kind.CREATE_LEAD, payload, time.time())), identity.people(payload))
    return made


def test_a_person_in_the_spool_is_shown_exported_and_erased(
    run: Run, configured: dict[str, str], spool: Spool, tmp_path: Path
) -> None:
    configured["SPOOL_DIR"] = str(tmp_path / "spool")
    shown = run("person", "show", EMAIL, **configured)
    assert (shown.exit_code, "1 spooled" in shown.stdout) == (0, True)
    exported = output_of(run("person", "export", EMAIL, **configured))
    assert [one["payload"]["email"] for one in exported["operations"]] == [EMAIL]
    preview = output_of(run("person", "erase", EMAIL, "--json", **configured))
    assert (preview["erased"], preview["discarded"], spool.empty()) == (False, 1, False)
    erased = run("person", "erase", EMAIL, "--yes", **configured)
    assert (erased.exit_code, "Erased; 1 operations were discarded." in erased.stdout) == (0, True)
    assert spool.empty()


def test_a_command_makes_no_spool_and_one_that_it_cannot_read_is_an_error(
    run: Run, configured: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "spool"
    configured["SPOOL_DIR"] = str(folder)
    assert run("person", "show", EMAIL, **configured).exit_code == 1
    assert not folder.exists()
    folder.mkdir()
    (folder / FILE).write_text("no database, but long enough to be refused as one" * 100)
    result = run("person", "show", EMAIL, **configured)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "the spool cannot be used" in result.stderr


def test_an_erasure_names_the_records_in_the_crm_and_what_is_left(
    run: Run, configured: dict[str, str], ledger: Ledger, redis_client: redis.Redis, waiting: str
) -> None:
    payload = {"first_name": "Ada", "email": EMAIL}
    update = Operation(new_id(), Kind.UPDATE_LEAD, payload, time.time())
    ledger.accept(update, MINI, alarm=2, people=identity.people(payload))
    redis_client.hset(keys.op(update.id), mapping={"lead_id": "L7", "provider": "mini"})
    ledger.resume(MINI)
    ledger.claim(waiting, MINI, "L", seconds=600)
    result = run("person", "erase", EMAIL, "--yes", **configured)
    assert result.exit_code == 1
    assert f"Deliveries are under way: {waiting}" in result.stderr
    assert result.stdout.splitlines()[-1].split() == ["mini", "L7"]

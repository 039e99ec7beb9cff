"""`crmgate keys new|rotate`: a key is shown once, and a rotation says what it could not read."""

from __future__ import annotations

import time

import pytest
import redis

from crmgate.delivery import identity
from crmgate.model import Kind, Operation, new_id
from crmgate.store import keys
from crmgate.store.audit import Audit
from crmgate.store.client import connect
from crmgate.store.gate import Recipient
from crmgate.store.ledger import Ledger
from crmgate.store.vault import Vault, is_key, key_id, new_key
from crmgate.store.wakeups import wake_message
from tests.cli.conftest import Run, output_of
from tests.processes import DEADLINE, RedisProcess, free_port

MINI = Recipient("mini")
OLD, NEW = new_key(), new_key()


@pytest.fixture
def configured(mini: dict[str, str], redis_process: RedisProcess, redis_client: redis.Redis) -> dict[str, str]:
    return mini | {"REDIS_URL": redis_process.url}


def accept(settings: dict[str, str], *keys_: str) -> str:
    """An operation that waits, its payload encrypted with the first of these keys."""
    client = connect(settings["REDIS_URL"], DEADLINE)
    ledger = Ledger(client, wake_message, Vault(keys_))
    ledger.pause(MINI)
    payload = {"first_name": "Ada", "email": "ada.canary@example.com"}
    operation = Operation(new_id(), Kind.CREATE_LEAD, payload, time.time())
    ledger.accept(operation, MINI, alarm=2, people=identity.people(payload))
    client.close()
    return operation.id


def test_a_new_key_is_printed_and_needs_no_configuration(run: Run) -> None:
    result = run("keys", "new")
    assert (result.exit_code, is_key(result.stdout.strip())) == (0, True)
    assert result.stdout != run("keys", "new").stdout
    made = output_of(run("keys", "new", "--json"))
    assert key_id(made["key"]) == made["id"]


def test_without_keys_and_with_a_wrong_one_nothing_is_rotated(run: Run, configured: dict[str, str]) -> None:
    result = run("keys", "rotate", **configured)
    assert (result.exit_code, "PAYLOAD_KEYS is not set" in result.stderr) == (1, True)
    result = run("keys", "rotate", **configured, PAYLOAD_KEYS="canary-4711")
    assert (result.exit_code, "Entry 1: not a key" in result.stderr) == (2, True)
    assert "canary" not in result.output


def test_without_redis_a_rotation_says_so(run: Run, mini: dict[str, str]) -> None:
    settings = {"REDIS_URL": f"redis://127.0.0.1:{free_port()}", "PAYLOAD_KEYS": NEW}
    result = run("keys", "rotate", **mini, **settings)
    assert (result.exit_code, "Redis does not answer" in result.stderr) == (1, True)


def test_everything_is_encrypted_with_the_first_key(
    run: Run, configured: dict[str, str], redis_client: redis.Redis
) -> None:
    ids = [accept(configured), accept(configured, OLD)]
    rotated = run("keys", "rotate", **configured, PAYLOAD_KEYS=f"{NEW},{OLD}")
    assert (rotated.exit_code, rotated.stdout) == (0, f"2 payloads were encrypted with the key {key_id(NEW)}.\n")
    for operation in ids:
        assert redis_client.hget(keys.op(operation), "payload").startswith(b"sealed:")  # type: ignore[union-attr]
    again = output_of(run("keys", "rotate", "--json", **configured, PAYLOAD_KEYS=NEW))
    assert again == {"key": key_id(NEW), "encrypted": 0, "unreadable": 0}
    assert [(entry.what, entry.on) for entry in Audit(redis_client).recent()][:2] == [("keys.rotate", key_id(NEW))] * 2
    shown = run("ops", "show", ids[0], "--payload", **configured, PAYLOAD_KEYS=NEW)
    assert "ada.canary@example.com" in shown.stdout


def test_a_lost_key_is_reported_and_shown_at_the_operation(run: Run, configured: dict[str, str]) -> None:
    operation = accept(configured, OLD)
    rotated = run("keys", "rotate", **configured, PAYLOAD_KEYS=NEW)
    assert (rotated.exit_code, "1 need a key that PAYLOAD_KEYS lacks" in rotated.stderr) == (1, True)
    for settings in ({}, {"PAYLOAD_KEYS": NEW}):
        shown = run("ops", "show", operation, **configured, **settings)
        assert f"encrypted with the key {key_id(OLD)}, which PAYLOAD_KEYS lacks" in shown.stdout
        edited = run("ops", "edit", operation, "--set", "first_name=X", **configured, **settings)
        assert (edited.exit_code, key_id(OLD) in edited.output) == (1, True)
    well = run("ops", "show", operation, "--payload", **configured, PAYLOAD_KEYS=OLD)
    assert "ada.canary@example.com" in well.stdout


def test_the_exports_of_a_person_say_what_cannot_be_read(run: Run, configured: dict[str, str]) -> None:
    accept(configured, OLD)
    exported = output_of(run("person", "export", "ada.canary@example.com", **configured))
    [operation] = exported["operations"]
    assert (operation["payload"], key_id(OLD) in operation["unreadable"]) == ({}, True)

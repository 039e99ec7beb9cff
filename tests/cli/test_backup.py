"""`crmgate backup` and `crmgate restore`: files, streams, keys and everything that can be wrong with them."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path

import pytest
import redis

from crmgate.model import Kind, Operation, new_id
from crmgate.store.audit import Audit
from crmgate.store.gate import Recipient
from crmgate.store.ledger import Ledger
from tests.cli.conftest import Run, output_of
from tests.processes import RedisProcess, free_port

MINI = Recipient("mini")
KEY = "bm90IGEgc2VjcmV0OiB0aGUga2V5IG9mIHRoZSB0ZXM="


@pytest.fixture
def configured(mini: dict[str, str], redis_process: RedisProcess, ledger: Ledger) -> dict[str, str]:
    return mini | {"REDIS_URL": redis_process.url}


@pytest.fixture
def waiting(ledger: Ledger) -> list[str]:
    """Operations that wait because deliveries are paused."""
    ledger.pause(MINI)
    operations = [Operation(new_id(), Kind.CREATE_LEAD, {"last_name": "Canary"}, time.time()) for _ in range(3)]
    for operation in operations:
        ledger.accept(operation, MINI, alarm=2)
    return [operation.id for operation in operations]


@pytest.fixture
def key_file(folder: Path) -> str:
    (folder / "key").write_text(f"{KEY}\n")
    return "key"


def states(ledger: Ledger, ids: list[str]) -> set[str]:
    return {operation.state if (operation := ledger.get(each)) else "gone" for each in ids}


def test_a_backup_is_restored_into_an_empty_redis(
    run: Run, configured: dict[str, str], ledger: Ledger, redis_client: redis.Redis, waiting: list[str], folder: Path
) -> None:
    made = run("backup", "crmgate.backup", **configured)
    assert (made.exit_code, made.stdout) == (0, "3 operations (3 waiting) are in the backup: crmgate.backup\n")
    assert stat.S_IMODE((folder / "crmgate.backup").stat().st_mode) == 0o600
    redis_client.flushall()
    result = run("restore", "crmgate.backup", **configured)
    assert result.exit_code == 0, result.output
    assert "3 operations. The worker delivers those that wait." in result.stdout
    assert states(ledger, waiting) == {"waiting"}
    assert [entry.what for entry in Audit(redis_client).recent(10)] == ["backups.restore", "backups.make"]


def test_streams_and_json_and_a_merge(
    run: Run, configured: dict[str, str], ledger: Ledger, redis_client: redis.Redis, waiting: list[str]
) -> None:
    made = run("backup", "-", **configured)
    assert "3 operations (3 waiting) are in the backup: standard output" in made.stderr
    redis_client.flushall()
    counts = output_of(run("restore", "-", "--json", stdin=made.stdout, **configured))
    assert (counts["backup"]["operations"], counts["restored"]["operations"]) == ({"waiting": 3}, 3)
    refused = run("restore", "-", stdin=made.stdout, **configured)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "Redis has operations already. Nothing was restored. With --merge" in refused.stderr
    merged = run("restore", "-", "--merge", stdin=made.stdout, **configured)
    assert (merged.exit_code, "0 operations; 3 were there already" in merged.stdout) == (0, True)
    assert output_of(run("backup", "b", "--json", **configured))["operations"] == {"waiting": 3}
    assert states(ledger, waiting) == {"waiting"}


def test_an_encrypted_backup_needs_its_key(
    run: Run, configured: dict[str, str], ledger: Ledger, redis_client: redis.Redis, waiting: list[str],
    key_file: str, folder: Path,
) -> None:  # fmt: skip
    assert run("backup", "b", "--key-file", key_file, **configured).exit_code == 0
    assert b"Canary" not in (folder / "b").read_bytes()
    redis_client.flushall()
    without = run("restore", "b", **configured)
    assert (without.exit_code, "b is encrypted: name the file with its key" in without.stderr) == (1, True)
    assert redis_client.dbsize() == 0
    assert run("restore", "b", "--key-file", key_file, **configured).exit_code == 0
    assert states(ledger, waiting) == {"waiting"}


@pytest.mark.parametrize("content", ["a passphrase", None])
def test_a_key_that_is_none_is_refused_before_anything_happens(
    run: Run, configured: dict[str, str], waiting: list[str], folder: Path, content: str | None
) -> None:
    if content:
        (folder / "key").write_text(content)
    result = run("backup", "b", "--key-file", "key", **configured)
    assert (result.exit_code, (folder / "b").exists()) == (2, False)
    assert ("openssl rand" if content else "No such file") in result.stderr
    assert "passphrase" not in result.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:-1], "is not complete: its end is missing"),
        (lambda lines: [lines[0], *lines[2:]], "is damaged"),
        (lambda lines: [lines[0].replace('"crmgate_backup":1', '"crmgate_backup":9'), *lines[1:]], "newer version"),
        (lambda _: ["REDIS0009"], "is not a backup of crmgate"),
    ],
    ids=["truncated", "damaged", "newer", "another file"],
)
def test_a_backup_that_cannot_be_used_changes_nothing(  # type: ignore[misc]
    run: Run, configured: dict[str, str], redis_client: redis.Redis, waiting: list[str], folder: Path,
    change: object, message: str,
) -> None:  # fmt: skip
    assert callable(change)
    run("backup", "b", **configured)
    (folder / "b").write_text("\n".join(change((folder / "b").read_text().splitlines())) + "\n")
    redis_client.flushall()
    result = run("restore", "b", **configured)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"b {message}" in result.stderr or message in result.stderr
    assert "Nothing was restored." in result.stderr
    assert redis_client.dbsize() == 0


def test_without_redis_the_file_of_before_stays(run: Run, mini: dict[str, str], folder: Path) -> None:
    (folder / "b").write_text("the backup of yesterday")
    for command in ("backup", "restore"):
        (folder / "c").write_text(_EMPTY)
        name = "b" if command == "backup" else "c"
        result = run(command, name, **mini, REDIS_URL=f"redis://127.0.0.1:{free_port()}")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "Redis does not answer" in result.stderr
    assert (folder / "b").read_text() == "the backup of yesterday"
    assert [path.name for path in folder.glob(".b*")] == []


def test_files_that_cannot_be_written_or_read(run: Run, configured: dict[str, str]) -> None:
    for command, name in (("backup", "nowhere/b"), ("restore", "nowhere")):
        result = run(command, name, **configured)
        assert (result.exit_code, result.stderr) == (1, f"Error: {name}: No such file or directory\n")


def _empty() -> str:
    import hashlib

    first = json.dumps({"crmgate_backup": 1, "made_at": "2027-01-15T08:00:00.000Z", "encrypted": False})
    digest = hashlib.sha256(f"{first}\n".encode()).hexdigest()
    return f"{first}\n{json.dumps({'end': {'operations': {}, 'entries': 0, 'sha256': digest}})}\n"


_EMPTY = _empty()
"""A complete backup without an operation."""

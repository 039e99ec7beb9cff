"""`crmgate dlq` and `crmgate ops` on a real ledger."""

from __future__ import annotations

import csv
import importlib
import io
import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from crmgate.cli import bulk
from crmgate.errors import LedgerUnavailable
from crmgate.model import Kind, Operation, Suspicion, new_id
from crmgate.operators.inventory import Filter, Inventory
from crmgate.operators.retries import Retries
from crmgate.store.audit import Audit
from crmgate.store.gate import Recipient
from crmgate.store.ledger import Ledger
from crmgate.tracking import code as tracking_code
from tests.cli.conftest import Run, output_of
from tests.dead_letters import add_dead_letters
from tests.processes import RedisProcess
from tests.world import at

AGO = time.time() - 3600


@pytest.fixture
def configured(mini: dict[str, str], redis_process: RedisProcess, ledger: Ledger) -> dict[str, str]:
    return mini | {"REDIS_URL": redis_process.url}


def dig(ledger: Ledger, count: int = 1, **options: Any) -> list[str]:
    return add_dead_letters(ledger, count, provider="mini", at=AGO, **options)


@pytest.fixture
def worker(ledger: Ledger, redis_client: redis.Redis) -> Iterator[None]:
    """Runs jobs, and delivers released operations."""
    retries, stop = Retries(redis_client, ledger, Inventory(redis_client), Recipient("mini")), threading.Event()

    def work() -> None:
        while not stop.is_set():
            retries.step()
            redis_client.delete("{crmgate}:held:mini", "{crmgate}:huey:queue")
            stop.wait(0.01)

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.mark.parametrize("command", [("dlq", "list"), ("ops", "list")])
def test_a_narrow_terminal_shows_one_line_for_each_operation(
    run: Run, configured: dict[str, str], ledger: Ledger, command: tuple[str, ...]
) -> None:
    ids = dig(ledger, 3, kind=Kind.CREATE_MINIMAL_LEAD)
    narrow = run(*command, **configured, TTY_COMPATIBLE="1", COLUMNS="80").stdout.splitlines()[-4:]
    assert max(map(len, narrow)) <= 80
    for line, i in zip(narrow[1:], reversed(ids), strict=True):
        assert line.startswith(tracking_code(i))
        assert "invalid_value" in line
    piped = run(*command, **configured).stdout.splitlines()[-3:]
    assert all(i in line and "The CRM refuses it." in line for line, i in zip(piped, reversed(ids), strict=True))


COMMANDS = [
    ("ops", "list"), ("ops", "show", "x"), ("ops", "tail"), ("dlq", "list"), ("dlq", "show", "x"),
    ("dlq", "edit", "x", "--set", "a=b"), ("dlq", "retry", "0" * 32), ("dlq", "retry", "--all", "--yes"),
    ("dlq", "discard", "0" * 32, "--reason", "x"), ("dlq", "export"),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_without_redis_the_remedy_is_reported(run: Run, mini: dict[str, str], command: tuple[str, ...]) -> None:
    command = tuple("0" * 32 if word == "x" else word for word in command)
    result = run(*command, **mini, REDIS_URL="redis://127.0.0.1:1/0")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Redis does not answer" in result.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_without_a_configuration_nothing_is_tried(run: Run, command: tuple[str, ...]) -> None:
    result = run(*command)
    assert result.exit_code == 2
    assert "CRM_PROVIDER" in result.stderr


def test_operations_of_a_newer_version_are_listed(
    run: Run, configured: dict[str, str], ledger: Ledger, redis_client: redis.Redis
) -> None:  # fmt: skip
    [newer] = dig(ledger)
    redis_client.hset(f"{{crmgate}}:op:{newer}", mapping={"kind": "newer_kind", "state": "newer_state"})
    [line] = [line for line in run("ops", "list", **configured).stdout.splitlines() if newer in line]
    assert "newer_kind" in line
    assert "newer_state" in line
    [item] = output_of(run("ops", "list", "--json", **configured))["items"]
    assert (item["id"], item["kind"], item["state"]) == (newer, "newer_kind", "newer_state")
    assert "newer_kind" in run("ops", "show", newer, **configured).stdout


def test_lists_for_people_and_for_scripts(run: Run, configured: dict[str, str], ledger: Ledger) -> None:
    assert run("dlq", "list", **configured).stdout == "There are no dead letters.\n"
    [one] = dig(ledger, code="timeout", first_name="[red]Ay\u015fe\x1b[2J")
    [two] = dig(ledger, code="duplicate")
    text = run("dlq", "list", **configured).stdout
    assert text.startswith("2 of 2 dead letters\n")
    assert tracking_code(one) in text
    assert "Ay" not in text
    answer = output_of(run("dlq", "list", "--code", "timeout", "--json", **configured))
    assert answer["dead_letters"] == 2
    assert [item["id"] for item in answer["items"]] == [one]
    answer = output_of(run("ops", "list", "--state", "dead", "--limit", "1", "--json", **configured))
    assert len(answer["items"]) == 1
    assert {item["id"] for item in output_of(run("ops", "list", "--since", "2h", "--json", **configured))["items"]} == {
        one, two,
    }  # fmt: skip
    assert output_of(run("ops", "list", "--since", "30m", "--json", **configured)) == {"items": []}
    assert run("ops", "list", "--since", "yesterday", **configured).exit_code == 2


def test_one_is_shown_by_id_and_by_tracking_code(run: Run, configured: dict[str, str], ledger: Ledger) -> None:
    [dead] = dig(ledger, first_name="[red]Ay\u015fe\x1b[2J", custom={"<b>": "x"})
    by_id, by_code = (
        output_of(run("dlq", "show", name, "--json", **configured)) for name in (dead, tracking_code(dead))
    )
    assert by_id == by_code
    assert (by_id["payload"]["email"], by_id["version"]) == ("test0@example.com", 1)
    text = run("dlq", "show", dead, **configured).stdout
    assert "[red]Ay\u015fe [2J" in text
    assert "\x1b" not in text
    assert "payload" not in output_of(run("ops", "show", dead, "--json", **configured))
    assert "test0@example.com" in run("ops", "show", dead, "--payload", **configured).stdout
    for name in (new_id(), "CG-0000-0000", "nonsense"):
        result = run("ops", "show", name, **configured)
        assert (result.exit_code, "no operation has this id" in result.stderr) == (1, True)


def test_an_edit_is_checked_and_kept(run: Run, configured: dict[str, str], ledger: Ledger) -> None:
    [dead] = dig(ledger, city="Izmr", custom={"fax": "1"})
    bad = run("dlq", "edit", dead, "--set", "phone=12", "--set", "nonsense=1", **configured)
    assert bad.exit_code == 1
    assert "- nonsense: There is no such field" in bad.stderr
    assert "- phone: Expected a phone number" in bad.stderr
    options = (
        "--set",
        "city=\u0130zmir",
        "--set",
        "phone=0532 123 45 67",
        "--set",
        "utm.source=x",
        "--unset",
        "custom.fax",
    )
    answer = output_of(run("dlq", "edit", tracking_code(dead), *options, "--json", **configured))
    assert (answer["version"], answer["warnings"]) == (2, [])
    found = ledger.get(dead)
    assert found is not None
    assert answer["payload"] == found.payload
    assert [entry.what for entry in Audit(ledger._redis).recent()] == ["operations.view", "dead_letters.edit"]
    assert (found.payload["city"], found.payload["phone"], found.payload["utm"]) == (
        "\u0130zmir", "+905321234567", {"source": "x"},
    )  # fmt: skip
    assert "custom" not in found.payload
    assert run("dlq", "edit", dead, "--set", "phone", **configured).exit_code == 2


def test_an_edit_of_a_click_is_checked_and_kept(run: Run, configured: dict[str, str], ledger: Ledger) -> None:
    [dead] = dig(ledger, kind=Kind.CREATE_MINIMAL_LEAD, metadata={"page": "/a", "colour": "red"})
    before = ledger.get(dead).payload  # type: ignore[union-attr]
    bad = run("dlq", "edit", dead, "--set", "channel=pigeon", "--set", "phone=+905321234567", **configured)
    assert (bad.exit_code, bad.stdout) == (1, "")
    assert "- channel: Expected one of: instagram, telegram, whatsapp." in bad.stderr
    assert "- phone: There is no such field; `metadata` takes others." in bad.stderr
    assert ledger.get(dead).payload == before  # type: ignore[union-attr]
    options = ("--set", "channel=line", "--set", "metadata.page=/b", "--unset", "metadata.colour")
    channels = {"MESSENGER_CHANNELS": "line=https://line.me/ti/{ref}"}
    answer = output_of(run("dlq", "edit", tracking_code(dead), *options, "--json", **configured, **channels))
    assert (answer["version"], answer["warnings"]) == (2, [])
    assert answer["payload"] == {**before, "channel": "line", "metadata": {"page": "/b"}}
    assert ledger.get(dead).payload == answer["payload"]  # type: ignore[union-attr]


def test_an_edit_in_the_editor(
    run: Run, configured: dict[str, str], ledger: Ledger, folder: Path, redis_client: redis.Redis
) -> None:
    [dead] = dig(ledger, city="Izmr")
    editor = folder / "editor.py"
    editor.write_text(
        "import json, sys\nfrom pathlib import Path\npath = Path(sys.argv[1])\npayload = json.loads(path.read_text())\n"
        "payload['city'] = 'Ankara'\npayload['last_name'] = 'Neu'\npath.write_text(json.dumps(payload))\n"
    )
    result = run("dlq", "edit", dead, **configured, EDITOR=f"{sys.executable} {editor}")
    assert result.exit_code == 0, result.stderr
    assert ledger.get(dead).payload["city"] == "Ankara"  # type: ignore[union-attr]
    entry, view = Audit(redis_client).recent()
    assert (view.what, view.on) == ("operations.view", dead)
    assert (entry.what, entry.on, entry.detail) == ("dead_letters.edit", dead, "city, last_name, referral_code, source")
    assert entry.who.startswith("cli:")
    unchanged = run("dlq", "edit", dead, **configured, EDITOR="true")
    assert (unchanged.exit_code, "nothing was changed" in unchanged.stderr) == (1, True)


def test_each_is_retried_and_failures_are_reported(run: Run, configured: dict[str, str], ledger: Ledger) -> None:
    one, two = dig(ledger, 2)
    result = run("dlq", "retry", one, new_id(), tracking_code(two), **configured)
    assert result.exit_code == 1
    assert f"{one}: released\n{two}: released\n" == result.stdout
    assert "no operation has this id" in result.stderr
    assert {ledger.get(i).state for i in (one, two)} == {"waiting"}  # type: ignore[union-attr]
    again = output_of(run("dlq", "retry", one, "--json", **configured))
    assert again["items"][0]["error"] is None, "a waiting operation is tried now"
    run("dlq", "discard", two, "--reason", "a test", **configured)
    ended = output_of(run("dlq", "retry", two, "--json", **configured))
    assert "in the state discarded" in ended["items"][0]["error"]


def test_discarding_takes_a_reason(run: Run, configured: dict[str, str], ledger: Ledger) -> None:
    [dead] = dig(ledger)
    assert run("dlq", "discard", dead, **configured).exit_code == 2
    assert run("dlq", "discard", dead, "--reason", " ", **configured).exit_code == 2
    assert run("dlq", "discard", dead, "--reason", "a test", **configured).exit_code == 0
    found = ledger.get(dead)
    assert found is not None
    assert (found.state, found.events[-1].detail) == ("discarded", "a test")


def test_suspects(run: Run, configured: dict[str, str], ledger: Ledger) -> None:
    kept = Operation(new_id(), Kind.CREATE_LEAD, {"first_name": "Bot"}, AGO)
    ledger.accept(kept, Recipient("mini"), alarm=0, suspect=Suspicion.HONEYPOT)
    assert [item["id"] for item in output_of(run("dlq", "list", "--suspects", "--json", **configured))["items"]] == [
        kept.id
    ]
    assert run("dlq", "list", **configured).stdout == "There are no dead letters.\n"
    assert run("dlq", "export", "--suspects", "--format", "jsonl", **configured).stdout.count("\n") == 1
    assert run("dlq", "retry", kept.id, **configured).exit_code == 0


@pytest.mark.usefixtures("worker")
def test_all_of_them_are_retried_by_a_job(
    run: Run, configured: dict[str, str], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "POLL", 0.01)
    dig(ledger, 70, code="timeout")
    dig(ledger, 3, code="duplicate")
    assert output_of(run("dlq", "retry", "--all", "--code", "timeout", "--json", **configured)) == {
        "count": 70,
        "exact": True,
    }
    refused = run("dlq", "retry", "--all", **configured, stdin="n\n")
    assert (refused.exit_code, ledger.stats()["dead_letters"]) == (1, 73)
    result = run("dlq", "retry", "--all", "--code", "timeout", **configured, stdin="y\n")
    assert result.exit_code == 0, result.stderr
    assert "The job is finished: 70 of 70 dead letters" in result.stdout
    assert ledger.stats()["dead_letters"] == 3
    done = output_of(run("dlq", "retry", "--all", "--yes", "--json", **configured))
    assert (done["state"], done["released"], done["seen"]) == ("finished", 3, 3)
    assert output_of(run("dlq", "retry", "--follow", "--json", **configured)) == done
    assert "There is nothing to retry" in run("dlq", "retry", "--all", **configured).stdout


def test_a_job_can_be_left_followed_and_cancelled(
    run: Run, configured: dict[str, str], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "there is no job" in run("dlq", "retry", "--cancel", **configured).stderr
    dig(ledger, 3)
    job = output_of(run("dlq", "retry", "--all", "--yes", "--detach", "--json", **configured))
    assert job["state"] == "running"
    other = run("dlq", "retry", "--all", "--yes", **configured)
    assert (other.exit_code, job["id"] in other.stderr) == (1, True)

    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("crmgate.cli.bulk.time.sleep", interrupt)
    left = run("dlq", "retry", "--follow", **configured)
    assert left.exit_code == 0
    assert "The job continues in the worker" in left.stderr
    ended = output_of(run("dlq", "retry", "--cancel", "--json", **configured))
    assert (ended["id"], ended["state"]) == (job["id"], "cancelled")


@pytest.mark.parametrize(
    ("trouble", "words"),
    [("none", "No worker was seen"), ("outage", "Mini CRM takes nothing now: the CRM does not answer"),
     ("busy", "Other operations wait")],
)  # fmt: skip
def test_the_reason_for_a_stalled_job_is_reported_once(
    run: Run, configured: dict[str, str], ledger: Ledger, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch,
    trouble: str, words: str,
) -> None:  # fmt: skip
    dig(ledger, 3)
    if trouble != "none":
        ledger.beat("w")
    if trouble == "outage":
        redis_client.hset("{crmgate}:gate:mini", mapping={"cause": "outage", "since": 1, "until": time.time() + 60})
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(bulk, "STALL", -1.0)
    monkeypatch.setattr(bulk.time, "sleep", sleep)
    result = run("dlq", "retry", "--all", "--yes", **configured)
    assert result.exit_code == 0
    assert result.stderr.count(words) == 1


@pytest.mark.parametrize("words", [(), ("x", "--all"), ("--follow", "--cancel"), ("x", "--code", "timeout")])
def test_ambiguous_options_are_refused(run: Run, configured: dict[str, str], words: tuple[str, ...]) -> None:
    assert run("dlq", "retry", *words, **configured).exit_code == 2


def test_an_export_is_harmless_and_private(
    run: Run, configured: dict[str, str], ledger: Ledger, folder: Path, redis_client: redis.Redis
) -> None:
    [dead] = dig(ledger, first_name='=HYPERLINK("http://evil")', phone="+905321234567", city="\u0130zmir")
    result = run("dlq", "export", "--output", "dead.csv", "--json", **configured)
    assert output_of(result) == {"file": "dead.csv", "format": "csv", "exported": 1}
    assert (folder / "dead.csv").stat().st_mode & 0o777 == 0o600
    [row] = csv.DictReader(io.StringIO((folder / "dead.csv").read_text("utf-8")))
    assert (row["first_name"], row["phone"], row["city"]) == (
        '\'=HYPERLINK("http://evil")', "'+905321234567", "\u0130zmir",
    )  # fmt: skip
    again = run("dlq", "export", "--output", "dead.csv", **configured)
    assert (again.exit_code, "exists already" in again.stderr) == (1, True)
    line = json.loads(run("dlq", "export", "--format", "jsonl", **configured).stdout)
    assert (line["id"], line["payload"]["phone"]) == (dead, "+905321234567")
    assert {entry.what for entry in Audit(redis_client).recent()} == {"dead_letters.export"}


def test_half_an_export_is_not_left_behind(
    run: Run, configured: dict[str, str], ledger: Ledger, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dig(ledger)

    def broken(_self: Inventory, _wanted: Filter) -> Iterator[Operation]:
        yield ledger.get(made)  # type: ignore[misc]
        raise LedgerUnavailable("gone")

    [made] = dig(ledger)
    monkeypatch.setattr(Inventory, "all", broken)
    result = run("dlq", "export", "--output", "dead.csv", **configured)
    assert (result.exit_code, "Redis does not answer" in result.stderr) == (1, True)
    assert not (folder / "dead.csv").exists()


def test_the_tail_reports_each_change_once(ledger: Ledger, redis_client: redis.Redis) -> None:
    from crmgate.cli.tail import Tail

    inventory = Inventory(redis_client)
    old = dig(ledger, 12)
    tail = Tail(inventory)
    assert [operation.id for operation in tail.begin(3)] == old[-3:]
    assert list(tail.changes()) == []
    [new] = add_dead_letters(ledger, provider="mini", at=AGO + 60)
    assert [operation.id for operation in tail.changes()] == [new]
    late = Operation(new_id(), Kind.CREATE_LEAD, {}, AGO + 59)  # recorded after one that was accepted later
    with at(ledger, AGO + 59):
        ledger.accept(late, Recipient("mini"), alarm=0)
    ledger.discard(old[0], Recipient("mini"), reason="x")
    assert sorted(operation.id for operation in tail.changes()) == sorted([old[0], late.id])
    assert list(tail.changes()) == []
    ledger.discard(new, Recipient("mini"), reason="x")
    assert [(o.id, o.state) for o in tail.changes()] == [(new, "discarded")]
    assert list(tail.changes()) == []
    assert inventory.page(Filter()).items


def test_the_tail_is_followed_until_ctrl_c(
    run: Run, configured: dict[str, str], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    dig(ledger)
    looks: list[int] = []

    def sleep(_seconds: float) -> None:
        looks.append(1)
        if len(looks) == 2:
            raise KeyboardInterrupt
        dig(ledger, code="timeout")

    module = importlib.import_module("crmgate.cli.ops")  # the package's attribute of that name is the command
    monkeypatch.setattr(module.time, "sleep", sleep)
    result = run("ops", "tail", "--json", **configured)
    assert result.exit_code == 0
    assert [json.loads(line)["code"] for line in result.stdout.splitlines()] == ["invalid_value", "timeout"]

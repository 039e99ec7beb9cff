"""Each script uses and documents the arguments that Python passes, no more and no less; luacheck reports nothing."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import redis

from crmgate import kinds
from crmgate.model import Kind
from crmgate.store import scripts
from crmgate.store.entries import GateEvent
from crmgate.store.gate import RULES
from crmgate.store.ledger import Ledger
from crmgate.store.wakeups import wake_message
from tests import luacheck, needs
from tests.everything import use

Names = dict[str, set[str]]
NESTED = {"to": "to", "audit": "entry", "claim": "claim"}
"""Arguments with parts that the shared files read: the name that they have there."""


def code(name: str) -> str:
    """A file without its comments and strings."""
    return re.sub(r"--.*|'[^']*'", "", scripts.read(name))


def definitions() -> dict[str, str]:
    """Code of each name that the files before each script define."""
    shared = "".join(map(code, scripts.SHARED))
    parts = re.split(r"^local (?:function )?(\w+)", shared, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def used(name: str) -> set[str]:
    """The arguments that a script reads itself, and by what it uses of the shared files; all get the time."""
    shared, texts, reached = definitions(), [code(name)], {"now"}
    while texts:
        text = texts.pop()
        reached |= {_whole(name) for name in re.findall(r"\ba\.([\w.]+)", text)}
        texts += [shared.pop(word) for word in set(re.findall(r"\b\w+\b", text)) & shared.keys()]
    return reached


def _whole(name: str) -> str:
    """An argument without the part that is read: the parts of `event` are those of gate.lua."""
    return "event" if name.startswith("event.") else name


def documented(name: str) -> set[str]:
    [header] = re.findall(r"\A(?:--.*\n)+", scripts.read(name))
    found = set(re.findall(r"^--   ([\w.]+)  +\S", header, re.MULTILINE))
    return found | ({"ARGV[2]"} if "\n-- ARGV[2]: " in header else set())


class Recording:
    """A client that remembers the arguments of each script (`passed`), and the parts of those that have some."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self.passed: Names = defaultdict(set)
        self.parts: Names = defaultdict(set)

    def register_script(self, text: str) -> Callable[..., Any]:
        script: Callable[..., Any] = self._client.register_script(text)
        names = [name for name in scripts.NAMES if text.endswith(scripts.read(name))]
        if not names:
            return script  # it stands alone
        [name] = names

        def run(keys: list[str], args: list[str]) -> Any:
            arguments = json.loads(args[0])
            self.passed[name] |= set(_flat(arguments)) | ({"ARGV[2]"} if args[1] else set())
            for argument in NESTED:
                self.parts[argument] |= set(arguments.get(argument, ()))
            return script(keys=keys, args=args)

        return run

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def _flat(arguments: dict[str, Any]) -> list[str]:
    """The names of the arguments; `session` has parts that its script reads itself."""
    return [*arguments, *(f"session.{part}" for part in arguments.get("session", ()))]


def test_what_is_passed_is_used_and_documented(redis_client: redis.Redis) -> None:
    recording: Any = Recording(redis_client)
    use(Ledger(recording, wake_message), redis_client)
    assert recording.passed.keys() == set(scripts.NAMES)
    for name, passed in recording.passed.items():
        assert passed == used(name) | ({"ARGV[2]"} if "ARGV[2]" in code(name) else set()), name
        assert passed == documented(name) | {"now"}, name
    texts = "".join(code(name) for name in (*scripts.SHARED, *scripts.NAMES))
    for argument, parts in recording.parts.items():
        assert parts == set(re.findall(rf"\b{NESTED[argument]}\.(\w+)", texts))
        assert parts == {name.partition(".")[2] for name in documented("common") if name.startswith(f"{argument}.")}


def test_the_gate_reads_what_an_attempt_says_about_its_provider() -> None:
    read = set(re.findall(r"\bevent\.(\w+)", code("gate")))
    by_the_scripts = {"now", "credentials", "id", "refused_at", "began"}
    assert read == {field.name for field in fields(GateEvent)} | by_the_scripts


def test_the_gate_follows_the_rules_of_python() -> None:
    read = set(re.findall(r"\brules\.(\w+)", code("gate")))
    assert read == {*RULES, "epidemic_after", "most"}


def test_the_scripts_decide_by_the_table_of_kinds() -> None:
    texts = "".join(scripts.read(name) for name in (*scripts.SHARED, *scripts.NAMES))
    assert [kind for kind in Kind if re.search(rf"\b{kind}\b", texts)] == []
    traits = set(re.findall(r"\b(?:kinds\[\w+\]|traits)\.(\w+)", texts))
    assert {"needs_lead", "without_lead", "minimal"} <= traits <= set(kinds.for_scripts()[Kind.CREATE_LEAD])


def test_luacheck_finds_nothing() -> None:
    assert luacheck.problems(needs.need("luacheck"), luacheck.sources()) == []


@pytest.mark.parametrize(
    ("name", "mistake", "code"),
    [
        ("accept", "local join = 1", "W431"),
        ("claim", "nowhere()", "W113"),
        ("gate", "local function nobody_calls_this() end", "W211"),
        ("common", "local function nobody_calls_this() end", "W211"),
        ("limit", "local unused = 1", "W211"),
    ],
)
def test_luacheck_finds_a_mistake_and_its_line(name: str, mistake: str, code: str) -> None:
    sources = luacheck.sources()
    sources[name] = f"-- A comment.\n{mistake}\n{sources[name]}"
    found = luacheck.problems(needs.need("luacheck"), sources)
    assert any(each.startswith(f"crmgate/store/lua/{name}.lua:2: ({code})") for each in found), found


@pytest.mark.parametrize(("ci", "status"), [("true", 1), ("", 0)])
def test_without_luacheck_the_check_says_so_and_fails_in_the_continuous_integration(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ci: str, status: int
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setitem(needs.TOOLS, "luacheck", ("no-such-program", "lua-check"))
    monkeypatch.setenv("CI", ci)
    assert luacheck.main() == status
    assert "no-such-program is missing; on Debian or Ubuntu: apt-get install lua-check" in capsys.readouterr().out

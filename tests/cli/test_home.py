"""Other commands find the gateway that `crmgate dev` runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from crmgate.cli import home, main
from tests.processes import RedisProcess

SETTINGS = {"CRM_PROVIDER": "sandbox", "REDIS_URL": "redis://:p@127.0.0.1:1/0", "ODD": "a'b\\c\"d ${HOME} #\nend"}


@pytest.fixture
def environ(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of this process, which forgets after the test what it has adopted."""
    found = {"PATH": os.environ["PATH"]}
    monkeypatch.setattr("os.environ", found)
    home.write(home.created(folder / ".crmgate"), SETTINGS)
    return found


def adopted(environ: dict[str, str]) -> set[str]:
    return environ.keys() - {"PATH", "PYTEST_CURRENT_TEST"}


def test_the_settings_of_a_running_gateway_are_adopted(folder: Path, environ: dict[str, str]) -> None:
    with home.claimed(folder / ".crmgate"):
        home.adopt({"CRM_PROVIDER": "acme"})
    assert adopted(environ) == {"REDIS_URL", "ODD"}, "an explicit setting takes precedence"
    assert environ["ODD"] == SETTINGS["ODD"]
    assert (folder / ".crmgate/env").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["REDIS_URL", "REDIS_HOST", "REDIS_SENTINELS"])
def test_an_explicit_redis_means_another_gateway(folder: Path, environ: dict[str, str], name: str) -> None:
    with home.claimed(folder / ".crmgate"):
        home.adopt({name: "redis.example.com"})
    assert adopted(environ) == set()


def test_a_stopped_gateway_is_named_and_not_used(
    folder: Path, environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The file of a gateway that was killed is still there."""
    home.adopt({})
    assert adopted(environ) == set()
    assert f"The gateway of `crmgate dev` in {folder / '.crmgate'} has stopped" in capsys.readouterr().err


def test_the_file_of_another_user_is_not_read(
    folder: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getuid", lambda: 4711)
    with home.claimed(folder / ".crmgate"):
        home.adopt({})
    assert adopted(environ) == set()


def test_send_takes_the_port_from_the_env_file(folder: Path) -> None:
    (folder / ".env").write_text("PORT=1\n")
    result = CliRunner().invoke(main, ["send", "lead"], env={"PORT": None})
    assert (result.exit_code, "no gateway answers at http://127.0.0.1:1/" in result.stderr) == (1, True)


def test_a_private_redis_takes_any_folder(tmp_path: Path) -> None:
    folder = tmp_path / "my \"own\" 'Redis' \\ ü"
    process = RedisProcess(folder)
    process.start()
    process.kill()
    assert list(folder.rglob("*aof*"))

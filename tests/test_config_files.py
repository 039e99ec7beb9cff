"""Settings from files: `.env` in the working directory, and files with one secret in them."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from crmgate.config import CoreSettings, Settings, environment
from crmgate.errors import ConfigError
from tests.test_config import CANARY, ENVIRON, problems


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of its own, and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in CoreSettings().fields:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_env_file_is_read(folder: Path) -> None:
    (folder / ".env").write_text("\ufeffCRM_PROVIDER=bitrix\nexport CRM_TIMEOUT='7'\n# LOG_LEVEL=DEBUG\nREDIS_HOST\n")
    settings = Settings.load()
    assert (settings.provider, settings.timeout, settings.log_level) == ("bitrix", 7.0, "INFO")
    assert "REDIS_HOST" not in settings.environ


def test_the_process_overrides_the_env_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("CRM_PROVIDER=bitrix\nCRM_TIMEOUT=7\n")
    monkeypatch.setenv("CRM_PROVIDER", "espocrm")
    settings = Settings.load()
    assert (settings.provider, settings.timeout) == ("espocrm", 7.0)


def test_only_what_was_handed_over_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("CRM_PROVIDER=bitrix\n")
    monkeypatch.setenv("CRM_PROVIDER", "espocrm")
    assert problems({}) != ()


def test_without_an_env_file_the_process_is_enough(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_PROVIDER", "espocrm")
    assert Settings.load().provider == "espocrm"
    assert environment()["CRM_PROVIDER"] == "espocrm"


def test_an_env_file_above_the_working_directory_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("CRM_PROVIDER=bitrix\n")
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    assert "CRM_PROVIDER" not in environment()


def test_an_env_file_that_is_no_text_is_a_problem_and_not_shown(folder: Path) -> None:
    (folder / ".env").write_bytes(f"REDIS_PASSWORD={CANARY}\xff".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"^\.env: the file cannot be read \(UnicodeDecodeError\)\.") as caught:
        environment()
    assert caught.value.__context__ is None
    assert CANARY not in "".join(traceback.format_exception(caught.value))


class TestFilesOfSecrets:
    """`<SETTING>_FILE`, as Docker and systemd hand secrets over."""

    def test_a_secret_may_stand_in_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text(f"\ufeff{CANARY}\n")
        environ = {"REDIS_PASSWORD_FILE": f" {tmp_path / 'secret'}\n"}
        settings = Settings.load(ENVIRON | environ)
        assert settings.redis.url == f"redis://:{CANARY}@127.0.0.1:6379/0"
        assert CANARY not in repr(settings)

    def test_the_setting_itself_comes_first_and_its_file_is_not_read(self) -> None:
        environ = {"REDIS_PASSWORD": "plain", "REDIS_PASSWORD_FILE": "/does/not/exist"}
        assert ":plain@" in Settings.load(ENVIRON | environ).redis.url

    @pytest.mark.parametrize("text", [None, b"", b" \n", b"\xff"])
    def test_a_file_that_cannot_be_used_is_reported(self, tmp_path: Path, text: bytes | None) -> None:
        path = tmp_path / "secret"
        if text is not None:
            path.write_bytes(text)
        [problem] = problems(ENVIRON | {"REDIS_URL_FILE": str(path)})
        assert problem.startswith(f"REDIS_URL_FILE, got '{path}': The file ")
        assert problem.endswith("It takes a file with the secret in it.")

    def test_a_wrong_secret_in_a_file_is_not_shown(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text(CANARY)
        [problem] = problems(ENVIRON | {"REDIS_URL_FILE": str(tmp_path / "secret")})
        assert problem.startswith("REDIS_URL, got a value that is not shown: ")

    def test_only_secrets_have_files(self, tmp_path: Path) -> None:
        (tmp_path / "level").write_text("DEBUG")
        assert Settings.load(ENVIRON | {"LOG_LEVEL_FILE": str(tmp_path / "level")}).log_level == "INFO"

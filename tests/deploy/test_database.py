"""contrib/sql/init/03-espocrm.sh against a real MariaDB."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.files import ROOT
from tests.needs import need
from tests.processes import Process, wait_until

SCRIPT = ROOT / "contrib/sql/init/03-espocrm.sh"
ROOTS = r"""r'o"o\t"""
NASTY = r"""it's "quo'ted" `b` \'; DROP DATABASE mysql; -- $(id) ${PATH} ü %_"""


class MariaDB(Process):
    """A server of its own, reached over a socket."""

    def __init__(self, folder: Path) -> None:
        self.socket, data = folder / "s", folder / "data"
        account = f"--user={os.environ.get('USER', 'root') if os.geteuid() else 'root'}"
        server = Path(need("mariadb"))
        install = ["mariadb-install-db", "--no-defaults", f"--datadir={data}", account, "--skip-test-db",
                   "--auth-root-authentication-method=normal"]  # fmt: skip
        subprocess.run(install, check=True, capture_output=True)
        command = [str(server), "--no-defaults", account, f"--datadir={data}", f"--socket={self.socket}",
                   "--skip-networking", "--innodb-buffer-pool-size=16M"]  # fmt: skip
        super().__init__("mariadb", command, folder)

    def query(self, sql: str, user: str = "root", password: str = "", database: str = "") -> str:
        done = self.client([f"--user={user}", "--batch", "--skip-column-names", "-e", sql, database], password)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def client(self, arguments: list[str], password: str) -> subprocess.CompletedProcess[str]:
        command = ["mysql", "--no-defaults", f"--socket={self.socket}", "--default-character-set=utf8mb4", *arguments]
        return subprocess.run(
            command, env=os.environ | {"MYSQL_PWD": password}, capture_output=True, text=True, check=False
        )


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    server = MariaDB(tmp_path_factory.mktemp("mariadb"))
    server.start()
    wait_until("MariaDB answers", lambda: server.client(["--user=root", "-e", "SELECT 1"], "").returncode == 0)
    server.query(f"ALTER USER root@localhost IDENTIFIED BY {_sql(ROOTS)}")
    yield server
    server.kill()


def _sql(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def run(mariadb: MariaDB, *shell: str, **names: str) -> subprocess.CompletedProcess[str]:
    """Run the script; `mysql` finds the server where it is, as it does in MySQL's image."""
    client = mariadb.socket.parent / "bin" / "mysql"
    client.parent.mkdir(exist_ok=True)
    client.write_text(f'#!/bin/sh\nexec {shutil.which("mysql")} --no-defaults --socket={mariadb.socket} "$@"\n')
    client.chmod(0o755)
    environ = {"PATH": f"{client.parent}:{os.environ['PATH']}", "MYSQL_ROOT_PASSWORD": ROOTS}
    command = shell or ("sh", str(SCRIPT))
    return subprocess.run(command, env=environ | names, capture_output=True, text=True, check=False)


def test_without_a_password_nothing_is_made(mariadb: MariaDB) -> None:
    done = run(mariadb, ESPOCRM_DB_NAME="none")
    assert (done.returncode, done.stderr) == (1, "Set ESPOCRM_DB_PASSWORD in .env.\n")
    assert "none" not in mariadb.query("SHOW DATABASES", password=ROOTS).split()


@pytest.mark.parametrize(("name", "user"), [("espocrm", "espocrm"), ("my`d'b_%", "o'neil \\")])
def test_it_can_be_run_twice_whatever_the_password_has_in_it(mariadb: MariaDB, name: str, user: str) -> None:
    names = {"ESPOCRM_DB_NAME": name, "ESPOCRM_DB_USER": user, "ESPOCRM_DB_PASSWORD": NASTY}
    first = run(mariadb, **names)
    assert (first.returncode, first.stderr) == (0, "")
    mariadb.query("CREATE TABLE lead (id INT); INSERT INTO lead VALUES (1)", user, NASTY, name)
    second = run(mariadb, **names)
    assert (second.returncode, second.stderr) == (0, "")
    assert mariadb.query("SELECT count(*) FROM lead", user, NASTY, name) == "1\n"
    assert NASTY not in first.stdout + second.stdout


def test_a_new_password_counts_after_another_run(mariadb: MariaDB) -> None:
    names = {"ESPOCRM_DB_NAME": "changed", "ESPOCRM_DB_USER": "changed"}
    for password in ("first", NASTY, "last"):
        assert run(mariadb, **names, ESPOCRM_DB_PASSWORD=password).returncode == 0
        assert mariadb.query("SELECT 1", "changed", password, "changed") == "1\n"
    assert mariadb.client(["--user=changed", "-e", "SELECT 1"], "first").returncode != 0


def test_the_user_has_that_database_and_no_other(mariadb: MariaDB) -> None:
    assert run(mariadb, ESPOCRM_DB_NAME="a_b", ESPOCRM_DB_USER="only", ESPOCRM_DB_PASSWORD="x").returncode == 0
    mariadb.query("CREATE DATABASE aXb; CREATE DATABASE other", password=ROOTS)
    seen = mariadb.query("SHOW DATABASES", "only", "x").split()
    assert seen == ["a_b", "information_schema"]


def test_it_may_be_run_by_the_shell_that_reads_it(mariadb: MariaDB) -> None:
    """MySQL's image sources a script without the executable bit: it must leave that shell as it was."""
    script = f"set +u; . {SCRIPT}; echo $- ${{name-unset}}"
    names = {"ESPOCRM_DB_NAME": "sourced", "ESPOCRM_DB_USER": "sourced", "ESPOCRM_DB_PASSWORD": "x"}
    done = run(mariadb, "bash", "-c", script, **names)
    options, name = done.stdout.splitlines()[-1].split()
    assert (name, set("eu") & set(options)) == ("unset", set())
    assert mariadb.query("SELECT 1", "sourced", "x", "sourced") == "1\n"
    assert stat.S_IMODE(SCRIPT.stat().st_mode) & 0o111

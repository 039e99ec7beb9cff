"""Firefox for tests: Debian's own, driven over Marionette.

Playwright drives only its own build of Firefox, and Debian has no geckodriver. Marionette is the protocol that
geckodriver itself speaks with Firefox (https://firefox-source-docs.mozilla.org/testing/marionette/Protocol.html): over
TCP, each message is its length, a colon and a JSON list.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from itertools import count
from pathlib import Path
from typing import Any, Self

from tests.processes import DEADLINE, wait_until

PREFERENCES = {
    "marionette.port": 0,  # a free one, written into the profile
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "browser.safebrowsing.update.enabled": False,
    "app.normandy.enabled": False,
    "extensions.update.enabled": False,
}
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""Key of the id of an element (WebDriver, 12.2)."""


class Refused(Exception):
    """Firefox refused a command."""


class Firefox:
    """A headless Firefox with one window and an empty profile in `folder`."""

    def __init__(self, executable: str, folder: Path) -> None:
        self._ids, self._folder = count(1), folder
        lines = (f'user_pref("{name}", {json.dumps(value)});' for name, value in PREFERENCES.items())
        (folder / "user.js").write_text("\n".join(lines))
        self._process = subprocess.Popen(
            [executable, "--headless", "--marionette", "--no-remote", "--profile", str(folder)],
            env=os.environ | {"HOME": str(folder)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        try:
            port = self._folder / "MarionetteActivePort"
            wait_until("Firefox listens", lambda: port.exists() and port.read_text().strip())
            self._socket = socket.create_connection(("127.0.0.1", int(port.read_text())), timeout=DEADLINE)
            self._receive()  # who it is
            self.command("WebDriver:NewSession", timeouts={"implicit": 1000 * DEADLINE})
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        if self._socket:
            self._socket.close()
        self._process.terminate()
        try:
            self._process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def command(self, name: str, **parameters: Any) -> Any:
        """Send a command of Marionette; returns its result. Raises `Refused`."""
        assert self._socket
        data = json.dumps([0, next(self._ids), name, parameters])
        self._socket.sendall(f"{len(data.encode())}:{data}".encode())
        _kind, _id, error, result = self._receive()
        if error:
            raise Refused(f"{name}: {error['error']}: {error['message']}")
        return result["value"] if isinstance(result, dict) and result.keys() == {"value"} else result

    def _receive(self) -> Any:
        length = b""
        while not length.endswith(b":"):
            length += self._read(1)
        return json.loads(self._read(int(length[:-1])))

    def _read(self, size: int) -> bytes:
        assert self._socket
        data = b""
        while len(data) < size:
            more = self._socket.recv(size - len(data))
            assert more, "Firefox has closed the connection"
            data += more
        return data

    def visit(self, url: str) -> None:
        self.command("WebDriver:Navigate", url=url)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run the body of a function with the rights of the page, whatever its policy for scripts; its result."""
        return self.command("WebDriver:ExecuteScript", script=script, args=list(arguments), sandbox=None)

    def fill(self, selector: str, text: str) -> None:
        """Type into the element; of a file input, the paths of files."""
        self.command("WebDriver:ElementSendKeys", id=self._find(selector), text=text)

    def click(self, selector: str) -> None:
        self.command("WebDriver:ElementClick", id=self._find(selector))

    def text(self, selector: str) -> str:
        """The visible text of the element, once it is there."""
        return str(self.command("WebDriver:GetElementText", id=self._find(selector)))

    def _find(self, selector: str) -> str:
        return str(self.command("WebDriver:FindElement", using="css selector", value=selector)[ELEMENT])

"""A vendor's server and its SDK without HTTP. The SDK calls the server in this process, under the faults of the kit."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

from crmgate.testing import Failed, Failure, FakeDestination

TOKEN = "sheet-token-4711"
_numbers = itertools.count()


class SheetError(Exception):
    """Error of the vendor's SDK. Its text repeats what the server says."""

    def __init__(self, code: str, text: str, retry_after: float | None = None) -> None:
        self.code, self.retry_after = code, retry_after
        super().__init__(text)


# What stands between the lines `# docs:` and `# docs: end` is shown in docs/plugins/testing.md.
# docs:
class FakeSheet(FakeDestination):
    """The vendor's server. The SDK calls it in this process."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, Any]] = []
        self.address = f"sheet-{next(_numbers)}"
        SERVERS[self.address] = self

    def records(self) -> dict[str, list[dict[str, Any]]]:
        return {"rows": self.rows}

    def call(self, name: str, token: str, values: dict[str, Any], timeout: float) -> Any:
        """One call of the SDK, under the faults of the kit."""
        try:
            return self.exchange(
                name, values, partial(self._work, name, token, values), reads=name == "find", timeout=timeout
            )
        except Failed as failed:
            raise SheetError(failed.failure, failed.text, failed.retry_after) from None

    # docs: end

    def _work(self, name: str, token: str, values: dict[str, Any]) -> Any:
        if token != TOKEN:
            raise Failed(Failure.CREDENTIALS, f"wrong token {token}")
        with self.lock:
            match name:
                case "append":
                    self.rows.append({"id": f"R{len(self.rows) + 1}"} | values)
                    return self.rows[-1]["id"]
                case "find":
                    return [row for row in self.rows if values.items() <= row.items()]
            [row] = [row for row in self.rows if row["id"] == values["id"]]
            row |= values
            return row["id"]


SERVERS: dict[str, FakeSheet] = {}


class SheetClient:
    """The vendor's SDK."""

    def __init__(self, address: str, token: str) -> None:
        self._server, self._token = SERVERS[address], token

    def call(self, name: str, timeout: float, /, **values: Any) -> Any:
        """Raises `SheetError` or `OSError`."""
        return self._server.call(name, self._token, values, timeout)

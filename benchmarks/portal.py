"""A Bitrix24 with the vendor's limits, as a process of its own: `python -m benchmarks.portal --port 8091`.

`GET /__count__` answers with the numbers of leads and of requests, and with the refused requests.
"""

from __future__ import annotations

import json
import time

from crmgate.testing.bitrix24 import FakeBitrix24
from crmgate.testing.server import Request, Response, serve

COUNT = "/__count__"


class Portal(FakeBitrix24):
    """A fake portal that refuses requests above the limits and counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.rate_limit = True
        self.first = 0.0
        self.answered = 0
        self.refused: list[float] = []
        """Times of refused requests, in seconds after the first request."""

    def answer(self, request: Request) -> Response:
        """The answer of the portal, which is noted, or the counts."""
        if request.path == COUNT:
            return Response(body=json.dumps(self._counts()))
        self.first = self.first or time.monotonic()
        response = super().answer(request)
        with self.lock:
            self.answered += 1
            if "QUERY_LIMIT_EXCEEDED" in str(response.body):
                self.refused.append(time.monotonic() - self.first)
            self.requests.clear()
        return response

    def _counts(self) -> dict[str, object]:
        with self.lock:
            since = time.monotonic() - self.first if self.first else 0.0
            return {"leads": len(self.leads), "requests": self.answered, "refused": self.refused, "seconds": since}


if __name__ == "__main__":
    serve(Portal())

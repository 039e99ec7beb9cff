"""What every answer gets: the id of the request, the security headers, CORS, a line in the log and a count.

It is a WSGI middleware, because the headers of an answer are a plain list there. Handlers of Flask (`after_request`)
would cost a tenth of the time of a submission.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask, Request

from crmgate import logs
from crmgate.web import cors, headers, request_log
from crmgate.web.request_id import HEADER, id_of

Environ = dict[str, Any]
App = Callable[[Environ, Any], Iterable[bytes]]


def init_app(app: Flask) -> None:
    """Finish every answer of `app`."""
    app.wsgi_app = _finished(app, app.wsgi_app)  # type: ignore[method-assign,assignment]


def _finished(flask: Flask, app: App) -> App:
    def wrapped(environ: Environ, start_response: Any) -> Iterable[bytes]:
        begun, request_id = time.perf_counter(), id_of(environ)
        logs.begin(request_id=request_id)

        def start(status: str, given: headers.Headers, *error: Any) -> Any:
            sent: Request = environ["werkzeug.request"]
            headers.secure(given)
            cors.allow(given, sent, flask.extensions["crmgate"].settings)
            given.append((HEADER, request_id))
            request_log.record(sent, int(status[:3]), time.perf_counter() - begun)
            return start_response(status, given, *error)

        return app(environ, start)

    return wrapped

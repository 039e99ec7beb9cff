"""Failures as `application/problem+json` (RFC 9457), or as a small page for a browser's form post."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from http import HTTPStatus

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from crmgate import logs
from crmgate.errors import (
    AttemptUnderWay,
    ChangedMeanwhile,
    CrmgateError,
    JobRunning,
    LedgerUnavailable,
    NoSuchOperation,
    NotAccepted,
    OperationEnded,
    SpoolUnavailable,
)
from crmgate.schemas.faults import FieldError, InvalidFields
from crmgate.web.codes import ProblemCode
from crmgate.web.pages import page, wants_page
from crmgate.web.request_id import request_id

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = 10
"""Seconds to wait when Redis does not answer."""
# The excluded statuses have several codes, or need a specific one: they are raised as a `Problem` with its code.
_BY_STATUS = {code.status: code for code in ProblemCode if code.status not in (400, 401, 403, 409, 422)}

log = logging.getLogger(__name__)


class Problem(Exception):
    """Ends the request with the problem `code`. `detail` must not contain the visitor's input."""

    def __init__(
        self,
        code: ProblemCode,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.code, self.detail, self.errors, self.headers = code, detail, tuple(errors), dict(headers or {})
        super().__init__(detail)


def init_app(app: Flask) -> None:
    """Answer every failure of `app` as a problem document."""
    app.register_error_handler(Problem, _problem)
    app.register_error_handler(InvalidFields, _invalid_fields)
    app.register_error_handler(NotAccepted, _not_accepted)
    app.register_error_handler(LedgerUnavailable, _ledger_unavailable)
    app.register_error_handler(SpoolUnavailable, _spool_unavailable)
    for kind in OPERATORS:
        app.register_error_handler(kind, _to_operator)
    app.register_error_handler(HTTPException, _http_exception)
    app.register_error_handler(Exception, _unexpected)


def _problem(problem: Problem) -> Response:
    if wants_page():
        return _as_page(problem)
    return _as_json(
        problem.code.status, problem.code.uri, problem.code.summary, problem.detail, problem.errors, problem.headers
    )


def _invalid_fields(error: InvalidFields) -> Response:
    detail = "Nothing was stored. Correct the fields and send again."
    return _problem(Problem(ProblemCode.INVALID_BODY, detail, errors=error.errors))


def _as_page(problem: Problem) -> Response:
    items = (f"{_label(error.field)}: {error.message}" for error in problem.errors)
    back = ["Your browser's Back button leads to the form, with what you typed."] if problem.errors else []
    response = page(problem.code.summary, [problem.detail, *back], items, status=problem.code.status)
    response.headers.extend(problem.headers)
    return response


def _label(field: str) -> str:
    """The label of a field: "First name" for `personal_info.first_name`, "Universities 3" for `universities.2`."""
    parts = field.split(".")
    number = f" {int(parts.pop()) + 1}" if parts[-1].isdigit() else ""
    return parts[-1].replace("_", " ").strip().capitalize() + number


def _as_json(
    status: int, uri: str, title: str, detail: str, errors: Sequence[FieldError], headers: Mapping[str, str]
) -> Response:
    body: dict[str, object] = {
        "type": uri, "title": title, "status": status, "detail": detail, "request_id": request_id()
    }  # fmt: skip
    if errors:
        body["errors"] = [asdict(error) for error in errors]
    response = Response(json.dumps(body), status, headers=headers, mimetype=MEDIA_TYPE)
    response.headers["Cache-Control"] = "no-store"
    return response


def _not_accepted(error: NotAccepted) -> Response:
    log.error("a submission could be neither recorded nor delivered (request %s)", request_id())
    return _unavailable("Your submission was not accepted. Please send it again in a moment.", error.retry_after)


def _ledger_unavailable(_error: LedgerUnavailable) -> Response:
    return _unavailable("The gateway's storage does not answer. Please try again in a moment.", RETRY_AFTER)


def _spool_unavailable(error: SpoolUnavailable) -> Response:
    """A submission never raises it: only operators read the spool."""
    log.error("%s (request %s)", error, request_id())
    return _unavailable("The spool of this host cannot be used: see the log. Try again in a moment.", RETRY_AFTER)


def _to_operator(error: CrmgateError) -> Response:
    code, detail = OPERATORS[type(error)]
    return _problem(Problem(code, detail.format(error)))


OPERATORS: dict[type[CrmgateError], tuple[ProblemCode, str]] = {
    NoSuchOperation: (ProblemCode.NOT_FOUND, "There is no operation or job with this id, or it is no longer kept."),
    OperationEnded: (ProblemCode.NOT_A_DEAD_LETTER, "Nothing was changed: the operation has ended in the state {}."),
    AttemptUnderWay: (ProblemCode.UNDER_WAY, "Nothing was changed. Try again when the attempt has ended."),
    ChangedMeanwhile: (ProblemCode.CHANGED_MEANWHILE, "Nothing was changed. Read it again and edit that version."),
    JobRunning: (ProblemCode.JOB_RUNNING, "Wait for the job {} to end, or cancel it."),
}
"""Code and detail of the problem for each error of an operator's request."""


def _unavailable(detail: str, retry_after: int) -> Response:
    return _problem(Problem(ProblemCode.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": str(retry_after)}))


def _http_exception(error: HTTPException) -> BaseResponse:
    """Werkzeug's own errors, with their headers (`Allow`, `Retry-After`); redirects pass unchanged."""
    if error.code is None or error.code < 400 or error.response is not None:
        return error.get_response()
    headers = {name: value for name, value in error.get_headers(request.environ) if name.lower() != "content-type"}
    detail = error.description or ""
    if error.code in _BY_STATUS:
        return _problem(Problem(_BY_STATUS[error.code], detail, headers=headers))
    # RFC 9457, 4.2.1: a problem without a type of its own.
    return _as_json(error.code, "about:blank", HTTPStatus(error.code).phrase, detail, (), headers)


def _unexpected(error: Exception) -> Response:
    log.error(
        "unexpected error in %s %s (request %s)\n%s",
        request.method, request.endpoint, request_id(), logs.stack(error),
    )  # fmt: skip
    return _problem(Problem(ProblemCode.INTERNAL_ERROR, "This is an error of the gateway; it has been logged."))

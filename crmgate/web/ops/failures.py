"""Failures of the operator's pages, as pages."""

from __future__ import annotations

import logging

from flask import Response
from werkzeug.exceptions import HTTPException

from crmgate.errors import CrmgateError, LedgerUnavailable, SpoolUnavailable
from crmgate.schemas.faults import InvalidFields
from crmgate.web.codes import ProblemCode
from crmgate.web.ops.shell import blueprint, page
from crmgate.web.problems import OPERATORS, RETRY_AFTER, Problem

log = logging.getLogger(__name__)


@blueprint.errorhandler(Problem)
def _problem(problem: Problem) -> Response:
    response = page(
        "ops/failure.html", problem.code.status,
        title=problem.code.summary, detail=problem.detail, errors=problem.errors,
    )  # fmt: skip
    response.headers.extend(problem.headers)
    return response


@blueprint.errorhandler(InvalidFields)
def _invalid_fields(invalid: InvalidFields) -> Response:
    detail = "Nothing was changed. Correct the fields and send the form again."
    return _problem(Problem(ProblemCode.INVALID_BODY, detail, errors=invalid.errors))


@blueprint.errorhandler(LedgerUnavailable)
def _ledger_unavailable(_error: LedgerUnavailable) -> Response:
    detail = "Redis does not answer, so nothing can be shown or changed. Start it, or correct REDIS_URL."
    return _unavailable("Redis is unavailable", detail)


@blueprint.errorhandler(SpoolUnavailable)
def _spool_unavailable(error: SpoolUnavailable) -> Response:
    log.error("%s", error)
    return _unavailable("The spool is unavailable", "The spool of this host cannot be used. The log has the reason.")


def _unavailable(title: str, detail: str) -> Response:
    response = page("ops/failure.html", 503, title=title, detail=detail)
    response.headers["Retry-After"] = str(RETRY_AFTER)
    return response


@blueprint.errorhandler(HTTPException)
def _http_exception(error: HTTPException) -> Response:
    response = error.get_response()
    if error.code is None or error.code < 400:
        return Response(response.get_data(), response.status, response.headers)
    return page("ops/failure.html", error.code, title=error.name, detail=error.description or "")


def _refused(error: CrmgateError) -> Response:
    code, detail = OPERATORS[type(error)]
    return page("ops/failure.html", code.status, title=code.summary, detail=detail.format(error))


for _kind in OPERATORS:
    blueprint.register_error_handler(_kind, _refused)

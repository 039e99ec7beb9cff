"""HTTP format of Bitrix24: parameters as PHP reads them, answers, errors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from crmgate.testing.server import Request

Params = dict[str, Any]

SYSTEM_ERRORS: dict[str, tuple[int, str]] = {
    "QUERY_LIMIT_EXCEEDED": (503, "Too many requests"),
    "OPERATION_TIME_LIMIT": (429, "Method is blocked due to operation time limit."),
    "OVERLOAD_LIMIT": (503, "REST API is blocked due to overload"),
    "INTERNAL_SERVER_ERROR": (500, "Internal server error"),
    "ERROR_UNEXPECTED_ANSWER": (500, "Server returned an unexpected response"),
    "NO_AUTH_FOUND": (401, "Wrong authorization data"),
    "INVALID_CREDENTIALS": (401, "Invalid request credentials"),
    "expired_token": (401, "The access token provided has expired"),
    "insufficient_scope": (403, "The request requires higher privileges than provided by the webhook token"),
    "user_access_error": (403, "The user does not have access to the application"),
    "ACCESS_DENIED": (403, "REST API is available only on commercial plans"),
    "PORTAL_DELETED": (500, "Portal was deleted"),
    "INVALID_REQUEST": (400, "Https required"),
    "ERROR_METHOD_NOT_FOUND": (404, "Method not found!"),
    "ERROR_BATCH_METHOD_NOT_ALLOWED": (405, "Method is not allowed for batch usage"),
    "ERROR_BATCH_LENGTH_EXCEEDED": (400, "Max batch length exceeded"),
    "PAYMENT_REQUIRED": (402, "Payment required"),
    "allowed_only_intranet_user": (403, "Only for employees"),
    "authorization_error": (400, "Unable to authorize user"),
    "User is not found or is not active": (400, "User is not found or is not active"),
}
"""The errors that any method can answer: code -> (status, description)."""

SERVER_FAULTS: dict[str, str] = {
    "400": "Mysql query error: (1205) Lock wait timeout exceeded; try restarting transaction",
    "0": "Unsupported operand types: string + int",
    "ERROR_CORE": "Internal error!",
    "WRONG_ENCODING": "Wrong request encoding",
}
"""Faults of the server, which its REST layer answers with status 400, also after it stored the record."""


class VendorError(Exception):
    """An error answer. `code` may be empty: the old `crm.lead.*` methods name none."""

    def __init__(self, code: str, description: str, status: int = 400) -> None:
        super().__init__(code, description)
        self.code, self.description, self.status = code, description, status

    @classmethod
    def system(cls, code: str) -> VendorError:
        """One of `SYSTEM_ERRORS`, with its own status and text; any other code comes as a plain 400."""
        status, description = SYSTEM_ERRORS.get(code, (400, SERVER_FAULTS.get(code, "")))
        return cls(code, description, status)

    def body(self) -> dict[str, Any]:
        return {"error": self.code, "error_description": self.description}


@dataclass(frozen=True)
class Reply:
    """The answer of a method; a list also has `total`, and `next` if there is a further page."""

    result: Any
    total: int | None = None
    next: int | None = None

    def body(self) -> dict[str, Any]:
        paging = {"total": self.total, "next": self.next}
        return {"result": self.result} | {name: value for name, value in paging.items() if value is not None}


def time_section(started: float, finished: float) -> dict[str, Any]:
    """The `time` of an answer. The operating time that a method used is free again after ten minutes."""
    elapsed = finished - started
    return {
        "start": started,
        "finish": finished,
        "duration": elapsed,
        "processing": elapsed,
        "date_start": iso(started),
        "date_finish": iso(finished),
        "operating_reset_at": int(finished) + 600,
        "operating": elapsed,
    }


def iso(at: float) -> str:
    """A moment as the vendor writes it: seconds, numeric offset."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def parameters(request: Request) -> Params:
    """The parameters of a request, from its query and its body (JSON or form)."""
    params = parse_query(request.query)
    if "json" in request.header("Content-Type").lower():
        return params | _json_object(request.body)
    return params | parse_query(request.body.decode(errors="replace"))


def _json_object(body: bytes) -> Params:
    # Open in the documentation: a body that is no JSON object is treated as no parameters.
    try:
        data = json.loads(body or b"{}")
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def parse_query(text: str) -> Params:
    """`a[b][]=1&a[b][]=2` -> `{"a": {"b": ["1", "2"]}}`, as PHP reads a query string."""
    tree: Params = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        head, *inner = [name.partition("[")[0], *re.findall(r"\[([^\]]*)\]", name)]
        _plant(tree, head, inner, value)
    return {name: _lists(value) for name, value in tree.items()}


def _plant(node: Params, key: str, inner: list[str], value: str) -> None:
    key = key or str(len(node))
    if not inner:
        node[key] = value
        return
    if not isinstance(node.get(key), dict):
        node[key] = {}
    _plant(node[key], inner[0], inner[1:], value)


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return php_array({key: _lists(inner) for key, inner in value.items()})


def php_array(section: Mapping[str, Any]) -> Any:
    """A PHP array as JSON: a list when its keys are 0, 1, 2..., and so also when it is empty."""
    in_order = list(section) == [str(index) for index in range(len(section))]
    return list(section.values()) if in_order else dict(section)


def mapping(params: Params, name: str) -> Params:
    """A parameter that has to be an object; PHP takes a list for one too."""
    value = params.get(name)
    if value is None or value == "":
        return {}
    if isinstance(value, list):
        return {str(index): inner for index, inner in enumerate(value)}
    if not isinstance(value, dict):
        raise VendorError("", f"Parameter '{name}' must be array.")
    return value


def required(params: Params, name: str) -> Params:
    """A parameter that a method requires, an object."""
    if name not in params:
        raise VendorError("100", f"Could not find value for parameter {{{name}}}")
    return mapping(params, name)


def integer(value: Any) -> int:
    """An id as clients send it, number or text; 0 for anything else."""
    text = str(value)
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else 0


def yes(value: Any) -> bool:
    """Whether a flag is on, in any of the documented spellings."""
    return value is True or str(value).lower() in {"y", "1", "true"}


def text(value: Any) -> str:
    """A value as PHP converts it to text: null and false are empty, true is 1."""
    if value is None or value is False:
        return ""
    return "1" if value is True else str(value)


def resolve(value: Any, results: Mapping[str, Any]) -> Any:
    """Put earlier results of a batch in the place of `$result[name][key]...`."""
    if isinstance(value, dict):
        return {key: resolve(inner, results) for key, inner in value.items()}
    if isinstance(value, list):
        return [resolve(inner, results) for inner in value]
    if not isinstance(value, str):
        return value
    whole = _REFERENCE.fullmatch(value)
    return _look_up(whole, results) if whole else _REFERENCE.sub(_as_text(results), value)


_REFERENCE = re.compile(r"\$result((?:\[[^\]]+\])+)")


def _as_text(results: Mapping[str, Any]) -> Callable[[re.Match[str]], str]:
    return lambda match: text(_look_up(match, results))


def _look_up(match: re.Match[str], results: Mapping[str, Any]) -> Any:
    # Open in the documentation: a reference to something that is not there becomes null.
    found: Any = results
    for key in re.findall(r"\[([^\]]+)\]", match[1]):
        found = _step(found, key)
    return found


def _step(node: Any, key: str) -> Any:
    if isinstance(node, list) and key.isdigit():
        return node[int(key)] if int(key) < len(node) else None
    return node.get(key) if isinstance(node, dict) else None


def flatten(values: Any) -> Iterable[Any]:
    """The members of a list, or of an object with keys as PHP makes of one."""
    if isinstance(values, dict):
        return values.values()
    if isinstance(values, list):
        return values
    return [] if values in (None, "") else [values]

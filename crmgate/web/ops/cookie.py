"""The cookie that holds the id of a session.

Over https it is `__Host-crmgate_ops` with `Secure`: only this host, over https, can set it. Over http, which is served
to loopback hosts only (`crmgate dev`), it has another name and no `Secure`, since not every browser keeps a `Secure`
cookie of `http://127.0.0.1`.
"""

from __future__ import annotations

from flask import request
from werkzeug.wrappers import Response as BaseResponse

from crmgate.store import keys
from crmgate.store.sessions import OpsSession
from crmgate.web.proxies import LOOPBACK
from crmgate.web.services import services

SECURE, PLAIN = "__Host-crmgate_ops", "crmgate_ops"


def confidential() -> bool:
    """Whether a log-in stays between browser and gateway: over https, or without a network."""
    host = request.host.rpartition(":")[0] if request.host[-1:].isdigit() and ":" in request.host else request.host
    return request.is_secure or host.lower() in LOOPBACK


def session() -> OpsSession | None:
    """The session of the request; None without one. Raises `LedgerUnavailable`."""
    session_id = request.cookies.get(_name(), "")
    return services().sessions.get(session_id) if session_id and confidential() else None


def set_session(response: BaseResponse, session: OpsSession) -> None:
    """Set the cookie of a session."""
    response.set_cookie(_name(), session.id, max_age=keys.OPS_SESSION_SECONDS, **_attributes())  # type: ignore[arg-type]


def delete_session(response: BaseResponse) -> None:
    """Delete the cookie."""
    response.delete_cookie(_name(), **_attributes())  # type: ignore[arg-type]


def _name() -> str:
    return SECURE if request.is_secure else PLAIN


def _attributes() -> dict[str, object]:
    return {"path": "/", "secure": request.is_secure, "httponly": True, "samesite": "Strict"}

"""Sessions of the operator's pages, and one-time log-in codes.

A session belongs to an API token and ends with it. A key in Redis holds the digest of a session id or a code, never the
id or the code itself: a reader of Redis can use neither.
"""

from __future__ import annotations

import hmac
import json
import secrets
from dataclasses import dataclass, field

import redis

from crmgate.store import keys
from crmgate.store.audit import Action, Audit
from crmgate.store.keys import translated
from crmgate.store.tokens import Token, Tokens

CODE_PREFIX = "once_"
"""Beginning of a one-time log-in code."""


@dataclass(frozen=True, slots=True)
class OpsSession:
    """A session of `token`. `csrf` is the value that every form of the session carries."""

    id: str = field(repr=False)
    token: Token
    csrf: str = field(repr=False)

    def carries(self, csrf: str) -> bool:
        """Whether `csrf` is the value of this session's forms."""
        return hmac.compare_digest(self.csrf.encode(), csrf.encode())


class Sessions:
    """Begins, finds and ends sessions. Every method raises `LedgerUnavailable`."""

    def __init__(self, client: redis.Redis, tokens: Tokens, audit: Audit) -> None:
        self._redis, self._tokens, self._audit = client, tokens, audit

    def begin(self, token: Token) -> OpsSession:
        """A new session of `token`, with an audit entry. It ends after `OPS_SESSION_SECONDS`."""
        session = OpsSession(secrets.token_urlsafe(32), token, secrets.token_urlsafe(32))
        record = _record(token) | {"csrf": session.csrf}
        with self._audit.change(token.name, Action.OPS_LOGIN, token.id or token.name) as pipe:
            pipe.set(_session_key(session.id), json.dumps(record), ex=keys.OPS_SESSION_SECONDS)
        return session

    def get(self, session_id: str) -> OpsSession | None:
        """The session with this id; None if it has ended or its token was revoked."""
        with translated():
            text = self._redis.get(_session_key(session_id))
        if text is None:
            return None
        record = json.loads(text)
        token = self._tokens.current(record["token"], record["sha256"])
        return OpsSession(session_id, token, record["csrf"]) if token else None

    def end(self, session: OpsSession) -> None:
        """End a session, with an audit entry."""
        with self._audit.change(session.token.name, Action.OPS_LOGOUT, session.token.id or session.token.name) as pipe:
            pipe.delete(_session_key(session.id))

    def new_code(self, token: Token, who: str) -> str:
        """A code that logs in once as `token` within `LOGIN_CODE_SECONDS`, with an audit entry for `who`."""
        code = CODE_PREFIX + secrets.token_urlsafe(24)
        with self._audit.change(who, Action.OPS_LOGIN_LINK, token.id or token.name, token.name) as pipe:
            pipe.set(_code_key(code), json.dumps(_record(token)), ex=keys.LOGIN_CODE_SECONDS)
        return code

    def redeem(self, code: str) -> Token | None:
        """The token of a code, which is used up; None if the code is unknown or old, or its token was revoked."""
        with translated():
            pipe = self._redis.pipeline(transaction=True)  # a code that two people send at once works for one
            pipe.get(_code_key(code))
            pipe.delete(_code_key(code))
            text, _ = pipe.execute()
        if text is None:
            return None
        record = json.loads(text)
        return self._tokens.current(record["token"], record["sha256"])


def _record(token: Token) -> dict[str, str]:
    return {"token": token.id, "sha256": token.sha256}


def _session_key(session_id: str) -> str:
    return keys.ops_session(keys.digest(f"ops session {session_id}"))


def _code_key(code: str) -> str:
    return keys.login_code(keys.digest(f"login code {code}"))

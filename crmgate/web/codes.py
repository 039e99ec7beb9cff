"""Error codes for whole requests. Clients switch on them: new codes may be added, existing ones never change."""

from __future__ import annotations

from enum import StrEnum


class ProblemCode(StrEnum):
    """Code of a failed request; `type` in the answer is `/problems/` and the code with hyphens."""

    status: int
    summary: str

    def __new__(cls, value: str, status: int, summary: str) -> ProblemCode:
        member = str.__new__(cls, value)
        member._value_, member.status, member.summary = value, status, summary
        return member

    EMPTY_BODY = "empty_body", 400, "The request has no body"
    MALFORMED_JSON = "malformed_json", 400, "The body is not a valid JSON object"
    MALFORMED_FORM = "malformed_form", 400, "The body is not a valid form"
    TOO_DEEP = "too_deep", 400, "The body is nested too deeply"
    INVALID_IDEMPOTENCY_KEY = "invalid_idempotency_key", 400, "The Idempotency-Key cannot be used"
    TOKEN_REQUIRED = "token_required", 401, "An API token is needed"
    INVALID_TOKEN = "invalid_token", 401, "The API token is not valid"
    WRONG_SECRET = "wrong_secret", 401, "The secret or the signature is wrong"
    INSUFFICIENT_SCOPE = "insufficient_scope", 403, "The API token does not allow this"
    INVALID_QUERY = "invalid_query", 400, "The query cannot be used"
    NOT_FOUND = "not_found", 404, "Not found"
    METHOD_NOT_ALLOWED = "method_not_allowed", 405, "Method not allowed"
    INCOMPLETE_BODY = "incomplete_body", 408, "The body is incomplete"
    BODY_TOO_LARGE = "body_too_large", 413, "The body is too large"
    UNKNOWN_HOST = "unknown_host", 421, "Unknown host"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type", 415, "Unsupported media type"
    STILL_RUNNING = "still_running", 409, "The first request with this Idempotency-Key is still running"
    NOT_A_DEAD_LETTER = "not_a_dead_letter", 409, "The operation has ended"
    UNDER_WAY = "under_way", 409, "An attempt to deliver the operation is under way"
    NOT_CONFIGURED = "not_configured", 409, "Settings for this are missing"
    JOB_RUNNING = "job_running", 409, "Another job retries dead letters"
    CHANGED_MEANWHILE = "changed_meanwhile", 412, "The operation has changed since you read it"
    VERSION_REQUIRED = "version_required", 428, "The version that you edited is required"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused", 422, "The Idempotency-Key was used with another body"
    INVALID_BODY = "invalid_body", 422, "Some fields need attention"
    RATE_LIMITED = "rate_limited", 429, "Too many requests"
    INTERNAL_ERROR = "internal_error", 500, "Something went wrong here"
    CRM_FAILED = "crm_failed", 502, "The CRM refused, or did not answer"
    SERVICE_UNAVAILABLE = "service_unavailable", 503, "Temporarily unavailable"

    @property
    def uri(self) -> str:
        """The stable `type` of RFC 9457, relative to the gateway."""
        return f"/problems/{self.value.replace('_', '-')}"

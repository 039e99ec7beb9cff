"""Webhook: posts each submission as JSON, signed by Standard Webhooks (https://www.standardwebhooks.com).

The receiver is a workflow of n8n, Make or Zapier, or a system of your own. It recognizes a repetition by the header
`webhook-id`, the id of the operation, so after an unknown outcome the submission is sent again. The status alone
confirms: the receivers answer with texts of their own.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from typing import Any, assert_never

from marshmallow import ValidationError

from crmgate import hookimpl
from crmgate.errors import AuthFailed, Code, ProviderError, RateLimited, Rejected, Unavailable
from crmgate.model import Activity, Check, Connection, Delivered, Kind, Lead, Operation, Preview, rfc3339
from crmgate.provider import Answer, CRMProvider, Look, Mapped, ProviderSettings, lost, secret, web_address
from crmgate.sources import sign_standard

KEY_BYTES = range(24, 65)
"""Numbers of bytes that a key of Standard Webhooks may have."""
PAGE = re.compile(rb"\s*<(?:!doctype|html)\b", re.IGNORECASE)
QUEUE_IS_FULL = re.compile(rb"\s*queue is full", re.IGNORECASE)
"""Body of Make's answer 400 when a workflow is behind."""
NO_RECEIVER = "no receiver at WEBHOOK_URL: the workflow is off, or the address is wrong"


def _is_secret(value: str) -> None:
    """Raise `ValidationError` unless the value is `whsec_` and a key in Base64."""
    try:
        key = base64.b64decode(value.removeprefix("whsec_"), validate=True)
    except ValueError:
        key = b""
    if not value.startswith("whsec_") or len(key) not in KEY_BYTES:
        raise ValidationError("It is no secret of Standard Webhooks.")


class Webhook(CRMProvider):
    """Submissions as signed events."""

    name = "webhook"
    label = "Webhook"
    delivery = "idempotent"
    capabilities = frozenset({"preview"})

    class Settings(ProviderSettings):
        """The address of the receiver, and the key of the signatures."""

        WEBHOOK_URL = web_address(required=True, secret=True, metadata={"help": "Address that gets the submissions"})
        WEBHOOK_SECRET = secret(required=True, validate=_is_secret, metadata={
            "help": "Key of the signature; the receiver verifies with it",
            "takes": "whsec_ and 24 to 64 bytes in Base64: `echo whsec_$(openssl rand -base64 32)`",
        })  # fmt: skip

    @hookimpl
    def create_lead(self, lead: Lead, operation: Operation) -> Delivered:
        """Post the event `application.received`."""
        return self._post(event(operation, lead), operation)

    @hookimpl
    def create_minimal_lead(self, activity: Activity, operation: Operation) -> Delivered:
        """Post the event `click.received`."""
        return self._post(event(operation, activity), operation)

    @hookimpl
    def preview(self, operation: Operation) -> Preview:
        """The event as it would be sent."""
        body = event(operation, _submission(operation))
        return self.previewed("POST", "WEBHOOK_URL", body, Mapped({}, []), operation)

    @hookimpl
    def test_connection(self) -> Connection:
        """Ask with OPTIONS, which starts no workflow."""
        hint = "Check WEBHOOK_URL, and that a firewall lets this host out."
        return self.test(Look("receiver", self._receiver, hint, gate=True))

    def _receiver(self) -> Iterator[Check]:
        answer = self.request("OPTIONS", self.settings["WEBHOOK_URL"], safe=True)
        # 405 and 501: the receiver knows the address, and takes other methods there.
        if answer.status not in (405, 501) and (error := _problem(answer, read=True)):
            raise error
        yield Check("receiver", True)

    def _post(self, body: dict[str, Any], operation: Operation) -> Delivered:
        key, stamp = operation.id, str(int(time.time()))
        signed = json.dumps(body, allow_nan=False).encode()  # the bytes that `request` sends
        headers = {
            "webhook-id": key, "webhook-timestamp": stamp,
            "webhook-signature": sign_standard(self.settings["WEBHOOK_SECRET"], key, stamp, signed),
        }  # fmt: skip
        answer = self.request("POST", self.settings["WEBHOOK_URL"], json=body, headers=headers)
        if error := _problem(answer, read=False):
            raise error
        return self.delivered(operation.id)


def event(operation: Operation, submission: Lead | Activity) -> dict[str, Any]:
    """A submission as an event: the same for each attempt."""
    is_lead = isinstance(submission, Lead)
    kind, name = ("application.received", "lead") if is_lead else ("click.received", "activity")
    accepted = rfc3339(operation.accepted_at)
    facts = {"operation": operation.id, "tracking_code": operation.tracking_code, name: submission.to_dict()}
    return {"type": kind, "timestamp": accepted, "data": facts}


def _submission(operation: Operation) -> Lead | Activity:
    match operation.kind:
        case Kind.CREATE_LEAD | Kind.UPDATE_LEAD:
            return operation.lead
        case Kind.CREATE_MINIMAL_LEAD | Kind.LOG_ACTIVITY:
            return operation.activity
        case _:
            assert_never(operation.kind)


def _problem(answer: Answer, *, read: bool) -> ProviderError | None:
    """The error that an answer means; None for a confirmation. `read`: nothing was sent that the receiver could store.

    A status that says nothing about the submission, such as 404 for a workflow that is off, makes no dead letter.
    """
    status, wait = answer.status, answer.retry_after
    match status:
        case 401:
            return AuthFailed("the receiver refuses the request: compare WEBHOOK_SECRET", status=status)
        case 403:
            return AuthFailed("the receiver allows no request to WEBHOOK_URL", code=Code.NO_PERMISSION, status=status)
        case 409:
            return lost(read, Code.DUPLICATE, "the receiver still processes an earlier request with this id", status)
        case 425 | 429:
            return RateLimited(status=status, retry_after=wait)
        case 400 if QUEUE_IS_FULL.match(answer.body):
            return RateLimited("the queue of the workflow is full", status=status, retry_after=wait)
        case 503:
            return Unavailable("the receiver is closed for now", code=Code.MAINTENANCE, status=status, retry_after=wait)
        case 400 | 413 | 415 | 422:
            return Rejected("the receiver refuses the submission", code=Code.INVALID_REQUEST, status=status)
        case _ if status == 408 or status >= 500:
            return lost(read, Code.SERVER_ERROR, "the receiver failed", status)
        case _ if status >= 300:
            return Unavailable(NO_RECEIVER, code=Code.INVALID_RESPONSE, status=status)
        case _ if PAGE.match(answer.body):
            return lost(read, Code.INVALID_RESPONSE, "the answer is a page, such as that of a log-in", status)
    return None

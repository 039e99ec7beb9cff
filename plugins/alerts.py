"""Alerts: reports dead letters and pauses of a provider to a webhook (Slack, Mattermost, ...) and to Telegram.

Messages contain only ids, names of providers, error codes and counts. Without settings nothing is sent.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from marshmallow import ValidationError, validates_schema

from crmgate import hookimpl
from crmgate.errors import ProviderError
from crmgate.listener import Listener
from crmgate.model import Operation, rfc3339
from crmgate.provider import ProviderSettings, fields, secret, validate, web_address

log = logging.getLogger("crmgate.plugins.alerts")

PAUSED = {"refused": "provider_paused", "epidemic": "provider_refuses"}
"""The event of a pause by its cause; that of any other cause is `provider_away`."""
NAMED = 5
"""Maximum number of operations that a message names. The count includes all."""
TEXTS = {
    "dead_letter": "dead letter for {provider}: {codes}, operation {operations}",
    "dead_letters": "more dead letters for {provider}: {count} since {since} ({codes}), operations {operations}",
    "provider_paused": "{provider} refuses the credentials: {codes}. Submissions are accepted and wait.",
    "provider_away": "{provider} does not answer: {codes}. Submissions are accepted and wait.",
    "provider_refuses": (
        "{provider} refuses different submissions for the same reason: {codes}. Submissions are accepted and wait."
        " `crmgate crm fields` shows what does not fit."
    ),
    "provider_recovered": "{provider} works again. Waiting submissions are being delivered.",
}


@dataclass(frozen=True)
class Alert:
    """One message. The sum of two messages about dead letters has the counts of both."""

    event: str
    provider: str
    count: int = 0
    codes: Mapping[str, int] = field(default_factory=dict)
    operations: tuple[str, ...] = ()
    since: str = field(default_factory=lambda: rfc3339(time.time()))

    def __add__(self, other: Alert) -> Alert:
        codes, operations = Counter(self.codes) + Counter(other.codes), self.operations + other.operations
        return replace(self, count=self.count + other.count, codes=dict(codes), operations=operations[:NAMED])

    def to_dict(self) -> dict[str, Any]:
        """The body for the webhook. Slack and Mattermost show `text` and ignore the rest."""
        codes = ", ".join(f"{code} {count}" if count > 1 else code for code, count in self.codes.items())
        operations = ", ".join(self.operations) + (", ..." if self.count > NAMED else "")
        words = asdict(self) | {"codes": codes, "operations": operations}
        return {"text": f"crmgate: {TEXTS[self.event].format(**words)}"} | asdict(self)


class Alerts(Listener):
    """Sends the first dead letter at once and opens a window. Those of the window become one message at its end."""

    class Settings(ProviderSettings):
        ALERT_WEBHOOK_URL = web_address(secret=True, metadata={
            "help": "Incoming webhook, of Slack or Mattermost for example", "takes": "its address",
        })  # fmt: skip
        ALERT_TELEGRAM_TOKEN = secret(
            validate=validate.Regexp(r"[0-9]+:[A-Za-z0-9_-]+\Z", error="Not the token of a bot."),
            metadata={"help": "Telegram bot that sends alerts", "takes": "the token from @BotFather"},
        )
        ALERT_TELEGRAM_CHAT = fields.String(
            validate=validate.Regexp(r"(-?[0-9]+|@\w+)\Z", error="Not a chat."),
            metadata={"help": "Telegram chat that receives alerts", "takes": "the chat's id or @name"},
        )
        ALERT_TELEGRAM_URL = web_address(load_default="https://api.telegram.org", metadata={
            "help": "Telegram, or your own Bot API server", "takes": "an address",
        })  # fmt: skip
        ALERT_WINDOW = fields.Float(load_default=300.0, validate=validate.Range(0.1, 86400), metadata={
            "help": "Time for which dead letters are collected into one message", "takes": "seconds, 0.1 to 86400",
        })  # fmt: skip

        @validates_schema
        def _both_or_none(self, data: Mapping[str, Any], **_: Any) -> None:
            missing = {"ALERT_TELEGRAM_TOKEN", "ALERT_TELEGRAM_CHAT"} - data.keys()
            if len(missing) == 1:
                raise ValidationError("Set both the bot and the chat.", missing.pop())

    def __init__(self, environ: Mapping[str, str], **options: Any) -> None:
        super().__init__(environ, **options)
        self._configured = bool(self.settings.keys() & {"ALERT_WEBHOOK_URL", "ALERT_TELEGRAM_TOKEN"})
        self._window_is_open = False
        self._gathered: Alert | None = None

    @hookimpl
    def operation_dead(self, operation: Operation) -> None:
        last = operation.events[-1] if operation.events else None
        provider, code = (last.provider, last.code) if last else (operation.provider, "unknown")
        if self._configured:
            self._dead(Alert("dead_letter", provider, 1, {code: 1}, (operation.id,)))

    @hookimpl
    def provider_paused(self, provider: str, error: ProviderError | None, cause: str) -> None:
        code = str(error.code) if error else cause
        self._send(Alert(PAUSED.get(cause, "provider_away"), provider, codes={code: 1}))

    @hookimpl
    def provider_recovered(self, provider: str) -> None:
        self._send(Alert("provider_recovered", provider))

    def _dead(self, alert: Alert) -> None:
        if not self._window_is_open:
            self._open_window()
            self._send(alert)
        else:
            self._gathered = self._gathered + alert if self._gathered else replace(alert, event="dead_letters")

    def _open_window(self) -> None:
        """Begin a window. Its timer has a thread of its own, so its end comes back to the listener's thread."""
        timer = threading.Timer(self.settings["ALERT_WINDOW"], self.later, (self._end_window,))
        timer.daemon = True
        timer.start()
        self._window_is_open = True

    def _end_window(self) -> None:
        """End the window. If it collected dead letters, send them and open the next window at once."""
        self._window_is_open = False
        if self._gathered:
            self._open_window()
            self.finish()

    def finish(self) -> None:
        if self._gathered:
            self._send(self._gathered)
        self._gathered = None

    def _send(self, alert: Alert) -> None:
        body, settings = alert.to_dict(), self.settings
        if webhook := settings.get("ALERT_WEBHOOK_URL"):
            self._post("the webhook", webhook, body)
        if token := settings.get("ALERT_TELEGRAM_TOKEN"):
            address = f"{settings['ALERT_TELEGRAM_URL'].rstrip('/')}/bot{token}/sendMessage"
            self._post("Telegram", address, {"chat_id": settings["ALERT_TELEGRAM_CHAT"], "text": body["text"]})

    def _post(self, name: str, address: str, body: Mapping[str, Any]) -> None:
        """Send a POST request. Log a failure without the address, which is a credential."""
        try:
            status = self.request("POST", address, json=body).status
            problem = "" if status < 300 else f"HTTP {status}"
        except ProviderError as error:
            problem = str(error)
        if problem:
            log.warning("an alert did not reach %s: %s", name, problem)

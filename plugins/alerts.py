"""Alerts: reports incidents and dead letters to a webhook (Slack, Mattermost, ...) and to a Telegram chat.

Messages hold the name of the gateway, ids, provider names, error codes, counts and remedies, and nothing else. Without
settings nothing is sent.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from marshmallow import ValidationError, validates_schema

from crmgate import hookimpl
from crmgate.errors import ProviderError
from crmgate.listener import Listener
from crmgate.model import Operation, rfc3339
from crmgate.provider import ProviderSettings, fields, secret, validate, web_address

log = logging.getLogger("crmgate.plugins.alerts")

NAMED = 5
"""Maximum number of operations that a message names. The count includes all."""
TEXTS = {
    "dead_letter": "dead letter for {provider}: {codes}, operation {operations}",
    "dead_letters": "more dead letters for {provider}: {count} since {since} ({codes}), operations {operations}",
    "provider_paused": "nothing is sent to {provider}, because {explanation}{codes_after}",
    "provider_recovered": "{provider} works again",
    "worker_missing": "no worker was seen for {seconds:.0f} s, and nothing that waits is delivered",
    "worker_back": "a worker runs again",
    "ledger_unavailable": "Redis accepts nothing ({explanation}), and submissions {effect}",
    "ledger_available": "Redis works again, after {seconds:.0f} s",
    "ledger_nearly_full": "Redis is nearly full ({percent:.0f} % of its maxmemory); a full one accepts no submissions",
    "spool_waiting": "the spool has {spooled} submissions, the oldest for {seconds:.0f} s; it is {percent:.0f} % full",
    "waiting_too_long": "the oldest operation has waited for {minutes:.0f} min",
    "records_missing": "the CRM lacks {count} of the delivered operations of the last 7 days: {operations}",
}
"""Facts of each event, in words."""
REMEDIES = {
    "dead_letter": "see `crmgate dlq list`",
    "dead_letters": "see `crmgate dlq list`",
    "provider_recovered": "nothing; `crmgate ops tail` shows the deliveries",
    "worker_missing": "start one with `huey_consumer crmgate.worker.huey`, and look at its log",
    "worker_back": "nothing; `crmgate ops tail` shows the deliveries",
    "ledger_unavailable": "start Redis, or correct REDIS_URL; `crmgate check` shows whether it works",
    "ledger_available": "nothing; `crmgate check` shows whether everything works",
    "ledger_nearly_full": "raise maxmemory, or deliver what waits; `crmgate check` shows why it waits",
    "spool_waiting": "start Redis, or correct REDIS_URL; from 100 % on, submissions are refused",
    "waiting_too_long": "`crmgate check` shows why",
    "records_missing": "see `crmgate reconcile`: staff may have deleted the records, else repair them",
}
"""The command that helps. The remedy of a provider's incident comes with the event."""


@dataclass(frozen=True)
class Alert:
    """One message. Messages about dead letters can be added to one.

    `event`: name of the hook that was called, or `dead_letters`. `count`: number of dead letters, or of records that
    the CRM lacks. `waiting`: number of operations that wait. `seconds`: length of the incident so far. `share`: part of
    Redis's `maxmemory` in use, or of the spool. `spooled`: number of submissions in the spool of a host, None without a
    spool.
    """

    event: str
    instance: str
    provider: str = ""
    cause: str = ""
    explanation: str = ""
    remedy: str = ""
    seconds: float = 0.0
    share: float = 0.0
    waiting: int = 0
    spooled: int | None = None
    count: int = 0
    codes: Mapping[str, int] = field(default_factory=dict)
    operations: tuple[str, ...] = ()
    since: str = field(default_factory=lambda: rfc3339(time.time()))

    def __add__(self, other: Alert) -> Alert:
        codes, operations = Counter(self.codes) + Counter(other.codes), self.operations + other.operations
        return replace(self, count=self.count + other.count, codes=dict(codes), operations=operations[:NAMED])

    def to_dict(self) -> dict[str, Any]:
        """The body for the webhook. Slack and Mattermost show `text` and ignore the rest."""
        facts = asdict(self) | {"remedy": self.remedy or REMEDIES.get(self.event, "")}
        return {"text": self._text(facts)} | facts

    def _text(self, facts: Mapping[str, Any]) -> str:
        codes = ", ".join(f"{code} {count}" if count > 1 else code for code, count in self.codes.items())
        words = {
            **facts, "codes": codes, "codes_after": f" ({codes})" if codes else "", "minutes": self.seconds / 60,
            "percent": self.share * 100, "effect": self._effect(),
            "operations": ", ".join(self.operations) + (", ..." if self.count > NAMED else ""),
        }  # fmt: skip
        sentences = [TEXTS[self.event].format(**words)]
        if self.waiting:
            sentences.append(f"Operations that wait: {self.waiting}")
        if facts["remedy"]:
            sentences.append(f"What to do: {facts['remedy']}")
        return f"crmgate on {self.instance}: {'. '.join(sentences)}."

    def _effect(self) -> str:
        """The effect on submissions while Redis is unavailable."""
        if self.spooled is None:
            return "cannot be recorded"
        return f"are kept in the spool of the host, {self.spooled} so far"


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

        INSTANCE_NAME = fields.String(load_default="", metadata={
            "help": "Name of this gateway in messages; empty: APP_DOMAIN if it is set, else the name of the host",
            "takes": "text",
        })  # fmt: skip

        @validates_schema
        def _both_or_none(self, data: Mapping[str, Any], **_: Any) -> None:
            missing = {"ALERT_TELEGRAM_TOKEN", "ALERT_TELEGRAM_CHAT"} - data.keys()
            if len(missing) == 1:
                raise ValidationError("Set both the bot and the chat.", missing.pop())

    def __init__(self, environ: Mapping[str, str], **options: Any) -> None:
        super().__init__(environ, **options)
        self._configured = bool(self.settings.keys() & {"ALERT_WEBHOOK_URL", "ALERT_TELEGRAM_TOKEN"})
        self._instance = self.settings["INSTANCE_NAME"] or environ.get("APP_DOMAIN", "").strip() or socket.gethostname()
        self._window_is_open = False
        self._gathered: Alert | None = None

    @hookimpl
    def operation_dead(self, operation: Operation) -> None:
        last = operation.events[-1] if operation.events else None
        provider, code = (last.provider, last.code) if last else (operation.provider, "unknown")
        if self._configured:
            self._dead(
                self._alert("dead_letter", provider=provider, count=1, codes={code: 1}, operations=(operation.id,))
            )

    @hookimpl
    def provider_paused(
        self, provider: str, error: ProviderError | None, cause: str, explanation: str, remedy: str, waiting: int
    ) -> None:  # fmt: skip
        codes = {str(error.code): 1} if error else {}
        self._send(self._alert(
            "provider_paused", provider=provider, cause=cause, explanation=explanation, remedy=remedy, waiting=waiting,
            codes=codes,
        ))  # fmt: skip

    @hookimpl
    def provider_recovered(self, provider: str, waiting: int) -> None:
        self._send(self._alert("provider_recovered", provider=provider, waiting=waiting))

    @hookimpl
    def worker_missing(self, seconds: float, waiting: int) -> None:
        self._send(self._alert("worker_missing", seconds=seconds, waiting=waiting))

    @hookimpl
    def worker_back(self) -> None:
        self._send(self._alert("worker_back"))

    @hookimpl
    def ledger_unavailable(self, reason: str, spooled: int | None) -> None:
        self._send(self._alert("ledger_unavailable", explanation=reason, spooled=spooled))

    @hookimpl
    def ledger_available(self, seconds: float) -> None:
        self._send(self._alert("ledger_available", seconds=seconds))

    @hookimpl
    def ledger_nearly_full(self, share: float, waiting: int) -> None:
        self._send(self._alert("ledger_nearly_full", share=share, waiting=waiting))

    @hookimpl
    def spool_waiting(self, operations: int, seconds: float, share: float) -> None:
        self._send(self._alert("spool_waiting", spooled=operations, seconds=seconds, share=share))

    @hookimpl
    def waiting_too_long(self, seconds: float, waiting: int) -> None:
        self._send(self._alert("waiting_too_long", seconds=seconds, waiting=waiting))

    @hookimpl
    def records_missing(self, missing: int, operations: Sequence[str]) -> None:
        self._send(self._alert("records_missing", count=missing, operations=tuple(operations[:NAMED])))

    def _alert(self, event: str, **facts: Any) -> Alert:
        return Alert(event, self._instance, **facts)

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

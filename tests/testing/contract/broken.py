"""Plugins with one fault each, and the checks that have to fail for it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import requests

from crmgate import hookimpl
from crmgate.errors import Code, OutcomeUnknown, ProviderError, RateLimited, Unavailable
from crmgate.model import Delivered, Kind, Lead, Operation
from crmgate.provider import Answer, CRMProvider, ProviderSettings, fields, time_left, web_address
from tests.testing.contract.acme import Acme

BROKEN: dict[str, tuple[type[CRMProvider], set[str], bool]] = {}
"""By name: a plugin with one fault, the checks that it fails, and whether it is held against those only."""


def fails(*checks: str, alone: bool = False) -> Callable[[type[CRMProvider]], type[CRMProvider]]:
    """The decorated plugin has to fail these checks (`test_...`) and no other; with `alone` no other is tried."""

    def register(broken: type[CRMProvider]) -> type[CRMProvider]:
        BROKEN[broken.__name__] = (broken, {f"test_{check}" for check in checks}, alone)
        return broken

    return register


@fails("plugin_has_a_name_and_a_label", alone=True)
class NoLabel(Acme):
    label = ""


@fails("repr_shows_no_secret")
class SecretInRepr(Acme):
    def __repr__(self) -> str:
        return f"<Acme {self.settings}>"


@fails("secrets_are_marked", "settings_reach_the_plugin", alone=True)
class UnmarkedSecret(Acme):
    class Settings(ProviderSettings):
        ACME_URL = web_address(required=True)
        ACME_TOKEN = fields.String(load_default="acme-key-4711")

    def _send(self, method: str, path: str, **content: Any) -> Answer:
        headers = {"X-Acme-Key": self.settings["ACME_TOKEN"]}
        return self.request(method, f"{self.settings['ACME_URL']}/{path}", headers=headers, **content)


@fails("missing_settings_are_all_named_at_once", alone=True)
class OneProblemAtATime(Acme):
    def __init__(self, environ: Mapping[str, str], **options: Any) -> None:
        super().__init__({"ACME_KEY": "to be asked for later"} | dict(environ), **options)


@fails("no_hook_is_misspelt", alone=True)
class MisspeltHook(Acme):
    @hookimpl
    def operation_acepted(self, operation: Operation) -> None:
        """Never called."""


@fails("capabilities_are_the_optional_hooks")
class CapabilityWithoutHook(Acme):
    log_activity = None  # type: ignore[assignment]


@fails("capabilities_are_the_optional_hooks", alone=True)
class HookWithoutCapability(Acme):
    capabilities = frozenset({"update_lead", "log_activity", "describe_fields"})


@fails("full_lead_arrives_whole", "non_ascii_lead_arrives_whole")
class LosesAField(Acme):
    @hookimpl
    def create_lead(self, lead: Lead, operation: Operation) -> Delivered:
        mapped = self.map_lead(lead, operation)
        mapped.rest[:] = [(label, value) for label, value in mapped.rest if label != "Country"]
        return self._create(mapped.fields | {"text": self.describe(mapped, operation, lead.additional_info)})


@fails("non_ascii_lead_arrives_whole", "right_to_left_lead_arrives_whole", "emoji_lead_arrives_whole",
       "click_arrives_whole", alone=True)  # fmt: skip
class AsciiOnly(Acme):
    def _create(self, record: dict[str, Any]) -> Delivered:
        return super()._create({name: value.encode("ascii", "replace").decode() for name, value in record.items()})


@fails("input_is_not_changed")
class ChangesItsInput(Acme):
    @hookimpl
    def create_lead(self, lead: Lead, operation: Operation) -> Delivered:
        vars(lead)["city"] = lead.city.upper()
        return super().create_lead(lead, operation)


@fails("delivered_names_the_record", alone=True)
class NamesNoRecord(Acme):
    def _create(self, record: dict[str, Any]) -> Delivered:
        return Delivered("Acme", super()._create(record).record_id)


@fails("settle_seconds_is_a_number", alone=True)
class SettleSecondsAsText(Acme):
    settle_seconds = "5"  # type: ignore[assignment]


@fails("settle_seconds_is_a_number", alone=True)
class SettlesBeforeItSends(Acme):
    settle_seconds = -1


@fails("nothing_is_sent_when_no_time_is_left")
class SendsWithoutTime(Acme):
    """A transport of its own that does not look at the time."""

    def request(self, method: str, url: str, **content: Any) -> Answer:  # type: ignore[override]
        if time_left() <= 0:
            requests.request(method, url, timeout=5, allow_redirects=False, **content)
        return super().request(method, url, **content)


@fails("nothing_is_sent_when_no_time_is_left", alone=True)
class NoTimeIsAnOutage(Acme):
    def _send(self, method: str, path: str, **content: Any) -> Answer:
        if time_left() <= 0:
            raise Unavailable("no time was left")
        return super()._send(method, path, **content)


@fails("create_without_answer_is_outcome_unknown")
class TimeoutIsUnavailable(Acme):
    def _create(self, record: dict[str, Any]) -> Delivered:
        try:
            return super()._create(record)
        except OutcomeUnknown as error:
            raise Unavailable("slow") if error.code is Code.TIMEOUT else error from None


@fails("create_answered_with_html_is_outcome_unknown")
class AnyPageIsSuccess(Acme):
    def _create(self, record: dict[str, Any]) -> Delivered:
        try:
            return super()._create(record)
        except OutcomeUnknown as error:
            if error.status != 200 or error.code is not Code.INVALID_RESPONSE or "page" not in error.detail:
                raise
            return Delivered(self.name, "1")

    def _error(self, answer: Answer, read: bool) -> ProviderError:
        error = super()._error(answer, read)
        error.detail = "a page" if answer.content_type == "text/html" else ""
        return error


@fails("create_without_connection_is_unavailable", "create_without_answer_is_outcome_unknown",
       "create_cut_before_it_was_stored_is_outcome_unknown", "create_cut_after_it_was_stored_is_outcome_unknown",
       "create_answered_with_a_server_error_is_outcome_unknown", "create_answered_with_html_is_outcome_unknown",
       "create_answered_with_half_a_json_is_outcome_unknown", "create_answered_with_nothing_is_outcome_unknown",
       "create_answered_with_other_json_is_outcome_unknown", "rate_limit_is_rate_limited",
       "refused_credentials_are_auth_failed", "refused_value_is_rejected_or_moved", "lost_request_is_sent_again",
       "redirects_are_not_followed_to_another_host")  # fmt: skip
class ErrorsAreSuccess(Acme):
    def _create(self, record: dict[str, Any]) -> Delivered:
        try:
            return super()._create(record)
        except ProviderError:
            return Delivered(self.name, "0")


@fails("create_answered_with_other_json_is_outcome_unknown",
       "create_answered_with_half_a_json_is_outcome_unknown", "create_answered_with_html_is_outcome_unknown",
       "create_answered_with_nothing_is_outcome_unknown")  # fmt: skip
class EachAnswerIsSuccess(Acme):
    def _create(self, record: dict[str, Any]) -> Delivered:
        answer = self._send("POST", "leads", json=record)
        return Delivered(self.name, self._id(answer, 201) if answer.status >= 300 else answer.json()["id"])


@fails("rate_limit_is_rate_limited", alone=True)
class IgnoresRetryAfter(Acme):
    def _error(self, answer: Answer, read: bool) -> ProviderError:
        error = super()._error(answer, read)
        error.retry_after = None
        return error


@fails("refused_credentials_are_auth_failed", alone=True)
class RefusedKeyIsUnavailable(Acme):
    def _error(self, answer: Answer, read: bool) -> ProviderError:
        return Unavailable("try again") if answer.status == 401 else super()._error(answer, read)


@fails("refused_value_is_rejected_or_moved", alone=True)
class RefusedValueIsUnavailable(Acme):
    def _error(self, answer: Answer, read: bool) -> ProviderError:
        return Unavailable("try again") if answer.status == 422 else super()._error(answer, read)


@fails("failed_look_up_is_no_answer", "failed_look_up_is_never_outcome_unknown", "look_up_keeps_to_its_time",
       "refused_credentials_are_auth_failed", "redirects_are_not_followed_to_another_host")  # fmt: skip
class NothingFoundWhenDown(Acme):
    @hookimpl
    def find_lead(self, operation: Operation) -> Delivered | None:
        try:
            return super().find_lead(operation)
        except ProviderError:
            return None


@fails("failed_look_up_is_never_outcome_unknown", alone=True)
class LookUpIsOutcomeUnknown(Acme):
    def _error(self, answer: Answer, read: bool) -> ProviderError:
        return super()._error(answer, read=False)


@fails("operation_id_is_sent", "created_lead_is_found", "lead_whose_answer_was_lost_is_found",
       "lost_answer_makes_no_second_record", "lost_request_is_sent_again", "threads_share_a_provider",
       "delivered_operations_are_found_together", "lost_operations_are_not_found")  # fmt: skip
class NoOperationId(Acme):
    def _create(self, record: dict[str, Any]) -> Delivered:
        return super()._create({name: value for name, value in record.items() if name != "operation"})


@fails("look_up_of_an_unknown_operation_is_none", "created_lead_is_found", "lost_request_is_sent_again")
class FindsAnything(Acme):
    @hookimpl
    def find_lead(self, operation: Operation) -> Delivered | None:
        if operation.kind == Kind.LOG_ACTIVITY:
            return super().find_lead(operation)
        rows = self._rows("leads")
        return Delivered(self.name, str(rows[0]["id"]), adopted=True) if rows else None


@fails("create_is_not_retried_by_the_plugin")
class Retries(Acme):
    def _create(self, record: dict[str, Any]) -> Delivered:
        try:
            return super()._create(record)
        except (RateLimited, OutcomeUnknown) as error:
            if error.status in (429, 500):
                return super()._create(record)
            raise


@fails("redirects_are_not_followed_to_another_host")
class FollowsRedirects(Acme):
    def _send(self, method: str, path: str, **content: Any) -> Answer:
        answer = super()._send(method, path, **content)
        if 300 <= answer.status < 400:
            requests.request(method, answer.headers["Location"], headers={"X-Acme-Key": "acme-key-4711"}, timeout=5)
        return answer


@fails("errors_hold_no_secret_and_nothing_that_a_visitor_typed")
class QuotesTheAnswer(Acme):
    def _error(self, answer: Answer, read: bool) -> ProviderError:
        error = super()._error(answer, read)
        error.detail = self.redact(answer.body.decode())[:300]
        return error


@fails("errors_hold_no_secret_and_nothing_that_a_visitor_typed", "connection_details_hold_no_secret", alone=True)
class ErrorWithTheKey(Acme):
    def _error(self, answer: Answer, read: bool) -> ProviderError:
        error = super()._error(answer, read)
        error.detail = f"refused with {self.settings['ACME_KEY']}"
        return error


@fails("log_and_output_hold_no_secret_and_nothing_that_a_visitor_typed")
class LogsTheBody(Acme):
    def _create(self, record: dict[str, Any]) -> Delivered:
        logging.getLogger("acme").debug("sending %s", record)
        return super()._create(record)


@fails("threads_share_a_provider", alone=True)
class KeepsStateInSelf(Acme):
    def _create(self, record: dict[str, Any]) -> Delivered:
        self._record = record
        time.sleep(0.05)
        return super()._create(self._record)

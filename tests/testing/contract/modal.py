"""Correct plugins for destinations that cannot be searched, their fakes, and plugins with one fault each."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, ClassVar

from crmgate import hookimpl
from crmgate.errors import Code, OutcomeUnknown, ProviderError, Unavailable
from crmgate.model import Activity, Delivered, Lead, Operation
from crmgate.provider import Answer
from crmgate.testing import FakeCRM, ProviderContract, Request, Response
from tests.testing.contract.acme import Acme, FakeAcme
from tests.testing.contract.broken import fails


class KeyedFake(FakeAcme):
    """Stores nothing twice under one key, and has no search."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, Response] = {}

    def answer(self, request: Request) -> Response:
        key = request.header("Idempotency-Key")
        with self.lock:
            if key and key in self.answers:
                return self.answers[key]
            answer = super().answer(request)
            if key and answer.status == 201:
                self.answers[key] = answer
            return answer


class ModalContract(ProviderContract):
    """The contract of the plugins of this module."""

    def fake(self) -> FakeCRM:
        return KeyedFake()

    def settings(self, fake: FakeCRM) -> Mapping[str, str]:
        return {"ACME_URL": fake.url, "ACME_KEY": "acme-key-4711"}


class _WithoutASearch(Acme):
    """Acme without a search: two kinds of submissions, each a record of its own."""

    contract: ClassVar[type[ProviderContract]] = ModalContract
    capabilities = frozenset({"describe_fields", "preview", "provision"})
    create_leads = find_leads = find_lead = find_many = update_lead = log_activity = None  # type: ignore[assignment]

    @hookimpl
    def create_lead(self, lead: Lead, operation: Operation) -> Delivered:
        mapped = self.map_lead(lead, operation)
        return self._post(mapped.fields | {"text": self.describe(mapped, operation, lead.additional_info)}, operation)

    @hookimpl
    def create_minimal_lead(self, activity: Activity, operation: Operation) -> Delivered:
        mapped = self.map_activity(activity, operation)
        return self._post(mapped.fields | {"text": self.describe(mapped, operation)}, operation)

    def _post(self, record: dict[str, Any], operation: Operation) -> Delivered:
        return self._create(record)


class AtMostOnce(_WithoutASearch):
    delivery = "at_most_once"


class Keyed(_WithoutASearch):
    delivery = "idempotent"

    def _post(self, record: dict[str, Any], operation: Operation) -> Delivered:
        headers = {"X-Acme-Key": self.settings["ACME_KEY"], "Idempotency-Key": self._key(operation)}
        answer = self.request("POST", f"{self.settings['ACME_URL']}/leads", headers=headers, json=record)
        return Delivered(self.name, self._id(answer, 201))

    def _key(self, operation: Operation) -> str:
        return operation.id


@fails("idempotent_repetition_has_the_same_key", "idempotent_receiver_has_each_operation_once",
       "lost_answer_makes_no_second_record")  # fmt: skip
class AnotherKeyEachTime(Keyed):
    def _key(self, operation: Operation) -> str:
        return uuid.uuid4().hex


@fails("idempotent_repetition_has_the_same_key", "idempotent_receiver_has_each_operation_once",
       "lost_answer_makes_no_second_record")  # fmt: skip
class NoKey(Keyed):
    def _key(self, operation: Operation) -> str:
        return ""


@fails("idempotent_repetition_has_the_same_key", "idempotent_receiver_has_each_operation_once",
       "threads_share_a_provider", "lost_answer_makes_no_second_record", "lost_request_is_sent_again",
       alone=True)  # fmt: skip
class OneKeyForAll(Keyed):
    def _key(self, operation: Operation) -> str:
        return "crmgate"


@fails("at_most_once_is_never_sent_after_an_unknown_outcome", "create_without_answer_is_outcome_unknown",
       "create_cut_before_it_was_stored_is_outcome_unknown", "create_cut_after_it_was_stored_is_outcome_unknown",
       alone=True)  # fmt: skip
class LostAnswerIsAnOutage(AtMostOnce):
    def _send(self, method: str, path: str, **content: Any) -> Answer:
        try:
            return super()._send(method, path, **content)
        except OutcomeUnknown:
            raise Unavailable("no answer", code=Code.CONNECTION_DROPPED) from None


@fails("at_most_once_is_never_sent_after_an_unknown_outcome", "create_answered_with_a_server_error_is_outcome_unknown")
class ServerErrorIsAnOutage(AtMostOnce):
    def _error(self, answer: Answer, read: bool) -> ProviderError:
        return Unavailable(status=500) if answer.status in (500, 502) else super()._error(answer, read)


@fails("at_most_once_is_never_sent_after_an_unknown_outcome", "create_is_not_retried_by_the_plugin",
       "create_without_answer_is_outcome_unknown", "lost_answer_makes_no_second_record", alone=True)  # fmt: skip
class RetriesByItself(AtMostOnce):
    def _post(self, record: dict[str, Any], operation: Operation) -> Delivered:
        try:
            return super()._post(record, operation)
        except OutcomeUnknown:
            return super()._post(record, operation)


@fails("delivery_is_a_mode", "the_gateway_accepts_it", alone=True)
class MisspeltMode(Acme):
    delivery = "at_most_onec"


@fails("delivery_is_a_mode", "the_gateway_accepts_it", alone=True)
class ModeAsABool(Acme):
    delivery = True  # type: ignore[assignment]


@fails("the_gateway_accepts_it", alone=True)
class IdempotentWithASearch(Keyed):
    find_lead = Acme.find_lead

"""Plugins that take an answer of the CRM for something else, and plugins that the gateway sets aside."""

from __future__ import annotations

from typing import Any

from crmgate import hookimpl
from crmgate.errors import NotFound, ProviderError, Rejected
from crmgate.model import Activity, Delivered, Kind, Lead, Operation, Preview
from crmgate.provider import Answer, Known
from tests.testing.contract.acme import Acme, parsed
from tests.testing.contract.broken import fails


@fails("maintenance_is_an_outage")
class MaintenanceIsRejected(Acme):
    def _error(self, answer: Answer, read: bool) -> ProviderError:
        return Rejected("maintenance") if answer.status == 503 else super()._error(answer, read)


@fails("maintenance_is_an_outage", alone=True)
class MaintenanceInJsonIsRejected(Acme):
    def _error(self, answer: Answer, read: bool) -> ProviderError:
        if answer.status == 503 and parsed(answer):
            return Rejected("maintenance")
        return super()._error(answer, read)


@fails("missing_right_is_no_refusal_of_the_lead")
class MissingRightIsRejected(Acme):
    def _error(self, answer: Answer, read: bool) -> ProviderError:
        return Rejected("no right") if answer.status == 403 else super()._error(answer, read)


@fails("missing_right_is_no_refusal_of_the_lead", alone=True)
class MissingRightIsNotFound(Acme):
    def _error(self, answer: Answer, read: bool) -> ProviderError:
        return NotFound("hidden") if answer.status == 403 and read else super()._error(answer, read)


@fails("wrong_address_is_no_refusal_of_the_lead")
class MissingPageIsRejected(Acme):
    def _error(self, answer: Answer, read: bool) -> ProviderError:
        if answer.status == 404 and answer.content_type == "text/html":
            return Rejected("no page")
        return super()._error(answer, read)


@fails("wrong_address_is_no_refusal_of_the_lead", alone=True)
class MissingPathIsNotFound(Acme):
    def _error(self, answer: Answer, read: bool) -> ProviderError:
        return NotFound() if answer.status == 404 and parsed(answer) else super()._error(answer, read)


@fails("wrong_address_is_no_refusal_of_the_lead", alone=True)
class MissingPageIsNoRecord(Acme):
    @hookimpl
    def find_lead(self, operation: Operation) -> Delivered | None:
        try:
            return super().find_lead(operation)
        except ProviderError as error:
            if error.status == 404:
                return None
            raise


@fails("conflict_is_never_delivered")
class ConflictIsCreated(Acme):
    def _create(self, record: dict[str, Any]) -> Delivered:
        try:
            return super()._create(record)
        except ProviderError as error:
            if error.status == 409:
                return Delivered(self.name, "A1", adopted=True)
            raise


@fails("conflict_is_never_delivered")
class ConflictIsUpdated(Acme):
    @hookimpl
    def update_lead(self, lead_id: str, lead: Lead, operation: Operation) -> Delivered:
        try:
            return super().update_lead(lead_id, lead, operation)
        except ProviderError as error:
            if error.status == 409:
                return Delivered(self.name, lead_id)
            raise


@fails("conflict_is_never_delivered", alone=True)
class ConflictWithAnIdIsCreated(Acme):
    def _id(self, answer: Answer, status: int) -> str:
        return super()._id(answer, 409 if answer.status == 409 else status)


@fails("retry_after_is_read_in_each_form")
class ReadsWholeSecondsOnly(Acme):
    def _error(self, answer: Answer, read: bool) -> ProviderError:
        error, wait = super()._error(answer, read), answer.headers.get("Retry-After", "")
        error.retry_after = float(wait) if wait.isdigit() else None
        return error


@fails("retry_after_is_read_in_each_form", alone=True)
class DefaultRetryAfter(Acme):
    def _error(self, answer: Answer, read: bool) -> ProviderError:
        error = super()._error(answer, read)
        error.retry_after = error.retry_after or 86400.0
        return error


@fails("markup_of_a_visitor_is_escaped")
class NoteInUnescapedHtml(Acme):
    def _write_note(self, lead_id: str, text: str, operation: Operation) -> Delivered:
        return super()._write_note(lead_id, f"<p>{text}</p>", operation)


@fails("markup_of_a_visitor_is_escaped", alone=True)
class DescriptionInUnescapedHtml(Acme):
    def _create(self, record: dict[str, Any]) -> Delivered:
        return super()._create(record | {"text": record["text"].replace("\n", "<br>")})


@fails("rate_is_a_rate", "the_gateway_accepts_it")
class RateIsANumber(Acme):
    rate = 10  # type: ignore[assignment]


@fails("the_gateway_accepts_it")
class MisspeltCapability(Acme):
    capabilities = Acme.capabilities | {"detect_duplicates"}


@fails("the_gateway_accepts_it", alone=True)
class AsyncHook(Acme):
    @hookimpl
    async def find_lead(self, operation: Operation) -> Delivered | None:  # type: ignore[override]
        return super().find_lead(operation)


@fails("delivered_names_the_record", alone=True)
class NumberAsId(Acme):
    def _create(self, record: dict[str, Any]) -> Delivered:
        return Delivered(self.name, int(super()._create(record).record_id[1:]))  # type: ignore[arg-type]


@fails("update_arrives_and_names_the_lead", alone=True)
class UpdateNamesNoProvider(Acme):
    @hookimpl
    def update_lead(self, lead_id: str, lead: Lead, operation: Operation) -> Delivered:
        super().update_lead(lead_id, lead, operation)
        return Delivered("", lead_id)


@fails("unique_key_makes_no_second_record")
class ClaimsAUniqueKey(Acme):
    capabilities = Acme.capabilities | {"unique_key"}


@fails("a_preview_sends_nothing_and_shows_the_facts", alone=True)
class PreviewAsksTheCrm(Acme):
    @hookimpl
    def preview(self, operation: Operation) -> Preview:
        self._rows("fields")
        return super().preview(operation)


@fails("a_preview_sends_nothing_and_shows_the_facts", alone=True)
class EmptyPreview(Acme):
    @hookimpl
    def preview(self, operation: Operation) -> Preview:
        return Preview("POST", "leads", {}, {}, ())


@fails("known_person_is_handled_as_configured")
class IgnoresThePolicy(Acme):
    """It writes a note, with each value of CRM_ON_DUPLICATE."""

    @property
    def merges_duplicates(self) -> bool:
        return True

    @hookimpl
    def create_lead(self, lead: Lead, operation: Operation) -> Delivered:
        self.on_duplicate = "note"
        return super().create_lead(lead, operation)


@fails("known_person_is_handled_as_configured", alone=True)
class NeverCreatesAnother(Acme):
    @property
    def merges_duplicates(self) -> bool:
        return True


@fails("known_person_is_handled_as_configured", "submission_of_a_known_person_arrives_whole",
       "submission_of_a_known_person_is_found", "failed_search_for_a_known_person_makes_no_second_lead",
       "submission_of_a_known_person_whose_answer_was_lost_is_stored_once")  # fmt: skip
class KnowsNobody(Acme):
    """It claims to detect duplicates."""

    def _known(self, *_: Any) -> list[Any]:
        return []


class Similar(Acme):
    """A search with another operator than `is equal to`: it also finds leads of other persons."""

    def _known(self, lead: Lead, operation: Operation) -> list[Known]:
        rows = self._rows("leads") if self.merges_duplicates else []
        return [Known(str(row["id"]), False) for row in rows if self.matches(lead, row)]

    def matches(self, lead: Lead, row: dict[str, Any]) -> bool:
        raise NotImplementedError


@fails("person_with_a_similar_contact_gets_a_lead")
class EmailThatContains(Similar):
    def matches(self, lead: Lead, row: dict[str, Any]) -> bool:
        return bool(lead.email) and lead.email in row.get("email", "")


@fails("person_with_a_similar_contact_gets_a_lead", alone=True)
class EmailThatIsContained(Similar):
    def matches(self, lead: Lead, row: dict[str, Any]) -> bool:
        return bool(row.get("email")) and row["email"] in lead.email


@fails("person_with_a_similar_contact_gets_a_lead", alone=True)
class PhoneWithTheSameLastDigits(Similar):
    def matches(self, lead: Lead, row: dict[str, Any]) -> bool:
        return bool(lead.phone) and row.get("phone", "").endswith(lead.phone[-7:])


@fails("submission_of_a_known_person_arrives_whole")
class NoteWithoutTheWords(Acme):
    def _note(self, lead_id: str, lead: Lead, operation: Operation) -> Delivered:
        return self._write_note(lead_id, f"{lead.additional_info}\nAnother submission", operation)


@fails("submission_of_a_known_person_is_found",
       "submission_of_a_known_person_whose_answer_was_lost_is_stored_once")  # fmt: skip
class FindsNoNotes(Acme):
    @hookimpl
    def find_lead(self, operation: Operation) -> Delivered | None:
        if operation.kind == Kind.LOG_ACTIVITY:
            return super().find_lead(operation)
        return self._adopted(self._rows("leads", operation=operation.id), "id")


@fails("submission_of_a_known_person_whose_answer_was_lost_is_stored_once", alone=True)
class LostNoteIsAnotherLead(Acme):
    @hookimpl
    def create_lead(self, lead: Lead, operation: Operation) -> Delivered:
        try:
            return super().create_lead(lead, operation)
        except ProviderError:
            return self._create({"last": lead.last_name, "email": lead.email, "text": lead.additional_info})


@fails("failed_search_for_a_known_person_makes_no_second_lead")
class FailedSearchFindsNobody(Acme):
    def _known(self, lead: Lead, operation: Operation) -> list[Any]:
        try:
            return super()._known(lead, operation)
        except ProviderError as error:
            if error.status == 503:
                return []
            raise


@fails("activity_arrives_whole", alone=True)
class ActivityOfAnother(Acme):
    @hookimpl
    def log_activity(self, activity: Activity, lead_id: str, operation: Operation) -> Delivered:
        super().log_activity(activity, lead_id, operation)
        return Delivered("other", lead_id)

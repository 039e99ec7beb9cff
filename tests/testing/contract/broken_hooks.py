"""Plugins with one fault in the connection test, an optional hook, or a basic rule."""

from __future__ import annotations

import time
from typing import Any

from crmgate import hookimpl
from crmgate.errors import Code, ProviderError
from crmgate.model import Check, Connection, CrmField, Delivered, Kind, Lead, Operation, Provision
from crmgate.provider import Answer
from tests.testing.contract.acme import Acme
from tests.testing.contract.broken import fails


@fails("create_keeps_to_its_time", "look_up_keeps_to_its_time", "connection_silent_is_reported_in_time", alone=True)
class IgnoresItsTime(Acme):
    def _send(self, method: str, path: str, **content: Any) -> Answer:
        try:
            return super()._send(method, path, **content)
        except ProviderError as error:
            if error.code is Code.TIMEOUT:
                time.sleep(1.5)
            raise


@fails("connection_down_is_reported", "connection_silent_is_reported_in_time",
       "connection_with_refused_credentials_is_reported", "connection_to_something_else_is_reported")  # fmt: skip
class ConnectionTestRaises(Acme):
    @hookimpl
    def test_connection(self) -> Connection:
        self._rows("leads", id="none")
        return Connection(self.name, True, 0.0, (Check("connection", True),))


@fails("connection_with_refused_credentials_is_reported", "connection_to_something_else_is_reported", alone=True)
class AnyAnswerIsAConnection(Acme):
    @hookimpl
    def test_connection(self) -> Connection:
        try:
            self._send("GET", "leads")
        except ProviderError as error:
            return Connection(self.name, False, 0.0, (Check("connection", False, str(error)),))
        return Connection(self.name, True, 0.0, (Check("connection", True),))


@fails("connection_test_writes_nothing", alone=True)
class ConnectionTestWrites(Acme):
    @hookimpl
    def test_connection(self) -> Connection:
        tested = super().test_connection()
        if tested.connected:
            self._send("POST", "notes", json={"text": "test"})
        return tested


@fails("update_keeps_what_the_lead_does_not_say", alone=True)
class UpdateEmptiesFields(Acme):
    @hookimpl
    def update_lead(self, lead_id: str, lead: Lead, operation: Operation) -> Delivered:
        super().update_lead(lead_id, lead, operation)
        self._send("PUT", f"leads/{lead_id}", json={"last": lead.last_name or "-", "email": lead.email})
        return Delivered(self.name, lead_id)


@fails("update_loses_no_value")
class UpdateOverwrites(Acme):
    @hookimpl
    def update_lead(self, lead_id: str, lead: Lead, operation: Operation) -> Delivered:
        super().update_lead(lead_id, lead, operation)
        self._send("PUT", f"leads/{lead_id}", json={"last": lead.last_name} if lead.last_name else {})
        return Delivered(self.name, lead_id)


@fails("update_loses_no_value", alone=True)
class UpdateLosesOtherValues(Acme):
    @hookimpl
    def update_lead(self, lead_id: str, lead: Lead, operation: Operation) -> Delivered:
        known = self._rows("leads", id=lead_id)
        same = {name: getattr(lead, fact) for fact, name in self.lead_fields.items() if fact != "operation_id"}
        plan = self.plan_update(lead, operation, (known[0] if known else {}) | same)
        text = self.describe(plan, operation, lead.additional_info)
        self._id(self._send("PUT", f"leads/{lead_id}", json={"update " + operation.id: text}), 200)
        return Delivered(self.name, lead_id)


@fails("activity_whose_answer_was_lost_is_logged_once")
class LogsTwice(Acme):
    @hookimpl
    def find_lead(self, operation: Operation) -> Delivered | None:
        return None if operation.kind == Kind.LOG_ACTIVITY else super().find_lead(operation)


@fails("activity_on_an_unknown_lead_is_not_found", alone=True)
class LogsOnAnUnknownLead(Acme):
    def _rows(self, table: str, **wanted: str) -> list[dict[str, Any]]:
        return super()._rows(table, **wanted) or ([{}] if "id" in wanted and wanted["id"] != "none" else [])


@fails("provision_without_apply_writes_nothing", alone=True)
class ProvisionsUnasked(Acme):
    @hookimpl
    def provision(self, apply: bool) -> Provision:
        return super().provision(True)


@fails("provision_twice_changes_nothing_the_second_time", alone=True)
class ProvisionsEachTime(Acme):
    @hookimpl
    def provision(self, apply: bool) -> Provision:
        if apply:
            self._id(self._send("POST", "fields", json={"name": "operation"}), 201)
        return super().provision(apply)


@fails("fields_are_described", alone=True)
class DescribesTheFirstHalf(Acme):
    @hookimpl
    def describe_fields(self) -> tuple[CrmField, ...]:
        return super().describe_fields()[1:]


@fails("fields_of_a_crm_that_is_unavailable_are_an_error", alone=True)
class DescribesNothingWhenDown(Acme):
    @hookimpl
    def describe_fields(self) -> tuple[CrmField, ...]:
        try:
            return super().describe_fields()
        except ProviderError:
            return ()


@fails("required_hooks_are_implemented", alone=True)
class NoLookUp(Acme):
    find_lead = None  # type: ignore[assignment]


@fails("minimal_lead_arrives", alone=True)
class NeedsAPhone(Acme):
    def _create(self, record: dict[str, Any]) -> Delivered:
        return Delivered(self.name, super()._create(record | {"phone": record["phone"].strip()}).record_id)


@fails("connection_is_reported_good", alone=True)
class NeverConnected(Acme):
    @hookimpl
    def test_connection(self) -> Connection:
        return Connection(self.name, False, 0.0, (Check("connection", False, "not today"),))


@fails("activity_without_answer_is_outcome_unknown", "update_that_fails_is_never_delivered", alone=True)
class EveryPageIsDone(Acme):
    def _id(self, answer: Answer, status: int) -> str:
        return "1" if answer.status == 200 else super()._id(answer, status)


@fails("activity_arrives_whole", alone=True)
class ActivityWithoutFacts(Acme):
    def describe(self, *_: Any) -> str:
        return "a click"


@fails("update_arrives_and_names_the_lead", "update_makes_no_record", "update_of_an_unknown_lead_is_not_found",
       alone=True)  # fmt: skip
class UpdateCreates(Acme):
    @hookimpl
    def update_lead(self, lead_id: str, lead: Lead, operation: Operation) -> Delivered:
        mapped = self.map_lead(lead, operation)
        return self._create(mapped.fields | {"text": self.describe(mapped, operation, lead.additional_info)})


@fails("delivered_operations_are_found_together", alone=True)
class FindsOnlyCreatedLeads(Acme):
    def _left(self, operation: str, record: str) -> bool:
        return bool(self._rows("leads", id=record, operation=operation))


@fails("lost_operations_are_not_found", alone=True)
class FindsEachReceipt(Acme):
    def _left(self, operation: str, record: str) -> bool:
        return True


@fails("a_look_up_of_many_without_the_crm_is_an_error", alone=True)
class FindsNoneWhenDown(Acme):
    def _left(self, operation: str, record: str) -> bool:
        try:
            return super()._left(operation, record)
        except ProviderError:
            return False


@fails("each_of_several_writes_is_confirmed", alone=True)
class IgnoresItsNote(Acme):
    """It creates a lead, and a note whose answer nobody reads."""

    def _create(self, record: dict[str, Any]) -> Delivered:
        made = super()._create(record)
        if not self._rows("notes", lead=made.record_id):
            self._send("POST", "notes", json={"lead": made.record_id, "text": record["text"]})
        return made


@fails("lost_answer_to_each_of_several_writes_makes_no_second_record", alone=True)
class MakesThePersonFirst(Acme):
    """It creates a record of the person, without a search for that of an earlier attempt, and then the lead."""

    def _create(self, record: dict[str, Any]) -> Delivered:
        person = self._id(self._send("POST", "fields", json={"email": record.get("email", "")}), 201)
        return super()._create(record | {"person": person})


@fails("update_whose_answer_was_lost_is_stored_once", alone=True)
class UpdatesTwice(Acme):
    """It appends to the text of the lead without a look whether an earlier attempt did that."""

    @hookimpl
    def update_lead(self, lead_id: str, lead: Lead, operation: Operation) -> Delivered:
        known = self._rows("leads", id=lead_id)
        text = f"{known[0]['text'] if known else ''}\n{self.describe_all(lead, operation)}"
        self._id(self._send("PUT", f"leads/{lead_id}", json={"text": text}), 200)
        return self.delivered(lead_id)

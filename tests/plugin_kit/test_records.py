"""Methods of the base class for records and known people, with any CRM."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import pytest
from requests.structures import CaseInsensitiveDict

from crmgate.errors import AuthFailed, Code, NotFound, Rejected, Unavailable
from crmgate.model import Activity, Check, Delivered, Kind, Lead, Operation
from crmgate.plugin_kit.records import DROPPED_SECONDS
from crmgate.provider import Answer, CRMProvider, Known, Look, redirected
from tests.cases import all_cases

ADA = Lead(first_name="Ada", city="London", additional_info="Hello")
OPERATION = Operation("8b1c0f4e2d9a47f6b3c5d7e9f1a2b3c4", Kind.CREATE_LEAD, ADA.to_dict(), 0.0)


class Some(CRMProvider):
    """A CRM that gets no requests."""

    name = "some"
    lead_fields: ClassVar[Mapping[str, str]] = {
        "first_name": "firstName", "source": "origin", "referral_code": "code", "operation_id": "key",
    }  # fmt: skip

    def lead_url(self, lead_id: str) -> str:
        """An address of the lead."""
        return f"https://crm.example.com/{lead_id}"


class Doings:
    """Records the updates and activities of each lead."""

    def __init__(self, error: Exception | None = None) -> None:
        self.done: list[str] = []
        self.error = error

    def named(self, what: str) -> Callable[[str, Lead, Operation], Delivered]:
        def act(lead_id: str, lead: Lead, operation: Operation) -> Delivered:
            assert (lead, operation) == (ADA, OPERATION)
            if self.error:
                raise self.error
            self.done.append(f"{what} {lead_id}")
            return Delivered("some", lead_id)

        return act

    def resolve(self, known: list[Known], on_duplicate: str = "note", **options: Any) -> Delivered | None:
        crm = Some({}, on_duplicate=on_duplicate)
        return crm.resolve_duplicate(
            known, ADA, OPERATION, update=self.named("update"), log=self.named("log"), **options
        )


class TestResolveDuplicate:
    def test_nobody_is_known(self) -> None:
        assert Doings().resolve([]) is None

    @pytest.mark.parametrize(("policy", "done"), [("note", "log 1"), ("update", "update 1")])
    def test_the_oldest_is_reported(self, policy: str, done: str) -> None:
        doings = Doings()
        assert doings.resolve([Known("1"), Known("2")], policy) == Delivered("some", "1", adopted=True)
        assert doings.done == [done]

    def test_the_operations_own_lead_comes_first(self) -> None:
        doings = Doings()
        found = doings.resolve([Known("1"), Known("2", own=True), Known("3", own=True)])
        assert found == Delivered("some", "2", "https://crm.example.com/2", adopted=True)
        assert doings.done == []

    def test_a_lead_that_is_gone_makes_room_for_a_new_one(self) -> None:
        assert Doings(NotFound()).resolve([Known("1")]) is None

    def test_other_errors_are_the_plugins_choice(self) -> None:
        with pytest.raises(Rejected):
            Doings(Rejected()).resolve([Known("1")])
        assert Doings(Rejected()).resolve([Known("1")], unless=(Rejected,)) is None


class TestTell:
    def test_everything_is_said_though_it_has_a_field(self) -> None:
        shown = Some({}).describe_all(ADA, OPERATION).splitlines()
        assert shown[0] == "Hello"
        assert {"First name: Ada", "City: London", f"Tracking code: {OPERATION.tracking_code}"} <= set(shown)

    def test_a_click(self) -> None:
        assert "Channel: telegram" in Some({}).describe_all(Activity("telegram"), OPERATION).splitlines()


class TestDropped:
    def test_it_is_described_for_a_while(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = [1000.0]
        monkeypatch.setattr("crmgate.plugin_kit.records.time.monotonic", lambda: now[0])
        crm, sent = Some({}), list[dict[str, Any]]()

        def send(record: dict[str, Any]) -> Delivered:
            sent.append(record)
            return Delivered("some", "1", dropped=("town",))

        record = {"firstName": "Ada", "town": "x", "description": "Hello"}
        assert crm.send_describing(send, record).dropped == ("town",)
        crm.remember_dropped(["firstName"])
        assert crm.send_describing(send, record).dropped == ("firstName", "town")
        now[0] += DROPPED_SECONDS
        crm.send_describing(send, record)
        assert sent == [record, {"town": "x", "description": "First name: Ada\n\nHello"}, record]


class TestConnection:
    def checks(self, *found: Check) -> Callable[[], Iterator[Check]]:
        return lambda: iter(found)

    def failing(self, error: Exception) -> Callable[[], Iterator[Check]]:
        def check() -> Iterator[Check]:
            yield Check("never shown", True)
            raise error

        return check

    def test_a_gate_that_fails_ends_it(self) -> None:
        gate = Look("door", self.failing(Unavailable("no answer")), "(SOME_URL)", gate=True)
        found = Some({}).test(gate, Look("rest", self.checks(Check("rest", True))))
        assert (found.provider, found.connected) == ("some", False)
        assert found.checks == (Check("door", False, "server_error: no answer (SOME_URL)"),)

    def test_the_hint_is_for_silence(self) -> None:
        gate = Look("door", self.failing(AuthFailed("no", status=401)), "(SOME_URL)", gate=True)
        (check,) = Some({}).test(gate).checks
        assert check.detail == "bad_credentials (HTTP 401): no"

    @pytest.mark.parametrize(("needs", "connected"), [((), True), (("b",), False), (("c",), True)])
    def test_what_is_needed_counts(self, needs: tuple[str, ...], connected: bool) -> None:
        rest = Look("rest", self.checks(Check("b", False), Check("c", True)))
        found = Some({}).test(Look("door", self.checks(Check("door", True)), gate=True), rest, needs=needs)
        assert (found.connected, [check.name for check in found.checks]) == (connected, ["door", "b", "c"])

    @pytest.mark.parametrize(
        ("code", "gate", "needs", "refused"),
        [
            (Code.NO_PERMISSION, True, (), True),
            (Code.NO_PERMISSION, False, (), False),
            (Code.NO_PERMISSION, False, ("right",), True),
            (Code.BAD_CREDENTIALS, False, (), True),
            (Code.LOCKED_OUT, False, (), True),
        ],
    )
    def test_a_request_that_is_refused(self, code: Code, gate: bool, needs: tuple[str, ...], refused: bool) -> None:
        """A right that only some deliveries need is no refusal of the credentials."""
        right = Look("right", self.failing(AuthFailed("no", code=code)), gate=gate)
        assert Some({}).test(right, needs=needs).refused is refused

    @pytest.mark.parametrize(("needs", "refused"), [((), False), (("b",), True), (("c",), False)])
    def test_a_right_that_every_delivery_needs(self, needs: tuple[str, ...], refused: bool) -> None:
        rest = Look("rest", self.checks(Check("b", False), Check("c", True)))
        assert Some({}).test(rest, needs=needs).refused is refused

    def test_an_outage_of_the_crm_refuses_no_submission(self) -> None:
        right = Look("right", self.failing(Unavailable("no answer")), gate=True)
        found = Some({}).test(right, needs=("right",))
        assert (found.connected, found.refused) == (False, False)


@pytest.mark.parametrize(
    ("headers", "body", "wait", "parsed"),
    [
        ({"Retry-After": "30"}, b'{"a": 1}', 30.0, {"a": 1}),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, b"<h1>", None, None),
        ({}, b"", None, None),
        ({}, b"[" * 100_000, None, None),
    ],
)
def test_an_answer(headers: dict[str, str], body: bytes, wait: float | None, parsed: Any) -> None:
    answer = Answer(503, CaseInsensitiveDict(headers), body)
    assert (answer.retry_after, answer.parsed) == (wait, parsed)


@all_cases(
    ("to", "goes"),
    [
        ("https://a.example/x", ""),  # the same place
        ("https://b.example/x", "https://b.example/x"),
        ("https://b.example:444/x", ""),
        ("http://b.example/x", ""),
        ("https://c.example/x", ""),
        ("https://b.example/y", ""),
        ("https://a.example:444/x", ""),
        ("https://me@b.example/x", ""),
        ("https://b.example:port/x", ""),
    ],
)
def test_a_redirect(to: str, goes: str) -> None:
    assert redirected("https://a.example/x", to, lambda old, new: (old, new) == ("a.example", "b.example")) == goes


class TestStandIns:
    """Fields that the CRM requires and that a record leaves empty."""

    RECORD: ClassVar[Mapping[str, str]] = {"firstName": "Ada", "description": "Hello"}

    def sent(
        self, refusals: list[dict[str, str]], stand_ins: Mapping[str, str], **options: str
    ) -> list[dict[str, Any]]:
        """The records that were sent; one refusal after the other names fields."""
        self.bodies, pending = list[dict[str, Any]](), iter(refusals)

        def send(record: dict[str, Any]) -> Delivered:
            self.bodies.append(record)
            for fields in pending:
                raise Rejected("refused", fields=fields)
            return Delivered("some", "1")

        crm = Some({}, **options)
        self.delivered = crm.send_describing(send, self.RECORD, stand_ins=lambda _error: stand_ins)
        return self.bodies

    def test_values_that_move_one_after_the_other_stand_together_above_the_words(self) -> None:
        crm, refusals = Some({}), iter(("b", "a"))

        def send(record: dict[str, Any]) -> Delivered:
            for name in refusals:
                raise Rejected("refused", fields={name: "bad"})
            return Delivered("some", record["description"])

        delivered = crm.send_describing(send, {"a": "1", "b": "2", "description": "My own words"})
        assert delivered.record_id == "b: 2\na: 1\n\nMy own words"
        assert delivered.moved == ("b", "a")

    @pytest.mark.parametrize(
        ("refusals", "stand_ins", "count"),
        [
            ([{"office": "required"}], {}, 1),
            ([{"office": "required"}], {"town": "-"}, 1),
            ([{"office": "required"}] * 2, {"office": "-"}, 2),
            ([{"firstName": "x"}, {"firstName": "required"}, {"firstName": "x"}], {"firstName": "-"}, 2),
            ([{f"extra{number}": "required"} for number in range(6)], {f"extra{n}": "-" for n in range(6)}, 6),
        ],
    )
    def test_what_cannot_be_corrected_is_refused(
        self, refusals: list[dict[str, str]], stand_ins: Mapping[str, str], count: int
    ) -> None:
        with pytest.raises(Rejected) as raised:
            self.sent(refusals, stand_ins)
        assert len(self.bodies) == count
        assert raised.value.fields == refusals[count - 1]

    def test_not_when_a_refusal_is_final(self) -> None:
        with pytest.raises(Rejected):
            self.sent([{"office": "required"}], {"office": "-"}, on_rejected_field="dead")
        assert self.bodies == [self.RECORD]

    def test_an_empty_field_gets_one_and_is_named(self) -> None:
        assert self.sent([{"office": "required"}], {"office": "-"}) == [self.RECORD, {**self.RECORD, "office": "-"}]
        assert self.delivered.moved == ("office",)

    def test_a_refused_value_moves_first(self) -> None:
        *_, last = self.sent([{"firstName": "too long"}], {"firstName": "-"})
        assert last == {"firstName": "-", "description": "First name: Ada\n\nHello"}
        assert self.delivered.moved == ("firstName",)

    def test_a_field_that_has_a_value_keeps_it(self) -> None:
        *_, last = self.sent([{"office": "required"}], {"office": "-", "firstName": "-"})
        assert last == {**self.RECORD, "office": "-"}


class TestUnnamed:
    """A refusal that names no field."""

    RECORD: ClassVar[Mapping[str, str]] = {
        "firstName": "Ada", "origin": "fair", "code": "REF7", "stage": "new", "description": "Hello",
    }  # fmt: skip
    DESCRIBED: ClassVar[Mapping[str, str]] = {
        "firstName": "Ada", "stage": "new", "description": "Source: fair\nReferral code: REF7\n\nHello",
    }  # fmt: skip

    def sent(self, refusals: list[Rejected | AuthFailed], **options: Any) -> list[dict[str, Any]]:
        """The records that were sent, one refusal after the other."""
        self.bodies, pending = list[dict[str, Any]](), iter(refusals)

        def send(record: dict[str, Any]) -> Delivered:
            self.bodies.append(record)
            for refusal in pending:
                raise refusal
            return Delivered("some", "1")

        policy = options.pop("policy", "describe")
        self.delivered = Some({}, on_rejected_field=policy).send_describing(send, self.RECORD, **options)
        return self.bodies

    def test_all_optional_values_move(self) -> None:
        assert self.sent([Rejected("no")]) == [self.RECORD, self.DESCRIBED]
        assert (self.delivered.moved, self.delivered.unnamed) == (("origin", "code"), True)

    def test_a_refusal_that_names_a_field_is_another_case(self) -> None:
        self.sent([Rejected("no", fields={"code": "bad"})])
        assert (self.delivered.moved, self.delivered.unnamed) == (("code",), False)

    def test_after_a_field_was_named_the_others_move(self) -> None:
        *_, last = self.sent([Rejected("no", fields={"code": "bad"}), Rejected("no")])
        assert last == self.DESCRIBED | {"description": "Referral code: REF7\nSource: fair\n\nHello"}
        assert self.delivered.moved == ("code", "origin")

    def test_a_field_that_is_named_afterwards_moves_too(self) -> None:
        *_, last = self.sent([Rejected("no"), Rejected("no", fields={"stage": "bad"})], silent=("stage",))
        assert last == {name: value for name, value in self.DESCRIBED.items() if name != "stage"}

    def test_kept_and_silent_fields(self) -> None:
        *_, last = self.sent([Rejected("no")], keep=("code",), silent=("origin",))
        assert last == {name: value for name, value in self.RECORD.items() if name != "origin"}

    @pytest.mark.parametrize(
        ("refusals", "options", "count"),
        [
            ([Rejected("no")] * 2, {}, 2),
            ([Rejected("no")], {"policy": "dead"}, 1),
            ([Rejected("no")], {"keep": ("origin", "code")}, 1),
            ([Rejected("no", code=Code.DUPLICATE)], {}, 1),
            ([Rejected("no", code=Code.INVALID_REQUEST)], {}, 1),
            ([AuthFailed("no")], {}, 1),
        ],
    )
    def test_what_stays_a_refusal(self, refusals: list[Any], options: dict[str, Any], count: int) -> None:
        with pytest.raises(type(refusals[0])) as raised:
            self.sent(refusals, **options)
        assert (raised.value, len(self.bodies)) == (refusals[-1], count)

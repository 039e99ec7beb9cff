"""The HTTP interface with a stand-in for the gateway."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from crmgate import web
from crmgate.channels import Channel
from crmgate.config import Limits
from crmgate.errors import LedgerUnavailable, TooMany
from crmgate.model import Activity, Check, Kind, Operation, State, Suspicion, new_id
from crmgate.operators.payloads import Payloads
from crmgate.operators.waiting import Waiting
from crmgate.sources.reader import Sources
from crmgate.store.gate import Gate, Recipient
from crmgate.store.limits import UNMETERED, Limiter, Metered
from crmgate.store.spool import Spool


@dataclass
class StandInLedger:
    operations: dict[str, Operation] = field(default_factory=dict)
    workers: int = 1
    down: bool = False
    keeps: bool = True
    asked: list[str] = field(default_factory=list)
    shut: Gate = field(default_factory=Gate)
    counted: Counter[str] = field(default_factory=Counter)
    visits: list[str] = field(default_factory=list)

    def ping(self) -> None:
        if self.down:
            raise LedgerUnavailable("redis.internal:6379 refused the connection")

    def health(self) -> tuple[Check, ...]:
        if self.down:
            return (Check("redis", False, "Redis does not answer: start it, or correct REDIS_URL."),)
        return (Check("redis", True), Check("redis_eviction", self.keeps, "noeviction"))

    def get(self, operation_id: str) -> Operation | None:
        self.ping()
        self.asked.append(operation_id)
        return self.operations.get(operation_id)

    def gate(self, to: Recipient) -> Gate:
        self.ping()
        return self.shut

    def count_click(self, activity: Activity, visit: str = "") -> None:
        self.ping()
        self.visits.append(visit)
        self.counted[activity.channel] += 1

    def workers_seen(self, within: float) -> int:
        self.ping()
        return self.workers


@dataclass
class StandInClocks:
    differ: dict[str, float] = field(default_factory=dict)

    def offsets(self) -> dict[str, float]:
        return {"web-1": 0.01} | self.differ


@dataclass
class StandInGateway:
    """Records submissions. `state` is the state of the resulting operation; `error` is raised if set."""

    ledger: StandInLedger = field(default_factory=StandInLedger)
    recipient: Recipient = field(default_factory=lambda: Recipient("sandbox"))
    state: State = State.DELIVERED
    error: Exception | None = None
    submitted: list[tuple[Kind, dict[str, Any], bool]] = field(default_factory=list)
    contents: list[Any] = field(default_factory=list)
    keys: list[tuple[str, str]] = field(default_factory=list)
    limiter: Limiter | None = None

    def submit(
        self, kind: Kind, payload: dict[str, Any], *, inline: bool, key: str = "", repeats: float = 0.0,
        scope: str = "", content: Any = None, last_resort: bool = True, suspect: Suspicion | None = None,
        metered: Metered = UNMETERED,
    ) -> Operation:  # fmt: skip
        if self.error is not None:
            raise self.error
        if self.limiter and (wait := self.limiter.take_shared(metered.refusing)):
            raise TooMany(wait)
        if self.limiter and not suspect and self.limiter.take_shared(metered.reviewing):
            suspect = Suspicion.OVER_LIMIT
        self.submitted.append((kind, payload, inline))
        self.contents.append(content)
        self.keys.append((key, scope))
        state = State.SUSPECT if suspect else self.state
        operation = Operation(new_id(), kind, payload, 1_700_000_000.25, state, suspicion=suspect)
        self.ledger.operations[operation.id] = operation
        return operation


@dataclass
class StandInSettings:
    default_phone_region: str = "TR"
    field_aliases: dict[str, str] = field(default_factory=dict)
    default_form_charset: str = "auto"
    refuse_files: bool = False
    delivery: str = "inline"
    allowed_origins: tuple[str, ...] = ("https://www.example.org", "http://localhost:3000")
    allowed_hosts: tuple[str, ...] = ()
    provider: str = "sandbox"
    minimal_leads: bool = True
    limits: Limits = field(default_factory=Limits)
    honeypot_field: str = "_hp"
    min_fill_seconds: float = 2.0
    channels: dict[str, Channel] = field(
        default_factory=lambda: {
            "telegram": Channel("telegram", "https://t.me/example_bot"),
            "whatsapp": Channel("whatsapp", "https://wa.me/905321234567"),
            "line": Channel("line", "https://line.me/ti/{ref}?lang=tr"),
        }
    )


@dataclass
class StandInFigures:
    ledger: StandInLedger
    lost: Counter[str] = field(default_factory=Counter)

    def count_lost_clicks(self, reasons: Mapping[str, int]) -> None:
        self.ledger.ping()
        self.lost.update(reasons)

    def lost_clicks(self) -> dict[str, int]:
        self.ledger.ping()
        return dict(self.lost)


@dataclass
class StandInDesk:
    waiting: Waiting


class StandInAudit:
    def record(self, who: str, what: str, on: str, detail: str = "") -> None:
        raise AssertionError("no test with this stand-in makes an entry")


@dataclass
class StandInServices:
    settings: StandInSettings = field(default_factory=StandInSettings)
    gateway: StandInGateway = field(default_factory=StandInGateway)
    clocks: StandInClocks = field(default_factory=StandInClocks)
    payloads: Payloads = field(default_factory=lambda: Payloads(StandInAudit()))  # type: ignore[arg-type]
    sources: Sources = field(default_factory=lambda: Sources({}, "TR"))
    spool: Spool | None = None

    def __post_init__(self) -> None:
        self.figures = StandInFigures(self.ledger)

    @property
    def ledger(self) -> StandInLedger:
        return self.gateway.ledger

    @property
    def delivery(self) -> StandInGateway:
        return self.gateway

    @property
    def desk(self) -> StandInDesk:
        return StandInDesk(Waiting(self.ledger, self.gateway.recipient))  # type: ignore[arg-type]


@pytest.fixture
def services() -> StandInServices:
    return StandInServices()


@pytest.fixture
def gateway(services: StandInServices) -> StandInGateway:
    return services.gateway


@pytest.fixture(scope="session")
def routes() -> Flask:
    """The application that tests share, because its routes take 20 ms of CPU time to compile.

    It renders its documentation once: a test that documents other channels uses `own_app`.
    """
    app = Flask("crmgate")
    web.init_app(app)
    return app


@pytest.fixture
def app(routes: Flask, services: StandInServices) -> Iterator[Flask]:
    """The shared application with the services of this test, a queue of clicks of its own and no trusted proxy."""
    yield from _with_services(routes, services)


@pytest.fixture
def own_app(services: StandInServices) -> Iterator[Flask]:
    """An application that a test may change, for example by a route."""
    app = Flask("crmgate")
    web.init_app(app)
    yield from _with_services(app, services)


def _with_services(app: Flask, services: StandInServices) -> Iterator[Flask]:
    app.extensions["crmgate"] = services
    web.services.init_app(app)
    before = app.wsgi_app
    yield app
    app.extensions["crmgate.clicks"].stop()
    app.wsgi_app = before  # type: ignore[method-assign]  # without `web.trust_proxies`


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def body() -> dict[str, Any]:
    """The smallest submission."""
    return {"personal_info": {"first_name": "Ayşe", "phone": "0532 123 45 67"}}

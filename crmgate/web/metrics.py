"""`GET /metrics`: metrics for Prometheus.

Metrics of operations are read from Redis at each scrape, so that every process reports the same values and the worker
needs no port. Each process counts its own requests, in files that all processes of one gunicorn share
(`crmgate.gunicorn`), because counting them in Redis would add a round trip to each request.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping

from flask import Blueprint, Response
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from crmgate import __version__
from crmgate.channels import known_channels
from crmgate.errors import LedgerUnavailable, SpoolUnavailable
from crmgate.model import Suspicion
from crmgate.operators.reconcile import moment_of
from crmgate.policy import WORKER_SILENCE
from crmgate.services import Services
from crmgate.store.figures import Durations
from crmgate.store.gate import Cause
from crmgate.store.tokens import Scope
from crmgate.web.auth import require
from crmgate.web.openapi import Describe, ResponseDoc
from crmgate.web.services import services

GAUGES = {
    "waiting": ("crmgate_operations_waiting", "Operations that are not delivered yet, without dead letters"),
    "suspects": ("crmgate_suspects", "Suspected-bot submissions that wait for a review"),
    "queued": ("crmgate_wakeups_queued", "Wake-ups that no worker has taken yet"),
}
CLICKS = "clicks:"
"""Beginning of the names of the ledger's counters of clicks; the channel follows."""
CAUSES = 20
"""Number of causes of dead letters with labels of their own: the largest ones."""
_here = CollectorRegistry()
_requests = Histogram(
    "crmgate_http_request_duration_seconds", "Duration of requests in seconds",
    ("method", "route", "status"), registry=_here,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)  # fmt: skip
_counters: dict[tuple[str, str, str], Histogram] = {}
"""The counter for each combination of labels: there are as many as routes, methods and classes of status."""

blueprint = Blueprint("metrics", __name__)


@blueprint.get("/metrics")
@Describe(
    "Read the metrics for Prometheus",
    "Operating",
    {200: ResponseDoc("The metrics.", media="text/plain")},
    token=Scope.READ,
)
def metrics() -> Response:
    """Needs a token with the scope `read`, unless METRICS_PUBLIC is on."""
    if not services().settings.metrics_public:
        require(Scope.READ)
    registry = CollectorRegistry()
    registry.register(OfTheLedger(services()))
    registry.register(OfRequests())
    registry.register(OfTheSpool(services()))
    response = Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
    response.headers["Cache-Control"] = "no-store"
    return response


def count(method: str, route: str, status: int, seconds: float) -> None:
    """Count an answered request that took `seconds`. `route` is the URL rule, not the path: it has few values."""
    labels = method, route, f"{status // 100}xx"
    counter = _counters.get(labels)
    if counter is None:
        counter = _counters[labels] = _requests.labels(*labels)
    counter.observe(seconds)


class OfRequests(Collector):
    """Metrics of requests: of all processes of this gunicorn, or of this process without PROMETHEUS_MULTIPROC_DIR."""

    def collect(self) -> Iterator[Metric]:
        """The metrics, for a scrape."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            yield from _here.collect()
            return
        shared = CollectorRegistry()
        MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
        yield from shared.collect()


class OfTheSpool(Collector):
    """Metrics of the spool of this host, also while Redis does not answer; none without a spool."""

    def __init__(self, parts: Services) -> None:
        self._spool = parts.spool

    def collect(self) -> Iterator[Metric]:
        """The metrics, for a scrape."""
        if self._spool is None:
            return
        try:
            found = self._spool.figures() if self._spool.on else None
        except SpoolUnavailable:
            found = None
        yield GaugeMetricFamily("crmgate_spool_up", "Whether the spool can be used", value=int(found is not None))
        if found is None:
            return
        yield GaugeMetricFamily("crmgate_spool_operations", "Submissions in the spool", value=found.operations)
        yield GaugeMetricFamily("crmgate_spool_bytes", "Size of the spool, 0 if it is empty", value=found.size)
        words = "Age of the oldest submission in the spool"
        yield GaugeMetricFamily("crmgate_spool_oldest_seconds", words, value=found.oldest)


class OfTheLedger(Collector):
    """Metrics of operations from Redis; while Redis does not answer, only `crmgate_ledger_up` and the version."""

    def __init__(self, parts: Services) -> None:
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        """The metrics, for a scrape."""
        yield _labelled("crmgate_build_info", "The version of crmgate", {(__version__,): 1}, ["version"])
        try:
            found, up = [*self._gauges(), *self._gate(), *self._attempts(), *self._comparison()], 1
        except LedgerUnavailable:
            found, up = [], 0
        yield GaugeMetricFamily("crmgate_ledger_up", "Whether Redis answers", value=up)
        yield from found

    def _gauges(self) -> Iterator[Metric]:
        stats = self._parts.ledger.stats()
        yield self._dead_letters(stats.pop("dead_letters"))
        yield _clicks(stats, known_channels(self._parts.settings.channels))
        for name, (metric, words) in GAUGES.items():
            yield GaugeMetricFamily(metric, words, value=stats.pop(name))
        suspects = CounterMetricFamily("crmgate_suspects", "Suspects by cause", labels=["cause"])
        for cause in Suspicion:
            suspects.add_metric([cause], stats.pop(f"suspect:{cause}", 0))
        yield suspects
        counter = CounterMetricFamily("crmgate_operations", "Operations by event", labels=["event"])
        for event, number in sorted({"accepted": 0, "delivered": 0, "dead": 0, **stats}.items()):
            counter.add_metric([event], number)
        yield counter
        oldest = self._parts.figures.oldest_waiting()
        age = max(self._parts.ledger.now() - oldest, 0.0) if oldest else 0.0
        yield GaugeMetricFamily("crmgate_oldest_waiting_seconds", "Age of the oldest waiting operation", value=age)
        seen = self._parts.ledger.workers_seen(WORKER_SILENCE)
        yield GaugeMetricFamily("crmgate_workers", f"Workers seen within {WORKER_SILENCE:.0f} s", value=seen)
        offsets: dict[tuple[str, ...], float] = {(host,): off for host, off in self._parts.clocks.offsets().items()}
        words = "Seconds by which the clock of a host is ahead of Redis's"
        yield _labelled("crmgate_clock_offset_seconds", words, offsets, ["host"])

        share = self._parts.figures.memory_share()
        if share is not None:
            words = "Share of Redis's maxmemory in use; 0 without a limit"
            yield GaugeMetricFamily("crmgate_ledger_memory_ratio", words, value=share)

    def _gate(self) -> Iterator[Metric]:
        to = self._parts.delivery.recipient
        gate = self._parts.ledger.gate(to)
        words = "1 while nothing is sent to the CRM for this cause, else 0"
        states: dict[tuple[str, ...], int] = {(to.provider, cause): int(gate.cause is cause) for cause in Cause}
        yield _labelled("crmgate_provider_paused", words, states, ["provider", "cause"])

    def _comparison(self) -> Iterator[Metric]:
        """Gauges of the last comparison with the CRM; none before the first one."""
        last = self._parts.reconcile.last()
        if last is None:
            return
        for name, words, value in (
            ("checked", "Delivered operations that the last comparison looked for in the CRM", last["checked"]),
            ("missing", "Delivered operations that the CRM lacked in the last comparison", last["missing"]),
            ("last_run_timestamp_seconds", "Time of the last comparison with the CRM", moment_of(last)),
        ):
            yield GaugeMetricFamily(f"crmgate_reconcile_{name}", words, value=value)

    def _attempts(self) -> Iterator[Metric]:
        found = self._parts.figures.attempts()
        counter = CounterMetricFamily(
            "crmgate_attempts", "Delivery attempts by outcome", labels=["provider", "kind", "outcome"]
        )
        for labels, number in sorted(found.counts.items()):
            counter.add_metric(labels, number)
        yield counter
        yield _histogram(
            "crmgate_attempt_duration_seconds", "Duration of delivery attempts in seconds", found.durations
        )
        yield _histogram(
            "crmgate_delivery_seconds", "Seconds from the acceptance of an operation to its delivery", found.deliveries
        )

    def _dead_letters(self, number: int) -> Metric:
        """Dead letters by cause. Those of further causes, and those without a cause, have empty labels."""
        gauge = GaugeMetricFamily(
            "crmgate_dead_letters", "Operations that need a person, by the cause", labels=["provider", "code", "field"]
        )
        named = [found for found in self._parts.numbers.causes().items if found.code][:CAUSES]
        for found in named:
            gauge.add_metric([found.provider, found.code, found.field], found.count)
        gauge.add_metric(["", "", ""], max(number - sum(found.count for found in named), 0))
        return gauge


def _clicks(stats: dict[str, int], channels: Iterable[str]) -> Metric:
    """Clicks by channel, also of channels without a click; their counters are taken out of `stats`."""
    counted = {name.removeprefix(CLICKS): stats.pop(name) for name in [*stats] if name.startswith(CLICKS)}
    counter = CounterMetricFamily("crmgate_clicks", "Clicks on messenger links", labels=["channel"])
    for channel, number in sorted((dict.fromkeys(channels, 0) | counted).items()):
        counter.add_metric([channel], number)
    return counter


def _histogram(name: str, words: str, found: Iterable[Durations]) -> Metric:
    histogram = HistogramMetricFamily(name, words, labels=["provider"])
    for each in found:
        histogram.add_metric([each.provider], list(each.buckets), each.seconds)
    return histogram


def _labelled(name: str, words: str, values: Mapping[tuple[str, ...], float], labels: list[str]) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(name, words, labels=labels)
    for label_values, value in values.items():
        gauge.add_metric(label_values, value)
    return gauge

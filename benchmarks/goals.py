"""The figures that crmgate has to reach, and whether a run reached them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.contenders import ACKS_LATE, BULLMQ, CELERY, CRMGATE, ECHO, HUEY, PLAIN_HUEY
from benchmarks.figures import Report, short, table
from benchmarks.loads import accept, backlog, brownout, cost, drain, growth

Found = Callable[[Report], float | None]


@dataclass(frozen=True)
class Goal:
    """A limit for one figure of a load, which `find` reads from its report."""

    text: str
    load: str
    find: Found
    limit: float
    at_most: bool = False
    unit: str = ""

    def found(self, reports: Mapping[str, Report]) -> float | None:
        """The figure; None if it was not measured."""
        report = reports.get(self.load)
        return self.find(report) if report else None

    def reached(self, value: float) -> bool:
        """Whether a value is good enough."""
        return value <= self.limit if self.at_most else value >= self.limit

    def row(self, reports: Mapping[str, Report]) -> list[str]:
        """Cells: the goal, its limit, the figure and the verdict."""
        limit = f"{'at most' if self.at_most else 'at least'} {self.limit:g}{self.unit}"
        value = self.found(reports)
        if value is None:
            return [self.text, limit, "not measured", "-"]
        verdict = "reached" if self.reached(value) else "**not reached**"
        return [self.text, limit, short(value) + self.unit, verdict]


def _ratio(what: str, to: str) -> Found:
    return lambda report: report.ratio(what, CRMGATE, to)


def _median(who: str, what: str) -> Found:
    return lambda report: report.median(who, what)


def _growth(what: str) -> Found:
    def most(report: Report) -> float | None:
        first, *larger = report.contenders
        ratios = [ratio for size in larger if (ratio := report.ratio(what, size, first)) is not None]
        return max(ratios, default=None)

    return most


GOALS = (
    Goal("accepts a second, of a bare Flask echo", accept.NAME, _ratio(accept.RATE, ECHO), 0.6),
    Goal("accepts a second, of Flask and Celery", accept.NAME, _ratio(accept.RATE, CELERY), 2.0),
    Goal("accepts a second, of Flask and Huey", accept.NAME, _ratio(accept.RATE, HUEY), 0.9),
    Goal("p99 of accept, of the echo's", accept.NAME, _ratio(accept.P99, ECHO), 1.5, at_most=True),
    Goal("deliveries a second in one process, of BullMQ", drain.NAME, _ratio(drain.RATE, BULLMQ), 1.0),
    Goal("deliveries a second in one process, of Huey", drain.NAME, _ratio(drain.RATE, PLAIN_HUEY), 1.0),
    Goal("deliveries a second in one process, of Celery", drain.NAME, _ratio(drain.RATE, ACKS_LATE), 1.5),
    Goal("p99 of accept from the second after the breaker opened", brownout.NAME, _median(CRMGATE, brownout.AFTER), 50,
         at_most=True, unit=" ms"),
    Goal("backlog of Bitrix24, of one call a lead", backlog.NAME, _ratio(backlog.RATE, backlog.ONE_EACH), 20),
    Goal("QUERY_LIMIT_EXCEEDED after the first second", backlog.NAME, _median(CRMGATE, backlog.LATE), 0, at_most=True),
    Goal("Redis for a waiting operation, above its payload", cost.NAME, _median(cost.WAITING, cost.REDIS), 1536,
         at_most=True, unit=" bytes"),
    Goal("Redis for a receipt", cost.NAME, _median(cost.RECEIPT, cost.REDIS), 300, at_most=True, unit=" bytes"),
    Goal("accept with the longest queue, of the shortest", growth.NAME, _growth(growth.ACCEPT), 1.3, at_most=True),
    Goal("claim with the longest queue, of the shortest", growth.NAME, _growth(growth.CLAIM), 1.3, at_most=True),
)  # fmt: skip


def verdicts(reports: Mapping[str, Report]) -> str:
    """A Markdown table of all goals."""
    return table(["goal", "limit", "this run", "verdict"], (goal.row(reports) for goal in GOALS))

"""Measured figures: several values of one quantity, the ratio of two of them, and the report of one load."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One quantity of one contender: a value for each round, in `unit` ('' for a plain number)."""

    who: str
    what: str
    unit: str
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError(f"{self.who}, {self.what}: no values")

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def least(self) -> float:
        return min(self.values)

    @property
    def most(self) -> float:
        return max(self.values)

    def __str__(self) -> str:
        """Median with its unit, and the range if there are several values."""
        unit = f" {self.unit}" if self.unit else ""
        if len(self.values) == 1:
            return f"{short(self.median)}{unit}"
        return f"{short(self.median)}{unit} ({short(self.least)} to {short(self.most)})"


def short(value: float) -> str:
    """A number with three significant digits, and whole from 100 on."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


@dataclass(frozen=True)
class Report:
    """All figures of one load.

    `base` is the contender that ratios of `main` refer to; both are empty for a load without ratios.
    """

    load: str
    figures: tuple[Figure, ...]
    main: str = ""
    base: str = ""
    remarks: tuple[str, ...] = ()
    """What a reader has to know about this run, such as peers that were left out."""

    @property
    def contenders(self) -> list[str]:
        """Names in the order of their first figure."""
        return list(dict.fromkeys(figure.who for figure in self.figures))

    @property
    def quantities(self) -> list[str]:
        """Names in the order of their first figure."""
        return list(dict.fromkeys(figure.what for figure in self.figures))

    def find(self, who: str, what: str) -> Figure | None:
        """The figure of a contender; None if it was not measured."""
        return next((one for one in self.figures if (one.who, one.what) == (who, what)), None)

    def ratio(self, what: str, who: str, to: str) -> float | None:
        """Median of `who` divided by the median of `to`; None if one of them was not measured."""
        above, below = self.find(who, what), self.find(to, what)
        if above is None or below is None or not below.median:
            return None
        return above.median / below.median

    def median(self, who: str, what: str) -> float | None:
        """Median of a figure; None if it was not measured."""
        figure = self.find(who, what)
        return figure.median if figure else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a JSON file."""
        rows = [{"who": f.who, "what": f.what, "unit": f.unit, "values": list(f.values)} for f in self.figures]
        return {
            "load": self.load, "figures": rows, "main": self.main, "base": self.base, "remarks": list(self.remarks),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Report:
        """The report that `to_dict` wrote."""
        figures = tuple(Figure(**row | {"values": tuple(row["values"])}) for row in data["figures"])
        return cls(data["load"], figures, data["main"], data["base"], tuple(data["remarks"]))


@dataclass
class Gathered:
    """Collects values round by round. The figures come in the order of their first values."""

    _values: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    _units: dict[str, str] = field(default_factory=dict)

    def add(self, who: str, what: str, unit: str, value: float) -> None:
        """Add the value of one round."""
        self._values.setdefault((who, what), []).append(value)
        self._units[what] = unit

    def figures(self) -> tuple[Figure, ...]:
        """One figure for each quantity of each contender."""
        return tuple(Figure(who, what, self._units[what], tuple(v)) for (who, what), v in self._values.items())


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest value that at least `percent` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are aligned to the right."""
    lines = [header, ["---", *("--:" for _ in header[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

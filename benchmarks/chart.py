"""The chart of docs/performance.md: bars of medians, with a line from the smallest to the largest value.

SVG with a style sheet of its own, so that it follows the light or dark scheme of the reader.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from xml.sax.saxutils import escape

from benchmarks.contenders import CRMGATE
from benchmarks.figures import Figure, Report, short

WIDTH, LABELS, BARS = 760, 180, 470
"""Width of the chart, of the names on the left, and of the longest bar."""
ROW, BAR, TITLE = 28, 16, 44
LABEL = "Bars: crmgate beside other programs. The tables of this page have the same figures."
STYLE = """
  <style>
    text { font: 13px system-ui, sans-serif; fill: #1f2937 }
    .title { font-weight: 600; font-size: 15px }
    .note { fill: #6b7280 }
    .peer { fill: #94a3b8 } .own { fill: #4f46e5 }
    .range { stroke: #0f172a; stroke-width: 1.5 }
    @media (prefers-color-scheme: dark) {
      text { fill: #e5e7eb } .note { fill: #9ca3af }
      .peer { fill: #64748b } .own { fill: #818cf8 } .range { stroke: #f8fafc }
    }
  </style>"""


@dataclass(frozen=True)
class Panel:
    """Bars of one quantity of a load. `title` says what a longer bar means."""

    title: str
    load: str
    what: str


def draw(panels: Iterable[Panel], reports: Mapping[str, Report]) -> str:
    """The chart as SVG, with the panels whose load was measured."""
    parts, top = list[str](), 8
    for panel in panels:
        report = reports.get(panel.load)
        bars = [figure for figure in report.figures if figure.what == panel.what] if report else []
        if report is None or not bars:
            continue
        parts += _panel(panel.title, report, bars, top)
        top += TITLE + ROW * len(bars) + 12
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" role="img" aria-label="{LABEL}">'
    return "\n".join([head + STYLE, *parts, "</svg>", ""])


def _panel(title: str, report: Report, bars: list[Figure], top: int) -> list[str]:
    longest = max(figure.most for figure in bars)
    lines = [f'  <text class="title" x="8" y="{top + 20}">{escape(title)}</text>']
    for number, figure in enumerate(bars):
        lines += _bar(report, figure, BARS / longest, top + TITLE + number * ROW)
    return lines


def _bar(report: Report, figure: Figure, scale: float, top: int) -> list[str]:
    kind, middle = "own" if figure.who.startswith(CRMGATE) else "peer", top + BAR / 2
    left, right = LABELS + figure.least * scale, LABELS + figure.most * scale
    return [
        f'  <text x="{LABELS - 10}" y="{middle + 4.5:g}" text-anchor="end">{escape(figure.who)}</text>',
        f'  <rect class="{kind}" x="{LABELS}" y="{top}" width="{figure.median * scale:.1f}" height="{BAR}" rx="2"/>',
        f'  <path class="range" d="M{left:.1f} {middle:g}H{right:.1f}"/>',
        f'  <text class="note" x="{right + 8:.1f}" y="{middle + 4.5:g}">{_note(report, figure)}</text>',
    ]


def _note(report: Report, figure: Figure) -> str:
    """The median, and its ratio to the contender that the report compares with."""
    ratio = report.ratio(figure.what, figure.who, report.base)
    return f"{short(figure.median)} ({ratio:.2f})" if ratio is not None else short(figure.median)

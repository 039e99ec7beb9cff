"""Amounts as CSV (RFC 4180), for a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields

from crmgate.operators.export import harmless
from crmgate.operators.numbers import Amounts, DayCount

REST = "(other)"
"""The value in a cell that stands for all further values."""
COLUMNS = ("day", "value", *(field.name for field in fields(Amounts)))


def lines(rows: Iterable[DayCount]) -> Iterator[str]:
    """Yield the lines with their line ends: a header, and a line for each day and value.

    No cell is a formula for a spreadsheet: visitors can choose the values.
    """
    yield _line(COLUMNS)
    for row in rows:
        value = REST if row.value is None else harmless(row.value)
        yield _line((row.day.isoformat(), value, *asdict(row.figures).values()))


def _line(cells: Iterable[object]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()

"""Functions and files of crmgate and of the shipped plugins are small."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILE, FUNCTION = 400, 30
"""Largest number of lines of a file, and of the body of a function without its docstring."""
LONGER = {
    "crmgate/services.py build": "it creates every part of the gateway, one after the other",
    "crmgate/store/gate.py explain": "a sentence for each cause",
    "crmgate/testing/bitrix24/portal.py __init__": "the state of a portal",
    "crmgate/testing/espocrm/activities.py _event": "a record with all its fields",
    "crmgate/testing/espocrm/activities.py note": "a record with all its fields",
    "crmgate/testing/espocrm/activities.py task": "a record with all its fields",
    "crmgate/testing/espocrm/people.py contact": "a record with all its fields",
    "crmgate/testing/espocrm/people.py lead": "a record with all its fields",
    "crmgate/testing/espocrm/system.py user": "a record with all its fields",
}
"""Functions that are longer, with the reason."""


def files(*endings: str) -> list[Path]:
    patterns = [f"{top}/**/*.{end}" for top in ("crmgate", "plugins") for end in endings]
    return [path for pattern in patterns for path in sorted(ROOT.glob(pattern))]


@cache
def functions() -> list[tuple[str, int]]:
    """Each function, and the number of lines of its body."""
    return [function for path in files("py") for function in functions_of(path)]


def functions_of(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            yield f"{path.relative_to(ROOT)} {node.name}", lines


def test_no_file_is_longer_than_four_hundred_lines() -> None:
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files("py", "lua", "html", "css")
    }
    assert len(lines) > 300
    long = {name: number for name, number in lines.items() if number > FILE}
    assert not long, f"divide them: {long}"


def test_functions_are_small() -> None:
    every = sorted(lines for _, lines in functions())
    assert len(every) > 3000
    assert statistics.median(every) <= 5
    assert every[len(every) * 95 // 100] <= 15


def test_no_function_is_longer_than_a_screen() -> None:
    long = {name for name, lines in functions() if lines > FUNCTION}
    assert long - LONGER.keys() == set(), "divide them"
    assert LONGER.keys() - long == set(), "they are short now: remove them from LONGER"

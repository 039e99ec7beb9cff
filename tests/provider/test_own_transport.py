"""The example of a transport of its own in docs/plugins/README.md: it runs, and sends nothing without time."""

from __future__ import annotations

import re
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from crmgate.errors import Code, OutcomeUnknown, OutOfTime
from crmgate.provider import time_budget
from tests.provider.rig import LIMIT, Script, failure, verdict

PAGE = Path(__file__).parents[2] / "docs" / "plugins" / "README.md"


@pytest.fixture
def sheet() -> Any:
    found = re.search(r"<!-- example: own transport -->\n(.*?)<!-- end of example -->", PAGE.read_text(), re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {}
    exec(textwrap.dedent(found[1]), names)
    return names["Sheet"]({})


def test_it_sends_and_is_counted(crm: Script, sheet: Any) -> None:
    sheet.append(crm.url, b"row")
    assert [request.body for request in crm.requests] == [b"row"]
    assert (sheet.used(), sheet.used()) == (1, 0)


def test_without_time_it_sends_nothing(crm: Script, sheet: Any) -> None:
    with time_budget(0.0):
        assert verdict(failure(lambda: sheet.append(crm.url, b"row"))) == (OutOfTime, Code.OUT_OF_TIME)
    assert (crm.requests, sheet.used()) == ([], 0)


def test_it_keeps_to_its_time(crm: Script, sheet: Any) -> None:
    crm.fail("hang")
    begun = time.monotonic()
    with time_budget(LIMIT), pytest.raises(OutcomeUnknown):
        sheet.append(crm.url, b"row")
    assert time.monotonic() - begun < 30 * LIMIT
    assert sheet.used() == 1

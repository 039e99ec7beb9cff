"""A submission for the tests of the schemas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from crmgate.schemas import Parsed, parse_application


@pytest.fixture
def parse() -> Callable[..., Parsed]:
    """Call `parse_application` with a valid submission, with some fields added or replaced."""

    def parse(**fields: Any) -> Parsed:
        return parse_application({"first_name": "Ayşe", "phone": "0532 123 45 67"} | fields, default_region="TR")

    return parse

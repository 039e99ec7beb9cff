"""A running gateway answers as its description says, whatever is sent: `make fuzz` sends more, others each time."""

from __future__ import annotations

from pathlib import Path


def test_every_answer_is_described(tmp_path: Path) -> None:
    from tests.fuzz_schema import fuzz, gateway  # takes 0.2 s, in each process that collects the tests

    stack, token = gateway(tmp_path)
    with stack:
        stack.redis.start()
        stack.start_web()
        assert fuzz(stack.url, 30, {"Authorization": f"Bearer {token}"}, number=1) >= 30
        assert fuzz(stack.url, 1, {}, number=2) >= 30
        assert "Traceback" not in stack.web.output()

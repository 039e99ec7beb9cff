"""Tokens on running processes: made on the command line, known to every web process, and the CRM is spared."""

from __future__ import annotations

import json
import os
from typing import Any

import requests

from tests.forked import crmgate
from tests.integration.stack import Stack, person
from tests.processes import DEADLINE, wait_until


def command(stack: Stack, *arguments: str) -> Any:
    """The JSON output of a command."""
    done = crmgate(os.environ | stack.env, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def get(stack: Stack, path: str, token: str) -> requests.Response:
    return requests.get(stack.url + path, headers={"Authorization": f"Bearer {token}"}, timeout=DEADLINE)


def test_a_token_opens_what_is_for_operators_until_it_is_revoked(own_stack: Stack) -> None:
    fixed = command(own_stack, "tokens", "new", "--name", "monitoring", "--scope", "read", "--env")
    own_stack.env["API_TOKENS"] = fixed["entry"]
    stack = own_stack.start()
    made = command(stack, "tokens", "new", "--name", "site", "--scope", "operate")
    token = made["token"]

    before = len(stack.espocrm.requests)
    answers = [get(stack, "/api/v1/crm/test", token) for _ in range(6)]
    assert {answer.status_code for answer in answers} == {200}
    assert answers[0].json()["provider"] == "espocrm"
    once = len(stack.espocrm.requests) - before
    assert len({answer.text for answer in answers}) == 1, "tested once"
    assert 0 < once < 12

    answer = stack.post(person(), headers={"Authorization": f"Bearer {token}"})
    [lead] = stack.espocrm.leads
    assert answer.json()["crm"]["lead_id"] == lead["id"]
    shown = get(stack, answer.headers["Location"], token).json()
    assert [attempt["outcome"] for attempt in shown["attempts"]] == ["delivered"]
    assert shown["crm"]["provider"] == "espocrm"

    command(stack, "tokens", "revoke", made["id"])
    wait_until("the token is refused", lambda: get(stack, "/api/v1/crm/test", token).status_code == 401)
    assert stack.post(person(1), headers={"Authorization": f"Bearer {token}"}).status_code == 201

    stack.redis.stop()
    assert get(stack, "/api/v1/crm/test", fixed["token"]).status_code == 200
    wait_until("the other one cannot be judged", lambda: get(stack, "/api/v1/crm/test", token).status_code == 503)

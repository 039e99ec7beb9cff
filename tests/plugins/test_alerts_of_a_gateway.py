"""Alerts of running gateways: one message for an incident, and one when it is over."""

from __future__ import annotations

import signal
from pathlib import Path

from crmgate.store import keys
from tests.integration.stack import Stack, person
from tests.plugins.alerting import (
    CANARY,
    Inbox,
    inbox,
    telegram,
    webhook,
)
from tests.processes import wait_until

__all__ = ["inbox"]  # fixture


def output(stack: Stack) -> str:
    return stack.web.output() + stack.worker.output()


def test_refused_credentials_are_one_alert_and_one_when_they_are_mended(inbox: Inbox, tmp_path: Path) -> None:
    wrong = {"ESPOCRM_API_KEY": "outdated"}
    with Stack(tmp_path, **wrong, **webhook(inbox), **telegram(inbox)) as stack:
        stack.start()
        ids = [stack.submit(person(number), 202) for number in range(20)]
        wait_until("the alert", inbox.sent)
        stack.web.stop()
        stack.worker.stop()
        assert inbox.events() == ["provider_paused"]
        right = {"ESPOCRM_API_KEY": "KEY-GATEWAY"}
        stack.start_worker(**right)
        for operation_id in ids:
            stack.wait_for(operation_id, "delivered", 60)
        stack.worker.stop()
        assert inbox.events() == ["provider_paused", "provider_recovered"]
        assert len(inbox.records()["telegram"]) == 2
        assert CANARY not in output(stack)


def test_dead_letters_are_one_message_and_a_summary(inbox: Inbox, tmp_path: Path) -> None:
    with Stack(tmp_path, CRM_EPIDEMIC_AFTER="100", **webhook(inbox)) as stack:
        stack.espocrm.fail("answer", status=400, method="POST", path="/Lead")
        stack.start()
        ids = [stack.submit_queued(person(number, additional_info=CANARY)) for number in range(20)]
        for operation_id in ids:
            stack.wait_for(operation_id, "dead")
        wait_until("the first alert", inbox.sent)
        stack.worker.stop()
        first, summary = inbox.sent()
        assert (first["event"], first["count"]) == ("dead_letter", 1)
        assert (summary["event"], summary["count"]) == ("dead_letters", 19)
        assert {*first["operations"], *summary["operations"]} <= set(ids)
        for request in inbox.requests:
            assert CANARY.encode() not in request.body
            assert b"example.com" not in request.body
        assert CANARY not in output(stack)


def test_a_refusal_of_every_lead_is_one_alert_and_loses_no_lead(inbox: Inbox, tmp_path: Path) -> None:
    with Stack(tmp_path, **webhook(inbox)) as stack:
        stack.espocrm.fail("answer", status=400, method="POST", path="/Lead")
        stack.start()
        ids = [stack.submit_queued(person(number, additional_info=CANARY)) for number in range(10)]
        wait_until("the alert", lambda: "provider_paused" in inbox.events())
        stack.espocrm.heal()
        wait_until("all are delivered", lambda: all(stack.operation(i).state == "delivered" for i in ids))
        stack.worker.stop()
        events = inbox.events()
        assert (events.count("provider_paused"), events.count("provider_recovered")) == (1, 1)
        assert sum(body["count"] for body in inbox.sent()) == 4, "those before the fifth; they returned by themselves"
        assert CANARY not in output(stack)


HASTY = {"GUNICORN_CMD_ARGS": "--worker-class tests.integration.watchful.Worker"}


def test_a_dead_worker_is_one_alert_and_one_when_it_is_back(inbox: Inbox, tmp_path: Path) -> None:
    with Stack(tmp_path, web_workers=2, **HASTY, **webhook(inbox)) as stack:
        stack.redis.start()
        stack.start_worker()
        stack.start_web()
        waiting = stack.submit_queued(person())
        stack.wait_for(waiting, "delivered")
        stack.worker.kill()
        stack.submit_queued(person(1))
        [missing] = wait_until("the alert", inbox.sent)
        assert (missing["event"], missing["waiting"]) == ("worker_missing", 1)
        assert missing["text"].startswith("crmgate on site: no worker was seen for ")
        stack.start_worker()
        wait_until("the end", lambda: len(inbox.sent()) > 1)
        stack.web.stop(signal.SIGTERM)
        assert inbox.events() == ["worker_missing", "worker_back"]
        assert b"example.com" not in b"".join(request.body for request in inbox.requests)


def test_a_redis_that_stops_is_one_alert_and_one_when_it_is_back(inbox: Inbox, tmp_path: Path) -> None:
    with Stack(tmp_path, web_workers=2, **HASTY, **webhook(inbox)) as stack:
        stack.start()
        wait_until("somebody has the watch", lambda: stack.client.exists(keys.WATCH))
        stack.redis.kill()
        [unavailable] = wait_until("the alert", inbox.sent)
        assert unavailable["event"] == "ledger_unavailable"
        stack.redis.start()
        wait_until("the end", lambda: len(inbox.sent()) > 1)
        stack.submit(person())
        stack.web.stop(signal.SIGTERM)
        assert inbox.events() == ["ledger_unavailable", "ledger_available"]

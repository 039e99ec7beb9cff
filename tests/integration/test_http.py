"""The HTTP interface of running processes: accepted forms of a submission, public answers, readiness."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from tests.integration.stack import Stack, person
from tests.processes import DEADLINE, gunicorn, huey_worker, wait_until

PERSON = {"first_name": "Zeynep", "last_name": "Kılıç", "email": "zeynep@example.com", "phone": "0532 765 43 21"}


def lead_of(stack: Stack, operation_id: str) -> dict[str, Any]:
    delivered = stack.wait_for(operation_id, "delivered").delivered
    assert delivered is not None
    (lead,) = [lead for lead in stack.espocrm.leads if lead["id"] == delivered.record_id]
    return lead


FORMS: dict[str, dict[str, Any]] = {
    "nested JSON": {"json": {"personal_info": PERSON, "referral_code": "REF1", "utm": {"source": "google"}}},
    "flat JSON": {"json": PERSON | {"ref": "REF1", "utm_source": "google"}},
    "camelCase JSON": {
        "json": {
            "personalInfo": {
                "firstName": "Zeynep",
                "lastName": "Kılıç",
                "email": PERSON["email"],
                "phone": PERSON["phone"],
            },
            "referralCode": "REF1",
            "utmSource": "google",
        }
    },
    "HTML form": {"data": PERSON | {"ref": "REF1", "utm_source": "google"}},
    "multipart form": {
        "files": {name: (None, value) for name, value in (PERSON | {"ref": "REF1", "utm_source": "google"}).items()}
    },
    "bracketed form": {
        "data": {f"personal_info[{name}]": value for name, value in PERSON.items()}
        | {"ref": "REF1", "utm[source]": "google"}
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_submission_makes_the_same_lead(stack: Stack, form: str) -> None:
    response = requests.post(f"{stack.url}/api/v1/applications", timeout=DEADLINE, **FORMS[form])
    assert response.status_code == 201, response.text
    lead = lead_of(stack, response.json()["id"])
    assert (lead["firstName"], lead["lastName"], lead["emailAddress"]) == ("Zeynep", "Kılıç", PERSON["email"])
    assert (lead["phoneNumber"], lead["referralCodeC"]) == ("+905327654321", "REF1")
    assert "UTM source: google" in lead["description"]


def test_the_answer_has_what_the_caller_needs_and_leads_to_the_operation(stack: Stack) -> None:
    response = stack.post(person(100))
    assert response.status_code == 201
    answer = response.json()
    assert answer.keys() == {"id", "status", "tracking_code", "submitted_at"}
    assert answer["status"] == "delivered"
    assert response.headers["Location"] == f"/api/v1/operations/{answer['id']}"
    status = requests.get(stack.url + response.headers["Location"], timeout=DEADLINE)
    assert status.status_code == 200
    assert status.json()["status"] == "delivered"
    assert status.json()["tracking_code"] == answer["tracking_code"]


@pytest.mark.parametrize("outage", [False, True])
def test_the_public_learns_nothing_about_the_crm(stack: Stack, outage: bool) -> None:
    if outage:
        stack.espocrm.fail("answer", status=500, body="<h1>EspoCRM: SQLSTATE secret</h1>", method="POST", times=1)
    response = stack.post(person(200 + outage))
    operation_id = response.json()["id"]
    text = response.text + str(response.headers)
    text += requests.get(f"{stack.url}/api/v1/operations/{operation_id}", timeout=DEADLINE).text
    operation = stack.wait_for(operation_id, "delivered")
    text += requests.get(f"{stack.url}/api/v1/operations/{operation_id}", timeout=DEADLINE).text
    assert operation.delivered is not None
    for secret in ("espo", "bitrix", "sqlstate", "server_error", operation.delivered.record_id, stack.espocrm.url):
        assert secret.lower() not in text.lower()


def test_a_caller_that_does_not_want_to_wait_does_not(stack: Stack) -> None:
    response = stack.post(person(300), headers={"Prefer": "respond-async"})
    assert (response.status_code, response.headers.get("Preference-Applied")) == (202, "respond-async")
    assert stack.wait_for(response.json()["id"], "delivered").events[0].outcome == "delivered"


def test_a_form_without_javascript_is_sent_back_to_its_site(own_stack: Stack) -> None:
    own_stack.env["ALLOWED_ORIGINS"] = "https://www.example.com"
    own_stack.start()
    form = PERSON | {"_next": "https://www.example.com/thanks?x=1"}
    response = requests.post(f"{own_stack.url}/api/v1/applications", data=form, allow_redirects=False, timeout=DEADLINE)
    assert (response.status_code, response.headers["Location"]) == (303, "https://www.example.com/thanks?x=1")
    form["_next"] = "https://evil.example/"
    response = requests.post(f"{own_stack.url}/api/v1/applications", data=form, allow_redirects=False, timeout=DEADLINE)
    assert (response.status_code, response.headers.get("Refresh"), "evil" in response.text) == (201, None, False)
    assert "Location" not in response.headers or "evil" not in response.headers["Location"]


def test_readiness_needs_a_worker(own_stack: Stack) -> None:
    own_stack.redis.start()
    own_stack.start_web()
    response = requests.get(f"{own_stack.url}/readyz", timeout=DEADLINE)
    assert response.status_code == 503
    checks = {check["name"]: check for check in response.json()["checks"]}
    assert [name for name, check in checks.items() if not check["ok"]] == ["worker"]
    assert "huey_consumer crmgate.worker.huey" in checks["worker"]["detail"]
    own_stack.start_worker()
    wait_until("ready", lambda: requests.get(f"{own_stack.url}/readyz", timeout=DEADLINE).status_code == 200)
    own_stack.worker.stop()
    assert requests.get(f"{own_stack.url}/readyz", timeout=DEADLINE).status_code == 503


BROKEN = {
    "CRM_PROVIDER": "espocrm",
    "CRM_TIMEOUT": "soon",
    "CRM_RETRY_DELAYS": "1,x",
    "REDIS_URL": "http://canary-secret",
}


@pytest.mark.parametrize("start", [gunicorn, huey_worker])
def test_a_process_with_a_bad_configuration_says_everything_and_ends(tmp_path: Any, start: Any) -> None:
    process = start(tmp_path, BROKEN)
    process.start()
    wait_until("the process has ended", lambda: not process.running)
    assert process.popen.returncode != 0
    output = process.output()
    assert all(
        name in output for name in ("CRM_TIMEOUT", "CRM_RETRY_DELAYS", "REDIS_URL", "ESPOCRM_URL", "ESPOCRM_API_KEY")
    )
    assert "soon" in output
    assert "canary" not in output
    assert "crmgate/config/" not in output, "a traceback of ours"


def test_an_unknown_provider_lists_those_found(tmp_path: Any) -> None:
    process = huey_worker(tmp_path, {"CRM_PROVIDER": "salesforce"})
    process.start()
    wait_until("the process has ended", lambda: not process.running)
    assert "bitrix, espocrm, hubspot, mail, sandbox, webhook" in process.output()


def test_a_sample_line_survives_the_trip(stack: Stack) -> None:
    """Right-to-left text, an emoji and a formula arrive as they were typed."""
    text = 'شكراً 🎓\n=HYPERLINK("http://x") <b>&amp;'
    lead = lead_of(stack, stack.submit(person(400, additional_info=text)))
    assert text in lead["description"]
    assert json.dumps(text)

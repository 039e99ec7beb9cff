"""Names and values of fields that the settings change."""

from __future__ import annotations

from crmgate.model import Activity, Lead
from tests.cases import all_cases
from tests.provider.rig import (
    OPERATION,
    Probe,
    probe,
    problems,
    settings,
)

LEAD = Lead(first_name="Ada", city="Köln", source="website", referral_code="R1", custom={"visaType": "F-1"})


@all_cases(
    ("changes", "sent"),
    [
        ({}, {"firstName": "Ada", "source": "Web", "town": "Köln"}),
        ({"PROBE_MAP_CITY": ""}, {"firstName": "Ada", "source": "Web"}),
        ({"PROBE_MAP_CITY": " "}, {"firstName": "Ada", "source": "Web"}),
        ({"PROBE_MAP_CITY": " cityC\n"}, {"firstName": "Ada", "source": "Web", "cityC": "Köln"}),
        ({"PROBE_MAP_REFERRAL_CODE": "ref"}, {"firstName": "Ada", "source": "Web", "town": "Köln", "ref": "R1"}),
        ({"PROBE_MAP_CUSTOM_VISATYPE": "v"}, {"firstName": "Ada", "source": "Web", "town": "Köln", "v": "F-1"}),
        ({"PROBE_VALUES_SOURCE": "website=WWW, landing = L"}, {"firstName": "Ada", "source": "WWW", "town": "Köln"}),
        ({"PROBE_VALUES_SOURCE": "website=a=b,"}, {"firstName": "Ada", "source": "a=b", "town": "Köln"}),
        ({"PROBE_VALUES_SOURCE": "landing=L"}, {"firstName": "Ada", "town": "Köln"}),
        ({"PROBE_VALUES_SOURCE": ""}, {"firstName": "Ada", "source": "website", "town": "Köln"}),
        ({"PROBE_VALUES_CITY": "Köln=Cologne"}, {"firstName": "Ada", "source": "Web", "town": "Cologne"}),
        ({"OTHER_MAP_CITY": "x", "XPROBE_MAP_CITY": "y", "probe_map_city": "z"},
         {"firstName": "Ada", "source": "Web", "town": "Köln"}),
    ],
)  # fmt: skip
def test_names_and_values_can_be_changed_by_settings(changes: dict[str, str], sent: dict[str, str]) -> None:
    provider = Probe(settings(**changes))
    mapped = provider.map_lead(LEAD, OPERATION)
    assert mapped.fields == sent
    description = provider.describe(mapped, OPERATION, "hello")
    assert description.startswith("hello\n\n")
    for value in ("Ada", "Köln", "website", "R1", "F-1"):
        assert value in sent.values() or value in description


@all_cases(
    ("name", "value", "reason"),
    [
        ("PROBE_MAP_NAME", "x", "there is no fact 'name'"),
        ("PROBE_MAP_", "x", "there is no fact ''"),
        ("PROBE_MAP_CUSTOM_", "x", "there is no fact 'custom_'"),
        ("PROBE_VALUES_NAME", "a=b", "there is no fact 'name'"),
        ("PROBE_VALUES_SOURCE", "website", "'website' is no new pair"),
        ("PROBE_VALUES_SOURCE", "a=A,website", "'website' is no new pair"),
        ("PROBE_VALUES_SOURCE", "=Web", "'=Web' is no new pair"),
        ("PROBE_VALUES_SOURCE", "website=", "'website=' is no new pair"),
        ("PROBE_VALUES_SOURCE", "a=A,a=B", "'a=B' is no new pair"),
        ("PROBE_VALUES_SOURCE", "a=A, ,b=B", "' ' is no new pair"),
    ],
)
def test_a_mapping_that_means_nothing_is_a_problem(name: str, value: str, reason: str) -> None:
    [problem] = problems(**{name: value})
    assert problem.startswith(name)
    assert reason in problem
    assert " It takes " in problem


def test_the_mapping_of_one_provider_does_not_leak_into_the_next() -> None:
    probe(PROBE_MAP_CITY="x", PROBE_VALUES_SOURCE="a=b")
    assert probe().map_lead(LEAD, OPERATION).fields == {"firstName": "Ada", "source": "Web", "town": "Köln"}


def test_clicks_are_mapped_by_the_same_names() -> None:
    activity = Activity("telegram", "R1", metadata={"page": "/de"})
    provider = probe(PROBE_MAP_CHANNEL="chan", PROBE_MAP_CUSTOM_PAGE="pg", PROBE_MAP_OPERATION_ID="op")
    mapped = provider.map_activity(activity, OPERATION)
    assert mapped.fields == {"chan": "telegram", "pg": "/de", "op": OPERATION.id}
    assert mapped.rest == [("Referral code", "R1")]

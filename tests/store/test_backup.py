"""Each key is in a backup, made from its operations, or left out for a reason."""

from __future__ import annotations

import pytest

from crmgate.store import backup, keys

DECISIONS = (backup.COPIED, backup.REBUILT, backup.LEFT_OUT)


@pytest.mark.parametrize("row", keys.TABLE, ids=lambda row: row.name)
def test_a_backup_decides_about_each_key(row: keys.Key) -> None:
    decided = [row.name in decision for decision in DECISIONS].count(True)
    assert decided == 1, f"crmgate/store/backup.py: name {row.name!r} in one of COPIED, REBUILT and LEFT_OUT"


def test_no_decision_is_about_a_key_that_is_gone() -> None:
    assert set().union(*DECISIONS) == {row.name for row in keys.TABLE}


@pytest.mark.parametrize(
    ("name", "row"),
    [
        (keys.TOKENS, "tokens"),
        (keys.TOKENS_USED, "tokens:used"),
        (keys.CURRENT_JOB, "job"),
        (keys.job("7"), "job:<job>"),
        (keys.day(9, "source"), "day:<number>:<dimension>"),
        (keys.PERSON_KEY, "person_key"),
        (keys.person("p1"), "person:<digest>"),
        (keys.op("1"), "op:<operation>"),
    ],
)
def test_a_name_leads_to_its_row(name: str, row: str) -> None:
    found = backup.row_of(name)
    assert found is not None
    assert found.name == row


@pytest.mark.parametrize("name", ["a_key_of_a_newer_version", "a_family_of_a_newer_version:1", "op", ""])
def test_an_unknown_name_has_none(name: str) -> None:
    assert backup.row_of(keys.PREFIX + name) is None

"""The fake Bitrix24: comments on the timelines of leads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from crmgate.testing.bitrix24 import FakeBitrix24
from tests.testing.bitrix24.rig import Call, error


class TestTimeline:
    @pytest.fixture
    def comment(self, call: Call, add: Any) -> Callable[..., requests.Response]:
        add()

        def post(**fields: Any) -> requests.Response:
            known = {"ENTITY_ID": 1, "ENTITY_TYPE": "lead", "COMMENT": "Clicked WhatsApp"}
            return call("crm.timeline.comment.add", fields=known | fields)

        return post

    def test_a_comment_can_be_found_again(self, crm: FakeBitrix24, call: Call, comment: Any) -> None:
        ids = [comment(COMMENT=f"op-{i}").json()["result"] for i in range(3)]
        params = {"filter": {"ENTITY_ID": 1, "ENTITY_TYPE": "lead"}, "order": {"ID": "DESC"}}
        body = call("crm.timeline.comment.list", **params, select=["ID", "COMMENT"]).json()
        assert body["result"] == [{"ID": str(ids[i]), "COMMENT": f"op-{i}"} for i in (2, 1, 0)]
        assert body["total"] == 3
        row = call("crm.timeline.comment.get", id=ids[0]).json()["result"]
        assert (row["ENTITY_TYPE"], row["ENTITY_ID"], row["COMMENT"]) == ("lead", "1", "op-0")
        assert [stored["COMMENT"] for stored in crm.records()["comment"]] == ["op-0", "op-1", "op-2"]

    @pytest.mark.parametrize(
        ("fields", "code"),
        [
            ({"ENTITY_ID": 0}, "OWNER_NOT_FOUND"),
            ({"ENTITY_ID": "x"}, "OWNER_NOT_FOUND"),
            ({"ENTITY_TYPE": "nonsense"}, "OWNER_NOT_FOUND"),
            ({"COMMENT": ""}, "INVALID_ARG_VALUE"),
            ({"COMMENT": " \n"}, "INVALID_ARG_VALUE"),
            ({"COMMENT": None}, "INVALID_ARG_VALUE"),
        ],
    )
    def test_bad_comments(self, crm: FakeBitrix24, comment: Any, fields: dict[str, Any], code: str) -> None:
        assert error(comment(**fields)) == (400, code)
        assert not crm.comments

    def test_missing_fields(self, call: Call) -> None:
        assert error(call("crm.timeline.comment.add")) == (400, "100")
        assert error(call("crm.timeline.comment.add", fields={"ENTITY_ID": 1})) == (400, "100")
        assert error(call("crm.timeline.comment.list", filter={"ENTITY_ID": 1})) == (400, "100")
        assert error(call("crm.timeline.comment.get", id=99)) == (400, "NOT_FOUND")

    @pytest.mark.parametrize("admin", [True, False])
    def test_a_deleted_lead(self, crm: FakeBitrix24, comment: Any, admin: bool) -> None:
        """The portal checks only the rights, which an administrator always has."""
        crm.admin = admin
        response = comment(ENTITY_ID=99)
        assert response.ok is admin
        assert admin or error(response) == (400, "ACCESS_DENIED")

    def test_access_denied(self, crm: FakeBitrix24, comment: Any) -> None:
        crm.access_denied = True
        assert error(comment()) == (400, "ACCESS_DENIED")

    def test_another_owner_has_none(self, call: Call, comment: Any) -> None:
        comment()
        for owner in ({"ENTITY_ID": 2, "ENTITY_TYPE": "lead"}, {"ENTITY_ID": 1, "ENTITY_TYPE": "deal"}):
            assert call("crm.timeline.comment.list", filter=owner).json()["result"] == []

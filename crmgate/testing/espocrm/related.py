"""Lists that belong to a record (its stream, its activities, its links), and the lead capture forms."""

from __future__ import annotations

from crmgate.testing.espocrm.access import Caller
from crmgate.testing.espocrm.answers import HTML, EspoError, success
from crmgate.testing.espocrm.fields import fold
from crmgate.testing.espocrm.metadata import EntityType, Record, words
from crmgate.testing.espocrm.records import RecordService, body_of
from crmgate.testing.espocrm.search import parse_search
from crmgate.testing.server import Request, Response

_LINKS = {"calls": "Call", "meetings": "Meeting", "tasks": "Task"}
_EVENT = (
    *words("id name deleted status dateStart dateEnd duration createdAt parentId parentType"),
    *("assignedUserId", "assignedUserName"),
)
_PANEL = {
    "Call": (*_EVENT, "direction"),
    "Meeting": (*_EVENT, "isAllDay", "joinUrl", "dateStartDate", "dateEndDate", "isFollowed"),
}
_STREAM_ONLY_IN_LISTS = {"parentName", "relatedName"}


class Related:
    """Lists that belong to one record, and lead capture."""

    def __init__(self, records: RecordService) -> None:
        self.records = records
        self.database = records.database

    def link(self, kind: EntityType, caller: Caller, id_: str, link: str, request: Request) -> Response:
        """`GET /Lead/{id}/{link}`."""
        record = self.database.table(kind.name).get(id_)
        if record is None:
            raise EspoError(404, f"Record {id_} does not exist.")
        if link in ("stream", "posts"):
            return self._stream(caller, id_, only_posts=link == "posts")
        if link == "followers":
            return self._followers(caller, record)
        if link not in _LINKS:
            raise EspoError(404)
        other = self.database.types[_LINKS[link]]
        # Calls and meetings are linked by taking part, tasks by their parent.
        found = [one for one in self.database.table(other.name) if id_ in one.get("leadsIds", [one.get("parentId")])]
        return self.records.page(other, caller, parse_search(request.query), found)

    def activities(self, caller: Caller, id_: str, panel: str) -> Response:
        """The planned calls and meetings of a record, or with `history` those that are over."""
        if not caller.sees_activities():
            raise EspoError(403, "", content_type=HTML)
        rows = [
            {**self._panel_row(self.database.types[name], record, caller), "_scope": name}
            for name in _PANEL
            for record in self.database.table(name).find("parentId", fold(id_))
            if (record["status"] == "Planned") == (panel == "activities")
        ]
        rows.sort(key=lambda row: (row["dateStart"], row["id"]), reverse=True)
        return success({"total": len(rows), "list": rows})

    def capture(self, key: str, request: Request) -> Response:
        """`POST /LeadCapture/{key}`: create a lead without a login. Duplicates are never reported."""
        anywhere = {"Access-Control-Allow-Origin": "*"}
        form = next(iter(self.database.table("LeadCapture").find("apiKey", fold(key))), None)
        if form is None:
            raise EspoError(404, "Form ID is not valid.", headers=anywhere)
        if request.method == "OPTIONS":
            asked = {"Access-Control-Allow-Headers": "Content-Type, Accept", "Access-Control-Allow-Methods": "POST"}
            return success(True, {**anywhere, **asked})
        try:
            self._capture(form, request)
        except EspoError as refusal:
            headers = {**refusal.response.headers, **anywhere}
            response = refusal.response
            return Response(response.status, response.body, headers, response.content_type)
        return success(True, anywhere)

    def _capture(self, form: Record, request: Request) -> None:
        kind = self.database.types["Lead"]
        listed = form.get("fieldList") or []
        taken = {*listed, *(("firstName", "lastName") if "name" in listed else ())}
        sent = {name: value for name, value in body_of(request).items() if name in taken and name != "name"}
        if not sent:
            raise EspoError(400, "empty")
        system = Caller({"id": "system", "type": "system"})
        if form["duplicateCheck"] and self.records.duplicates(kind, system, sent):
            return
        values = {**sent, **({"source": form["leadSource"]} if form.get("leadSource") else {})}
        self.records.store(self.records.draft(kind, system, values, skip_duplicate_check=True))

    def _stream(self, caller: Caller, id_: str, *, only_posts: bool) -> Response:
        kind = self.database.types["Note"]
        notes = [
            note
            for note in reversed(self.database.table("Note").find("parentId", fold(id_)))
            if not only_posts or note["type"] == "Post"
        ]
        rows = [self._note_row(kind, note, caller) for note in notes]
        return success({"total": len(rows), "list": rows} | ({} if only_posts else {"pinnedList": []}))

    def _note_row(self, kind: EntityType, note: Record, caller: Caller) -> Record:
        row = self.records.views.row(kind, note, caller)
        shown = {name: value for name, value in row.items() if name not in _STREAM_ONLY_IN_LISTS}
        shown |= {"reactionCounts": None, "myReactions": []}
        if note["type"] == "Post":
            shown |= {"attachmentsIds": [], "attachmentsNames": {}, "attachmentsTypes": {}}
        return shown | ({"relatedName": note["relatedName"]} if note.get("relatedId") else {})

    def _followers(self, caller: Caller, record: Record) -> Response:
        kind, users = self.database.types["User"], self.database.table("User")
        found = [user for id_ in record.get("followersIds", ()) if (user := users.get(id_))]
        rows = [self.records.views.row(kind, user, caller) for user in found]
        return success({"total": len(rows), "list": rows})

    def _panel_row(self, kind: EntityType, record: Record, caller: Caller) -> Record:
        shown = {name: self.records.views.value(kind, record, name, caller) for name in _PANEL[kind.name]}
        return shown | ({"isFollowed": False} if "isFollowed" in shown else {})

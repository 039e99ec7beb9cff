"""The entity types of a stock EspoCRM 9.2.7 that a gateway uses."""

from __future__ import annotations

import copy
import pickle
from functools import cache

from crmgate.testing.espocrm.activities import call, meeting, note, task
from crmgate.testing.espocrm.metadata import EntityType, FieldDef, words
from crmgate.testing.espocrm.parts import ASSIGNMENT, READ_ONLY, TEAMS, varchar
from crmgate.testing.espocrm.people import contact, lead
from crmgate.testing.espocrm.system import lead_capture, role, user


def base_plus(name: str, *, stream: bool = True) -> EntityType:
    """An entity type as the entity manager makes it."""
    fields: dict[str, FieldDef] = {
        "name": varchar(100) | {"required": True},
        "description": {"type": "text"},
        **ASSIGNMENT,
        **READ_ONLY,
    }
    return EntityType(
        name,
        fields,
        created={"modifiedByName": None, "assignedUserName": None, **TEAMS},
        columns=(
            *words("id name deleted description createdAt modifiedAt createdById createdByName"),
            *words("modifiedById modifiedByName assignedUserId assignedUserName"),
        ),
        single=("teamsIds", "teamsNames"),
        stream=stream,
    )


def stock_entity_types() -> dict[str, EntityType]:
    """Fresh definitions, as after an installation; the caller may change them."""
    types: dict[str, EntityType] = pickle.loads(_stock())  # noqa: S301 - faster than a deep copy
    return types


@cache
def _stock() -> bytes:
    made = [
        *(lead(), contact(), call(), meeting(), task(), note(), user(), role(), lead_capture()),
        *(base_plus(name) for name in ("Account", "Campaign", "Opportunity", "Case", "Team")),
    ]
    return pickle.dumps({entity.name: copy.deepcopy(entity) for entity in made})  # copies share no field

"""EspoCRM 9.2, REST API v1 (https://docs.espocrm.com/development/api/).

EspoCRM keeps no idempotency key of its own: a lead carries the operation id in a field, and whoever is not sure whether
a lead arrived looks that id up. A unique index on the field closes the gap between the look and the next create. What
is added to a lead that exists (a call, a note, a part of its description) carries the tracking code and is found by it.

Each class adds to the one before: `api` sends requests (`answers` says what an answer means), `fields` compares the
mapping, `setup` makes what is missing, `checks` tests the connection, `earlier` finds what is there, `provider` has
the other hooks.
"""

from __future__ import annotations

from .provider import EspoCRM

__all__ = ["EspoCRM"]

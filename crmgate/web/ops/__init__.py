"""`/ops`: the pages on which an operator sees what happens, understands it and repairs it.

Server-rendered, without a build step; reading needs no JavaScript. `shell` has the frame and the rules that every page
obeys. A page is a module with its routes, a template of the same name, and an entry in `shell.NAVIGATION`.
"""

from __future__ import annotations

from crmgate.web.ops import (
    audit,
    crm,
    discards,
    editing,
    edits,
    failures,
    gate,
    login,
    now,
    numbers,
    one,
    operations,
    persons,
    retries,
    suspects,
    tokens,
)
from crmgate.web.ops.shell import blueprint

__all__ = ["blueprint"]

PAGES = (
    failures, login, now, gate, operations, one, editing, retries, edits, discards, suspects, crm, numbers, persons,
    audit, tokens,
)  # fmt: skip
"""Modules with routes; importing one registers its routes on the blueprint."""

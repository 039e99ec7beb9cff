"""`/ops/crm`: the gate and the plugins; test, fields and set-up of the CRM; pause and resume with a reason.

The first page sends the CRM no request, so that it works while the CRM does not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Response, request

from crmgate.model import Provision, Step
from crmgate.operators.crm_setup import CrmSetup
from crmgate.operators.inventory import Filter
from crmgate.operators.plugin_list import listed
from crmgate.store.gate import explain
from crmgate.web.changes import REASON
from crmgate.web.crm import asking
from crmgate.web.ops import filters
from crmgate.web.ops.shell import actor, blueprint, page, require_operate
from crmgate.web.problems import Problem
from crmgate.web.services import services

CAUSE = ("provider", "code", "field")
"""Parts of the filter that name a cause of dead letters."""


@dataclass(frozen=True, slots=True)
class SetupStep:
    """A step of the set-up. `wanted`: it is about a field that the operator looks for."""

    what: str
    done: bool
    wanted: bool


@blueprint.get("/crm")
def crm() -> Response:
    """The gate with its cause and remedy, what waits, and the plugins."""
    parts = services()
    gate, oldest = parts.desk.waiting.gate(), parts.figures.oldest_waiting()
    return page(
        "ops/crm.html",
        gate=gate, stopped=explain(gate), waited=parts.ledger.now() - oldest if oldest else 0.0,
        waiting=parts.ledger.stats()["waiting"], plugins=listed(parts.plugins, parts.settings.provider),
        reason_length=REASON, label=parts.crm.label,
    )  # fmt: skip


@blueprint.get("/crm/test")
def crm_test() -> Response:
    """The result of the connection test with each check; it may be some seconds old."""
    at, connection = services().connection.result()
    return page("ops/crm_test.html", at=at, connection=connection, label=services().crm.label)


@blueprint.get("/crm/fields")
def crm_fields() -> Response:
    """Each mapped fact with its field in the CRM, those with a problem first."""
    found, fault = None, ""
    try:
        with asking():
            found = services().crm_setup.fields()
    except Problem as problem:
        fault = problem.detail
    lines = sorted(found.fields, key=lambda line: not line.problem) if found else []
    wanted = _names(request.args.get("field", ""))
    return page(
        "ops/crm_fields.html", lines=lines, states=found.states if found else {}, fault=fault, wanted=wanted,
        label=services().crm.label,
    )  # fmt: skip


@blueprint.get("/crm/setup")
def crm_setup() -> Response:
    """What the set-up would create in the CRM. Steps about the field of a cause are marked."""
    try:
        with asking():
            return _plan(services().crm_setup.plan())
    except Problem as problem:
        return _plan(Provision(), problem.detail)


@blueprint.post("/crm/setup")
def crm_setup_apply() -> Response:
    """Carry out the steps that the operator saw. New settings contain secrets and are shown only now."""
    require_operate()
    setup = services().crm_setup
    try:
        with asking():
            plan = setup.plan()
            if [step.what for step in plan.steps if not step.done] != request.form.getlist("step"):
                return _plan(plan, "The CRM has changed meanwhile, so nothing was done. This is the plan now.")
            return _applied(setup, plan)
    except Problem as problem:
        fault = f"{problem.detail} Finished steps are kept: carry out the set-up again to do the rest."
        return _plan(Provision(), fault, problem.code.status)


def _applied(setup: CrmSetup, plan: Provision) -> Response:
    after = setup.apply(actor())
    before = {step.what for step in plan.steps if step.done}
    left = [step for step in after.steps if not step.done]
    done = [step for step in after.steps if step.done and step.what not in before]
    return page("ops/crm_done.html", done=done, left=left, settings=setup.new_settings(after), **_cause(request.form))


def _plan(plan: Provision, fault: str = "", status: int = 200) -> Response:
    cause = _cause(request.values)
    names = _names(cause["fields"].get("field", ""))
    steps = [_step(step, names) for step in plan.steps]
    pending = [step for step in steps if not step.done]
    return page("ops/crm_setup.html", status, steps=steps, pending=pending, fault=fault, names=sorted(names), **cause)


def _cause(query: Mapping[str, str]) -> Mapping[str, Any]:
    """The dead letters of the cause that led here: the fields of their filter and their number; None without one."""
    chosen = {name: query[name] for name in CAUSE if query.get(name)}
    wanted = filters.asked(chosen).filter
    count = services().desk.retries.preview(wanted)[0] if wanted != Filter() else None
    return {"fields": filters.fields(wanted), "count": count, "label": services().crm.label}


def _step(step: Step, names: frozenset[str]) -> SetupStep:
    return SetupStep(step.what, step.done, bool(names & _names(step.what)))


def _names(text: str) -> frozenset[str]:
    """The words in a text that can be the name of a field."""
    return frozenset(re.findall(r"\w+", text))

"""Listeners are called for operations, and the hooks are documented."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from crmgate import hookspecs
from crmgate.errors import (
    PluginError,
)
from crmgate.model import Activity, Delivered, Kind, Operation, State
from crmgate.plugin_host.admission import REQUIRED_HOOKS
from crmgate.plugin_host.caller import HOOKS
from crmgate.plugin_host.loader import MODULE_PREFIX, discover
from tests.listeners import notify_at_the_end
from tests.plugin_host.rig import (
    CANARY,
    LEAD,
    LISTENER,
    PERSON,
    PROVIDER,
    choose,
    variant,
    write,
)

RAISING = variant(("heard.append(operation.id)", "raise ValueError(operation.lead.email)"), source=LISTENER)


def test_a_listener_that_raises_disturbs_no_other(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    plugins = discover(write(folder, a=LISTENER, b=RAISING, c=LISTENER))
    notify_at_the_end(plugins, "operation_dead", operation=LEAD)
    assert [sys.modules[MODULE_PREFIX + name].heard for name in "ac"] == [[LEAD.id], [LEAD.id]]
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == f"listener operation_dead of {folder / 'b.py'} failed: ValueError in b.py:8"
    assert record.exc_info is None
    assert CANARY not in caplog.text


def test_listener_hooks_of_the_active_provider_are_called_too(folder: Path) -> None:
    text = (
        PROVIDER + "\n    @hookimpl\n    def operation_delivered(self, operation, delivered): self.last = delivered\n"
    )
    plugins = discover(write(folder, acme=text))
    crm = choose(plugins)
    notify_at_the_end(plugins, "operation_delivered", operation=LEAD, delivered=Delivered("acme", "1"))
    assert crm._provider.last == Delivered("acme", "1")  # type: ignore[attr-defined]


def test_listeners_take_the_arguments_they_want(folder: Path) -> None:
    text = """
        from crmgate import hookimpl
        import builtins

        @hookimpl{options}
        def operation_delivered({arguments}):
            sink.append("{name}")
    """
    files = {
        name: text.format(name=name, arguments=arguments, options=options)
        for name, arguments, options in (
            ("a", "delivered", ""), ("b", "", ""), ("d", "operation", ""),
            ("c", "operation, delivered", "(tryfirst=True)"),
        )
    }  # fmt: skip
    plugins = discover(write(folder, **files))
    sink: list[str] = []
    for name in files:
        vars(sys.modules[MODULE_PREFIX + name])["sink"] = sink
    notify_at_the_end(plugins, "operation_delivered", operation=LEAD, delivered=Delivered("acme", "1"))
    assert sorted(sink) == ["a", "b", "c", "d"]  # each on a thread of its own


def test_a_dead_letter_is_passed_unchanged(folder: Path) -> None:
    plugins = discover(write(folder, a=LISTENER))
    dead = Operation(LEAD.id, Kind.CREATE_LEAD, {}, 0.0, State.DEAD)
    notify_at_the_end(plugins, "operation_dead", operation=dead)
    assert sys.modules[MODULE_PREFIX + "a"].heard == [LEAD.id]


def test_every_hook_is_documented_and_the_required_ones_exist() -> None:
    assert set(REQUIRED_HOOKS) <= set(HOOKS)
    for name in HOOKS:
        assert getattr(hookspecs, name).__doc__


def test_calling_a_specification_by_itself_is_a_mistake() -> None:
    lead: Any = PERSON
    for call in (
        lambda: hookspecs.create_lead(lead, LEAD),
        lambda: hookspecs.create_minimal_lead(Activity(), LEAD),
        lambda: hookspecs.find_lead(LEAD),
        hookspecs.test_connection,
    ):
        with pytest.raises(NotImplementedError):
            call()


def test_a_plugin_error_has_its_parts() -> None:
    error = PluginError("a.py", "It is broken.", "Mend it.")
    assert (error.file, error.reason, error.remedy) == ("a.py", "It is broken.", "Mend it.")

"""Which checks apply to a plugin: decided when the class of its contract is defined, from what the plugin declares.

A check that does not apply is no test of that plugin: pytest does not collect it, and `crmgate plugins check` reports
the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from crmgate.errors import PluginError
from crmgate.plugin_host.admission import delivery_fault, marked_hooks
from crmgate.policy import DeliveryMode
from crmgate.provider import CRMProvider

if TYPE_CHECKING:
    from crmgate.testing.contract.base import Contract

Check = Callable[..., None]
Marked = TypeVar("Marked", bound=Check)
CONDITIONS = "conditions"
"""Attribute of a check with its conditions."""


@dataclass(frozen=True)
class Subject:
    """A plugin and its contract."""

    contract: type[Contract]
    provider: type[CRMProvider]
    hooks: frozenset[str]
    """Names of the hooks that the plugin implements."""

    @property
    def capabilities(self) -> Set[str]:
        """The claimed capabilities; empty for a wrong value, which `test_the_gateway_accepts_it` reports."""
        claimed: object = self.provider.capabilities
        return claimed if isinstance(claimed, Set) else frozenset()


Condition = Callable[[Subject], str]
"""Says why a check does not apply to a plugin. An empty text: it applies."""


@dataclass(frozen=True)
class NotApplicable:
    """Stands in the class of a contract for a check that does not apply. It cannot be called, so it is no test."""

    reason: str


def applies_if(condition: Condition) -> Callable[[Marked], Marked]:
    """The decorated check applies if `condition` returns an empty text. Several conditions must all be met."""

    def mark(check: Marked) -> Marked:
        setattr(check, CONDITIONS, (condition, *getattr(check, CONDITIONS, ())))
        return check

    return mark


def needs_hook(hook: str) -> Callable[[Marked], Marked]:
    """The decorated check applies to a plugin with this optional hook."""
    return applies_if(lambda plugin: "" if hook in plugin.hooks else f"the plugin has no {hook}")


def needs_capability(name: str) -> Callable[[Marked], Marked]:
    """The decorated check applies to a plugin that claims this capability."""
    reason = f"the plugin does not have the capability {name}"
    return applies_if(lambda plugin: "" if name in plugin.capabilities else reason)


def needs_mode(*modes: DeliveryMode) -> Callable[[Marked], Marked]:
    """The decorated check applies to a plugin with one of these values of `delivery`."""

    def condition(plugin: Subject) -> str:
        mode = mode_of(plugin.provider)
        return "" if mode in modes else f"delivery is {mode}"

    return applies_if(condition)


def mode_of(provider: CRMProvider | type[CRMProvider]) -> DeliveryMode:
    """What crmgate does after an unknown outcome. `test_delivery_is_a_mode` reports a wrong value."""
    wrong = delivery_fault(provider.delivery)
    return DeliveryMode.EXACTLY_ONCE if wrong else DeliveryMode(provider.delivery)


def leave_out(contract: type[Contract]) -> None:
    """Replace each check that does not apply to the plugin of a contract.

    All checks of a plugin that cannot be loaded remain, and report why.
    """
    plugin = _subject(contract)
    for name, check in _checks(contract):
        reason = _reason(check, plugin) if plugin else ""
        wanted = NotApplicable(reason) if reason else check
        if getattr(contract, name) != wanted:
            setattr(contract, name, wanted)


def left_out(contract: type[Contract]) -> dict[str, str]:
    """The checks that do not apply to the plugin of a contract, each with the reason."""
    found = {name: getattr(contract, name) for name in dir(contract)}
    return {name: one.reason for name, one in found.items() if isinstance(one, NotApplicable)}


def _checks(contract: type[Contract]) -> Iterator[tuple[str, Check]]:
    """All checks, also those that a base class left out for its own plugin."""
    for name in dir(contract):
        if name.startswith("test"):
            found = (vars(kind)[name] for kind in contract.__mro__ if name in vars(kind))
            check = next(one for one in found if not isinstance(one, NotApplicable))
            if callable(check):
                yield name, check


def _reason(check: Check, plugin: Subject) -> str:
    """The first reason against a check; empty if it applies."""
    reasons = (condition(plugin) for condition in getattr(check, CONDITIONS, ()))
    return next(filter(None, reasons), "")


def _subject(contract: type[Contract]) -> Subject | None:
    """The plugin of a contract; None if its class names no plugin, or if the plugin cannot be loaded."""
    try:
        provider = contract.provider_class()
    except (AssertionError, OSError, PluginError):
        return None
    return Subject(contract, provider, frozenset(marked_hooks(provider)))

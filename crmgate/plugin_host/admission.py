"""Checks whether the gateway can use a provider or a listener. A problem is found when the plugin is loaded."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Mapping
from typing import Any

import pluggy

from crmgate import hookspecs
from crmgate.errors import PluginError
from crmgate.listener import Listener
from crmgate.model import Kind, Rate
from crmgate.plugin_host.caller import HOOKS, hook_manager
from crmgate.plugin_kit.mapping import mappable
from crmgate.plugin_kit.values import CUSTOM_PREFIX
from crmgate.policy import DeliveryMode
from crmgate.provider import CRMProvider

REQUIRED_HOOKS = ("create_lead", "create_minimal_lead", "find_lead", "test_connection")
SEARCHES = ("find_lead", "find_leads", "find_many")
"""Hooks of a destination that can be searched. With another `delivery` than `exactly_once` they are never called."""
WRITE_DELIVERY = f"Write {', '.join(map(repr, map(str, DeliveryMode)))}: see docs/plugins/README.md."
WRITE_RATE = "Write Rate(per_second=2, burst=50, reserve=10), with numbers above 0 and reserve at most burst, or None."
WRITE_CAPABILITIES = 'Write a set of names, such as frozenset({"update_lead"}), with a comma after each.'
WRITE_SETTLE = "Write a number of seconds, at least 0."
WRITE_AT_ONCE = "Write a number of leads, such as 50, or a property that returns one."
WRITE_SIZE = "Write a number of bytes, at least 1, such as 5 * 1024 * 1024."
PROVIDER_HOOKS = {
    *Kind, *REQUIRED_HOOKS, "create_leads", "describe_fields", "find_leads", "find_many", "preview", "provision",
}  # fmt: skip
FEATURES = frozenset({"detects_duplicates", "moves_refused_fields", "unique_key"})
"""Capabilities that are no hooks: a known person gets no second lead, a refused value moves into the description, and
the CRM itself refuses a second record of an operation."""


def marked_hooks(plugin: object) -> dict[str, Mapping[str, Any]]:
    """The options of every hook that a class or module implements, with its `attribute`, by the hook's name."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    options = ((name, manager.parse_hookimpl_opts(plugin, name)) for name in dir(plugin))
    return {marked["specname"] or name: {**marked, "attribute": name} for name, marked in options if marked is not None}


def _unfinished(function: object) -> str:
    """Kind of a function whose body does not run when it is called, such as an async one; empty for a plain one."""
    if inspect.iscoroutinefunction(function):
        return "an async function"
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return "a generator"
    return ""


def rate_fault(rate: object) -> str:
    """Description of a wrong `rate` of a provider; empty if it is right."""
    if rate is None:
        return ""
    if not isinstance(rate, Rate):
        return f"of type {type(rate).__name__}"
    numbers = [rate.per_second, rate.burst, rate.reserve]
    if not all(isinstance(number, int | float) for number in numbers) or min(numbers) <= 0:
        return repr(rate)
    return repr(rate) if rate.reserve > rate.burst else ""


def settle_fault(seconds: object) -> str:
    """Description of wrong `settle_seconds` of a provider; empty if they are right."""
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        return f"of type {type(seconds).__name__}"
    return "" if 0 <= seconds < math.inf else repr(seconds)


def size_fault(size: object) -> str:
    """Description of a wrong `MAX_BODY` of a provider; empty if it is right."""
    if not isinstance(size, int) or isinstance(size, bool):
        return f"of type {type(size).__name__}"
    return "" if size >= 1 else repr(size)


def at_once_fault(number: object) -> str:
    """Description of wrong `leads_at_once` of a provider; empty if it is right."""
    return "" if isinstance(number, int) and not isinstance(number, bool) else f"of type {type(number).__name__}"


def delivery_fault(delivery: object) -> str:
    """Description of a wrong `delivery` of a provider; empty if it is right."""
    if not isinstance(delivery, str):
        return f"of type {type(delivery).__name__}"
    return "" if delivery in [*DeliveryMode] else repr(delivery)


def required_hooks(provider: type[CRMProvider]) -> list[str]:
    """The hooks that a provider with its `delivery` must have. With `create_leads` it needs `find_leads`, too."""
    searched = provider.delivery == DeliveryMode.EXACTLY_ONCE
    batches = ("find_leads",) if "create_leads" in marked_hooks(provider) else ()
    return [hook for hook in (*REQUIRED_HOOKS, *batches) if searched or hook not in SEARCHES]


def check_hooks(source: str, plugin: object) -> None:
    """Refuse wrappers, wrong arguments, and hooks that do not exist: pluggy would silently ignore them."""
    for name, options in marked_hooks(plugin).items():
        if name not in HOOKS:
            near = difflib.get_close_matches(name, HOOKS, n=1)
            remedy = f"Did you mean {near[0]}?" if near else f"Hooks that exist: {', '.join(HOOKS)}."
            raise PluginError(source, f"there is no hook {name!r}.", remedy)
        if options["wrapper"] or options["hookwrapper"]:
            raise PluginError(source, f"{name} is a wrapper, which is never called.", "Mark it with plain @hookimpl.")
        if form := _unfinished(getattr(plugin, options["attribute"])):
            raise PluginError(source, f"{name} is {form}, whose body would never run.", "Write a plain function.")
    try:
        hook_manager().register(plugin)
    except pluggy.PluginValidationError as error:
        reason = " ".join(str(error).splitlines()[1:])
        raise PluginError(source, f"{reason}.", "Name the arguments as crmgate.hookspecs does.") from None


def check_provider(source: str, provider: type[CRMProvider], taken: Mapping[str, str]) -> None:
    """Refuse a provider that the gateway cannot use. `taken` has the files of the providers by name.

    Raises `PluginError`, which says what to write.
    """
    where, name = provider.__name__, provider.name
    if not name.isascii() or not name.isidentifier() or name != name.lower():
        remedy = "Give it a name of lower-case letters, digits and underscores."
        raise PluginError(source, f"{where}.name is {name!r}.", remedy)
    if name in taken:
        reason = f"the provider {name!r} is already defined by {taken[name]}."
        raise PluginError(source, reason, "Rename or remove one of them.")
    check_hooks(source, provider)
    if fault := delivery_fault(provider.delivery):
        raise PluginError(source, f"{where}.delivery is {fault}.", WRITE_DELIVERY)
    marked = marked_hooks(provider)
    if missing := [hook for hook in required_hooks(provider) if hook not in marked]:
        raise PluginError(source, f"{where} lacks {', '.join(missing)}.", "Implement them, marked @hookimpl.")
    _check_searches(source, provider, marked)
    _check_capabilities(source, provider, marked)
    computed = hasattr(provider.rate, "__get__")  # a property is looked at when the provider starts
    if not computed and (fault := rate_fault(provider.rate)):
        raise PluginError(source, f"{where}.rate is {fault}.", WRITE_RATE)
    if fault := settle_fault(provider.settle_seconds):
        raise PluginError(source, f"{where}.settle_seconds is {fault}.", WRITE_SETTLE)
    computed = hasattr(provider.leads_at_once, "__get__")
    if not computed and (fault := at_once_fault(provider.leads_at_once)):
        raise PluginError(source, f"{where}.leads_at_once is {fault}.", WRITE_AT_ONCE)
    if fault := size_fault(provider.MAX_BODY):
        raise PluginError(source, f"{where}.MAX_BODY is {fault}.", WRITE_SIZE)
    _check_mapping(source, provider)


def _check_searches(source: str, provider: type[CRMProvider], marked: Mapping[str, object]) -> None:
    """Refuse a hook that searches a destination which crmgate never searches. `marked` has the hooks by name."""
    stray = [hook for hook in SEARCHES if hook in marked]
    if stray and provider.delivery != DeliveryMode.EXACTLY_ONCE:
        reason = (
            f"{provider.__name__} has {stray[0]}, which is never called with delivery = {str(provider.delivery)!r}."
        )
        raise PluginError(source, reason, "Remove the hook, or write delivery = 'exactly_once'.")


def _check_capabilities(source: str, provider: type[CRMProvider], marked: Mapping[str, object]) -> None:
    """Refuse a capability that does not exist, and a hook that is claimed but not in `marked`."""
    where, claimed = provider.__name__, provider.capabilities
    if not isinstance(claimed, frozenset | set) or not all(isinstance(one, str) for one in claimed):
        raise PluginError(source, f"{where}.capabilities is of type {type(claimed).__name__}.", WRITE_CAPABILITIES)
    known = sorted({*map(str, PROVIDER_HOOKS), *FEATURES})
    if unknown := sorted(claimed - {*known}):
        near = difflib.get_close_matches(unknown[0], known, n=1)
        remedy = f"Did you mean {near[0]!r}?" if near else f"Capabilities that exist: {', '.join(known)}."
        raise PluginError(source, f"{where}.capabilities has {unknown[0]!r}, which does not exist.", remedy)
    if lacking := sorted((claimed & {*map(str, PROVIDER_HOOKS)}) - marked.keys()):
        remedy = "Implement it, marked @hookimpl, or remove it from `capabilities`."
        raise PluginError(source, f"{where}.capabilities has {lacking[0]!r}, but there is no such hook.", remedy)


def _check_mapping(source: str, provider: type[CRMProvider]) -> None:
    """Refuse facts that no lead has."""
    where = provider.__name__
    facts = {*provider.lead_fields, *provider.lead_values} - set(mappable())
    if unknown := sorted(fact for fact in facts if not fact.startswith(CUSTOM_PREFIX)):
        reason = f"{where} maps {', '.join(map(repr, unknown))}, which is no fact of a lead."
        raise PluginError(source, reason, f"Facts that exist: {', '.join(mappable())}.")


def check_listener(source: str, listener: type[Listener]) -> None:
    """Refuse a listener without a hook, or with a hook of a provider. Raises `PluginError`."""
    check_hooks(source, listener)
    hooks, where = marked_hooks(listener).keys(), listener.__name__
    if stray := PROVIDER_HOOKS & hooks:
        reason = f"{min(stray)} of {where} is never called: {where} is a listener."
        raise PluginError(source, reason, "Make it a method of a subclass of CRMProvider.")
    if not hooks:
        raise PluginError(source, f"{where} implements no hook.", "Mark its hooks @hookimpl.")

"""Checks of the plugin's name, hooks and settings."""

from __future__ import annotations

import re

from crmgate.errors import ConfigError, PluginError
from crmgate.plugin_host.admission import (
    PROVIDER_HOOKS,
    REQUIRED_HOOKS,
    WRITE_DELIVERY,
    WRITE_RATE,
    WRITE_SETTLE,
    check_provider,
    delivery_fault,
    marked_hooks,
    rate_fault,
    required_hooks,
    settle_fault,
)
from crmgate.plugin_host.caller import HOOKS
from crmgate.plugin_kit.settings import secret_names
from crmgate.testing.contract.base import Contract, expect, fail

OPTIONAL_HOOKS = frozenset(map(str, PROVIDER_HOOKS)) - {*REQUIRED_HOOKS}
ONE_MODE = "Set it in the class: the class decides which checks apply."
SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|WEBHOOK|CREDENTIAL")


class IdentityChecks(Contract):
    """Name, label, capabilities, settings."""

    def test_plugin_has_a_name_and_a_label(self) -> None:
        """Names of settings start with the name; people read the label."""
        provider = self.provider_class()
        good = provider.name.isascii() and provider.name.isidentifier() and provider.name == provider.name.lower()
        expect(good, f"name is {provider.name!r}. Set `name` to lower-case letters, digits and underscores.")
        expect(provider.label.strip(), "label is empty. Set `label` to the CRM's name as people write it.")

    def test_required_hooks_are_implemented(self) -> None:
        """Deliveries require them; `find_lead` only if the CRM can be searched (`delivery`)."""
        provider = self.provider_class()
        required = required_hooks(provider, marked_hooks(provider))
        missing = [hook for hook in required if not self.implements(hook)]
        expect(not missing, f"{', '.join(missing)} is missing. Add a method marked @hookimpl.")

    def test_no_hook_is_misspelt(self) -> None:
        """Pluggy silently ignores a hook that does not exist."""
        provider = self.provider_class()
        marked = {name for name in dir(provider) if hasattr(getattr(provider, name), "crmgate_impl")}
        stray = sorted(name for name in marked if _spec_name(provider, name) not in HOOKS)
        expect(not stray, f"there is no hook {', '.join(stray)}, so crmgate never calls it. Correct the name.")

    def test_capabilities_are_the_optional_hooks(self) -> None:
        """crmgate and the documentation read `capabilities`."""
        declared = self.provider_class().capabilities & OPTIONAL_HOOKS
        implemented = {hook for hook in OPTIONAL_HOOKS if self.implements(hook)}
        lacking, silent = sorted(declared - implemented), sorted(implemented - declared)
        expect(
            not lacking, f"capabilities contains {', '.join(lacking)}: implement it, marked @hookimpl, or remove it."
        )
        expect(not silent, f"{', '.join(silent)} is implemented: add it to `capabilities`.")

    def test_delivery_is_a_mode(self) -> None:
        """What crmgate does after an unknown outcome: `exactly_once`, `idempotent` or `at_most_once`."""
        declared, used = self.provider_class().delivery, self.provider.delivery
        fault = delivery_fault(declared)
        expect(not fault, f"delivery is {fault}. {WRITE_DELIVERY}")
        expect(used == declared, f"delivery is {used} with these settings, but {declared} in the class. {ONE_MODE}")

    def test_settle_seconds_is_a_number(self) -> None:
        """crmgate waits that long before it sends a request of unknown outcome again."""
        fault = settle_fault(self.provider_class().settle_seconds)
        expect(not fault, f"settle_seconds is {fault}. {WRITE_SETTLE}")

    def test_rate_is_a_rate(self) -> None:
        """All processes of crmgate share it, and a wrong one would stop the start."""
        fault = rate_fault(self.provider.rate)
        expect(not fault, f"rate is {fault}. {WRITE_RATE}")

    def test_the_gateway_accepts_it(self) -> None:
        """Otherwise it is set aside when it is loaded: hooks with `async def`, or a capability that does not exist."""
        provider = self.provider_class()
        try:
            check_provider(provider.__name__, provider, {})
        except PluginError as error:
            fail(f"the gateway sets the plugin aside: {error.reason} {error.remedy}")

    def test_missing_settings_are_all_named_at_once(self) -> None:
        """An operator corrects all settings in one step."""
        provider = self.provider_class()
        required = [name for name, declared in provider.Settings().fields.items() if declared.required]
        if not required:
            return
        try:
            provider({})
        except ConfigError as error:
            silent = [name for name in required if name not in str(error)]
        else:
            silent = required
        expect(not silent, f"{', '.join(silent)} is not named when it is missing. Let CRMProvider load the settings.")

    def test_secrets_are_marked(self) -> None:
        """Settings without a mark appear in error messages, logs and pages."""
        schema = self.provider_class().Settings
        open_ones = sorted({name for name in schema().fields if SECRET_NAME.search(name)} - {*secret_names(schema)})
        message = f"{', '.join(open_ones)} is not marked. Declare it with `secret()`, an address with `secret=True`."
        expect(not open_ones, message)

    def test_settings_reach_the_plugin(self) -> None:
        """The plugin declares every setting that the contract's `settings` returns."""
        try:
            provider = self.provider
        except ConfigError as error:
            fail(f"the plugin does not accept the settings: {error}")
        unknown = sorted({name for name in self._environ if not _known(provider.name, name)} - {
            *provider.Settings().fields
        })  # fmt: skip
        expect(not unknown, f"{', '.join(unknown)} is no setting of the plugin. Declare it in `Settings`.")

    def test_repr_shows_no_secret(self) -> None:
        """Tracebacks and logs contain the provider's repr."""
        shown = f"{self.provider!r} {self.provider}"
        expect(self.provider.redact(shown) == shown, "repr or str of the provider contains a secret. Remove it.")


def _known(provider: str, name: str) -> bool:
    """Whether the setting is one of the mapping, which every plugin has."""
    return name.startswith((f"{provider.upper()}_MAP_", f"{provider.upper()}_VALUES_"))


def _spec_name(provider: type, name: str) -> str:
    return getattr(provider, name).crmgate_impl["specname"] or name

"""The configuration: environment and `.env`, read and checked once at start; every problem is told at once.

`CoreSettings` is the one list of the gateway's own settings: the documentation and `.env.example` are checked against
it. A plugin declares its settings the same way (`crmgate.provider.ProviderSettings`).
"""

from crmgate.config.declared import CoreSettings
from crmgate.config.settings import Limits, Settings, environment

__all__ = ["CoreSettings", "Limits", "Settings", "environment"]

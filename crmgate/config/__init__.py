"""Configuration from the environment and `.env`, read and checked once at start. All problems are reported together.

`CoreSettings` declares the gateway's own settings; the documentation and `.env.example` are tested against it. A plugin
declares its settings in the same way (`crmgate.provider.ProviderSettings`).
"""

from crmgate.config.declared import CoreSettings
from crmgate.config.settings import Limits, Settings, environment

__all__ = ["CoreSettings", "Limits", "Settings", "environment"]

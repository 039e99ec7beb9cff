"""For whoever writes a plugin: a fake CRM to build on, and the contract that every provider is held against.

Nothing here needs pytest to be imported; pytest runs the checks.
"""

from crmgate.testing.contract import ProviderContract
from crmgate.testing.server import FakeCRM, Fault, Request, Response

__all__ = ["FakeCRM", "Fault", "ProviderContract", "Request", "Response"]

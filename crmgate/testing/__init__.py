"""Test kit for authors of plugins: a base class of fake CRMs, and the contract that every provider has to pass.

pytest runs the checks, but no module here imports pytest.
"""

from crmgate.testing.contract import ProviderContract
from crmgate.testing.server import FakeCRM, Fault, Request, Response

__all__ = ["FakeCRM", "Fault", "ProviderContract", "Request", "Response"]

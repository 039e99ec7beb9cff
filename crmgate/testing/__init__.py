"""Test kit for authors of plugins: base classes of fake CRMs, and the contract that every provider has to pass.

pytest runs the checks, but no module here imports pytest.
"""

from crmgate.testing.contract import ProviderContract
from crmgate.testing.server import FakeCRM
from crmgate.testing.transport import Failed, Failure, FakeDestination, Fault, Request, Response

__all__ = [
    "Failed",
    "Failure",
    "FakeCRM",
    "FakeDestination",
    "Fault",
    "ProviderContract",
    "Request",
    "Response",
]

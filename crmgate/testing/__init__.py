"""Test kit for authors of plugins: fake CRMs, recordings of real ones, and the contract of every provider.

pytest runs the checks, but no module here imports pytest.
"""

from crmgate.plugin_host.trial.recording import UnusableRecording
from crmgate.testing.contract import ProviderContract
from crmgate.testing.replay import ReplayedCRM
from crmgate.testing.server import FakeCRM, serve
from crmgate.testing.transport import Failed, Failure, FakeDestination, Fault, Request, Response

__all__ = [
    "Failed",
    "Failure",
    "FakeCRM",
    "FakeDestination",
    "Fault",
    "ProviderContract",
    "ReplayedCRM",
    "Request",
    "Response",
    "UnusableRecording",
    "serve",
]

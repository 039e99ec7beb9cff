"""A fake HubSpot account as a real HTTP server.

`python -m crmgate.testing.hubspot --port 8092` runs it as a process.
"""

from crmgate.testing.hubspot.fake import FakeHubSpot

__all__ = ["FakeHubSpot"]

"""A fake Bitrix24 portal as a real HTTP server.

`python -m crmgate.testing.bitrix24 --port 8090` runs it as a process.
"""

from crmgate.testing.bitrix24.fake import FakeBitrix24

__all__ = ["FakeBitrix24"]

"""A fake EspoCRM 9.2.7 as a real HTTP server.

`python -m crmgate.testing.espocrm --port 8091` runs it as a process.
"""

from crmgate.testing.espocrm.fake import CUSTOM_FIELDS, GATEWAY_ROLE, OPERATION_FIELD, FakeEspoCRM

__all__ = ["CUSTOM_FIELDS", "GATEWAY_ROLE", "OPERATION_FIELD", "FakeEspoCRM"]

"""The sandbox: a small CRM of one's own, for trying crmgate out and for seeing what it does when a CRM misbehaves.

It keeps leads in SQLite, shows them on a page as they arrive, and can be told to fail, hang, refuse or forget to
answer. `python -m crmgate.sandbox` runs it.
"""

from crmgate.sandbox.app import DEFAULT_KEY, create_app
from crmgate.sandbox.server import running

__all__ = ["DEFAULT_KEY", "create_app", "running"]

"""The sandbox: a small CRM for trying crmgate out, and for testing it against a CRM that fails.

It stores leads in SQLite and shows them on a page as they arrive. It can be set to fail, hang, refuse values or drop
its answers. `python -m crmgate.sandbox` runs it.
"""

from crmgate.sandbox.app import DEFAULT_KEY, create_app
from crmgate.sandbox.server import running

__all__ = ["DEFAULT_KEY", "create_app", "running"]

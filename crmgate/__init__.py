"""crmgate: a gateway between a website and its CRM.

Plugins import only names in `__all__` of these modules: `crmgate`, `crmgate.errors`, `crmgate.model`,
`crmgate.provider`, `crmgate.listener` and `crmgate.sources`. Tests of plugins also import names in `__all__` of
`crmgate.testing`, `crmgate.testing.contract`, `crmgate.testing.espocrm`, `crmgate.testing.bitrix24`,
`crmgate.testing.hubspot`, `crmgate.testing.smtp` and `crmgate.testing.webhook`. All other modules and names are
internal: they can change with any version.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from crmgate.hookspecs import hookimpl

if TYPE_CHECKING:
    from flask import Flask

    from crmgate.config import Settings

__version__ = "0.1.0"
GUNICORN_APP_LOAD_ERROR = 4
"""Exit status of a worker process on which gunicorn stops; after any other it starts a new worker, without end."""
__all__ = ["__version__", "create_app", "hookimpl"]


def create_app(settings: Settings | None = None, *, demo: bool = False) -> Flask:
    """Create the web application.

    Without `settings` it reads those of the environment, and a problem in them ends the process with
    `GUNICORN_APP_LOAD_ERROR`; with `settings` it raises `ConfigError`. `demo` adds the page `/demo`.
    """
    from flask import Flask

    from crmgate import logs, services, web
    from crmgate.errors import ConfigError
    from crmgate.store.checks import report

    try:
        built = services.build(settings) if settings else services.start()
    except ConfigError as error:
        if settings:
            raise
        sys.stderr.write("crmgate cannot start:\n" + "".join(f"- {problem}\n" for problem in error.problems))
        sys.exit(GUNICORN_APP_LOAD_ERROR)
    logs.configure(built.settings.log_level, built.settings.log_format)
    report(built.ledger.health())
    built.open_spool()
    app = Flask("crmgate", static_folder="web/static")
    app.extensions["crmgate"] = built
    web.init_app(app, demo=demo)
    web.trust_proxies(app, built.settings.trusted_proxies)
    return app

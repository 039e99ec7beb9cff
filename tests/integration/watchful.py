"""gunicorn's worker with a faster watch, so that a test need not wait."""

from __future__ import annotations

from crmgate.gunicorn.worker import Worker as Shipped


class Worker(Shipped):
    """The watch is of the process that runs it: the first process of gunicorn passes on no module of crmgate."""

    def load_wsgi(self) -> None:
        from crmgate.operators import watch

        watch.BEAT = 0.3
        watch.WORKER_MISSING = 15.0
        watch.LEDGER_AWAY = 1.0
        super().load_wsgi()

"""Flask, marshmallow and Celery: one `delay` for each request. The worker acknowledges late."""

import os
from typing import Any

from celery import Celery

from benchmarks.peers import post

celery = Celery("peer", broker=os.environ["REDIS_URL"])
celery.conf.update(task_acks_late=True, task_ignore_result=True, broker_connection_retry_on_startup=True)


@celery.task(bind=True, max_retries=len(post.RETRY_DELAYS), name="deliver")
def deliver(self: Any, operation: str, payload: dict[str, Any]) -> None:
    """Send the application. Each retry waits longer than the one before."""
    try:
        post.post(operation, payload)
    except Exception as error:
        raise self.retry(exc=error, countdown=post.RETRY_DELAYS[min(self.request.retries, 2)]) from None


def enqueue(operation: str, payload: dict[str, Any]) -> None:
    """Leave the application to the worker."""
    deliver.delay(operation, payload)


def create_app() -> Any:
    """The web application. The worker does not import Flask."""
    from benchmarks.peers import web

    return web.application(enqueue)

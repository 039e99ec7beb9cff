"""Flask, marshmallow and Huey: one `enqueue` for each request."""

import os
from typing import Any

from huey import RedisHuey

from benchmarks.peers import post

huey = RedisHuey("peer", url=os.environ["REDIS_URL"], results=False)


@huey.task(retries=len(post.RETRY_DELAYS), context=True)
def deliver(operation: str, payload: dict[str, Any], task: Any = None) -> None:
    """Send the application. Each retry waits longer than the one before."""
    task.retry_delay = post.RETRY_DELAYS[-max(task.retries, 1)]
    post.post(operation, payload)


def enqueue(operation: str, payload: dict[str, Any]) -> None:
    """Leave the application to the worker."""
    deliver(operation, payload)


def create_app() -> Any:
    """The web application. The worker does not import Flask."""
    from benchmarks.peers import web

    return web.application(enqueue)

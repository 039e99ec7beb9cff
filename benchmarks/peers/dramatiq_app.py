"""A Dramatiq actor that makes the request to the CRM."""

import os
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.peers import post

dramatiq.set_broker(RedisBroker(url=os.environ["REDIS_URL"]))


@dramatiq.actor(max_retries=len(post.RETRY_DELAYS), min_backoff=1000, max_backoff=25000)
def deliver(operation: str, payload: dict[str, Any]) -> None:
    """Send the application. Dramatiq doubles the delay between retries."""
    post.post(operation, payload)


def enqueue(operation: str, payload: dict[str, Any]) -> None:
    """Leave the application to the worker."""
    deliver.send(operation, payload)

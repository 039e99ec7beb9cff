"""A worker under a long queue: its memory, and Redis's."""

from __future__ import annotations

import gc
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from crmgate.model import Kind, Operation, new_id
from crmgate.operators.inventory import Inventory
from crmgate.store.client import connect
from crmgate.store.gate import Recipient
from crmgate.store.ledger import Ledger
from crmgate.store.wakeups import wake_message
from tests.processes import RedisProcess, huey_worker, wait_until

SINK = Recipient("sink", most=8)


@dataclass(frozen=True)
class Soaked:
    """Memory in bytes: of the worker after a tenth and after all, of Redis before, at most and afterwards."""

    deliveries: int
    seconds: float
    worker_early: int
    worker_late: int
    redis_before: int
    redis_backlog: int
    redis_after: int

    @property
    def worker_growth(self) -> float:
        return self.worker_late / self.worker_early - 1

    @property
    def redis_left(self) -> float:
        """The share of the backlog's memory that did not come back."""
        return (self.redis_after - self.redis_before) / (self.redis_backlog - self.redis_before)

    @property
    def well(self) -> bool:
        return self.worker_growth < 0.10 and self.redis_left < 0.02

    def table(self) -> str:
        mega = 1024 * 1024
        rows = (
            ("deliveries by one worker, eight at once", f"{self.deliveries:,}"),
            (f"worker's memory after {self.deliveries // 10:,}", f"{self.worker_early / mega:.1f} MB"),
            (f"worker's memory after {self.deliveries:,}",
             f"{self.worker_late / mega:.1f} MB ({self.worker_growth:+.1%})"),
            ("Redis before", f"{self.redis_before / mega:.1f} MB"),
            ("Redis with the backlog", f"{self.redis_backlog / mega:.1f} MB"),
            ("Redis after it has drained, without receipts",
             f"{self.redis_after / mega:.1f} MB ({self.redis_left:+.1%} of the backlog)"),
        )  # fmt: skip
        return "\n".join(["| what | figure |", "|---|--:|", *(f"| {name} | {figure} |" for name, figure in rows)])


class _Server(ThreadingHTTPServer):
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "13")
        self.end_headers()
        self.wfile.write(b'{"id": "abc"}')

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


def soak(folder: Path, deliveries: int, progress: Callable[[str], None] = lambda _text: None) -> Soaked:
    """Drain a backlog and measure."""
    plugins = folder / "plugins"
    plugins.mkdir()
    shutil.copy(Path(__file__).with_name("sink.py"), plugins / "sink.py")
    server = _Server(("127.0.0.1", 0), _Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    redis = RedisProcess(folder / "redis")
    env = {
        "CRM_PROVIDER": "sink", "SINK_URL": f"http://127.0.0.1:{server.server_address[1]}", "REDIS_URL": redis.url,
        "PLUGINS_DIR": str(plugins), "CRM_MAX_CONCURRENCY": "8", "LOG_LEVEL": "WARNING",
    }  # fmt: skip
    worker = huey_worker(folder, env)
    try:
        redis.start()
        return _measure(worker, Ledger(connect(redis.url, 10.0), wake_message), deliveries, progress)
    finally:
        worker.kill()
        redis.kill()
        server.shutdown()
        server.server_close()


def _measure(worker, ledger: Ledger, deliveries: int, progress: Callable[[str], None]) -> Soaked:  # type: ignore[no-untyped-def]
    client = ledger._redis

    def used() -> int:
        return int(client.info("memory")["used_memory"])  # type: ignore[index]

    def delivered() -> int:
        count = ledger.stats().get("delivered", 0)
        progress(f"{count:,} of {deliveries:,} delivered")
        return count

    _accept(ledger, 1)
    worker.start()
    wait_until("the first delivery", lambda: delivered() >= 1)
    worker.stop()
    _drop_receipts(client)
    before = used()
    _accept(ledger, deliveries)
    backlog = used()
    begun = time.monotonic()
    worker.start()
    deadline = deliveries / 20 + 60
    wait_until("a tenth is delivered", lambda: delivered() >= deliveries / 10, deadline)
    early = _resident(worker.pid)
    wait_until("everything is delivered", lambda: delivered() >= deliveries + 1, deadline)
    late, seconds = _resident(worker.pid), time.monotonic() - begun
    worker.stop()
    _drop_receipts(client)
    gc.collect()
    return Soaked(deliveries, seconds, early, late, before, backlog, used())


def _accept(ledger: Ledger, count: int) -> None:
    for number in range(count):
        payload = {"first_name": "Test", "last_name": str(number), "email": f"test{number}@example.com"}
        ledger.accept(Operation(new_id(), Kind.CREATE_LEAD, payload, time.time()), SINK, alarm=2)


def _drop_receipts(client) -> None:  # type: ignore[no-untyped-def]
    """Simulate that 7 days passed: delete the receipts, and remove them from the indexes as the worker does."""
    keys = [key for key in client.scan_iter("{crmgate}:op:*", count=1000) if client.ttl(key) > 0]
    for start in range(0, len(keys), 1000):
        client.delete(*keys[start : start + 1000])
    inventory, later = Inventory(client), time.time() + 8 * 24 * 3600
    for _ in range(len(keys) // 250 + 2):
        inventory.trim(later)


def _resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024

"""Redis in every shape that crmgate can use: with users, behind TLS, under Sentinels, as a cluster."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis
import requests

from crmgate.cli.redis_server import executable, free_port
from crmgate.operators.archive import Archive
from crmgate.operators.backups import Backups
from crmgate.operators.inventory import Inventory
from crmgate.store import keys
from crmgate.store.audit import Audit
from crmgate.store.backup import BackupStore
from crmgate.store.gate import Recipient
from crmgate.store.tokens import Scope, Tokens
from tests.integration.stack import Stack, person
from tests.processes import DEADLINE, ROOT, Process, wait_until

PASSWORD = "p@ss:w/rd"


class Server(Process):
    """A redis-server, or with `--sentinel` a Sentinel, with lines of configuration of its own."""

    def __init__(self, folder: Path, name: str, *lines: str, flags: tuple[str, ...] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = low_port()
        config = folder / f"{name}.conf"
        common = ["bind 127.0.0.1", f"port {self.port}", f"dir {folder}"]
        config.write_text("\n".join([*common, *lines]) + "\n")
        super().__init__(name, [executable(), str(config), *flags], folder)

    def client(self, **options: Any) -> redis.Redis:
        return redis.Redis(port=self.port, **{"password": PASSWORD} | options)

    def start(self, password: str = PASSWORD) -> None:
        super().start()
        with self.client(password=password) as client:
            wait_until(f"{self.name} answers", lambda: _answers(client))


@contextlib.contextmanager
def ended(*processes: Process) -> Iterator[None]:
    """Kill all processes at the end of the block, also after an exception."""
    try:
        yield
    finally:
        for process in processes:
            process.kill()


def keeper(folder: Path, name: str, *lines: str) -> Server:
    """A redis-server with an append-only file and a password."""
    common = ("appendonly yes", f"appendfilename {name}.aof", 'save ""', f"requirepass {PASSWORD}")
    return Server(folder, name, *common, f"masterauth {PASSWORD}", *lines)


def documented_user(more: str = "") -> str:
    """The line of configuration that makes the user `crmgate` with the rights that the documentation calls enough."""
    text = (ROOT / "docs/configuration.md").read_text()
    [line] = re.findall(r"^ACL SETUSER (crmgate .*)$", text, re.MULTILINE)
    return f"user {line.replace('<password>', PASSWORD)} {more}"


def low_port() -> int:
    """A free port whose cluster bus, 10000 above, is a free port too."""
    return next(port for port in iter(free_port, 0) if port < 55000 and _is_free(port + 10_000))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def form_cluster(nodes: list[Server]) -> None:
    """Give each node its part of the slots and wait until all of them agree."""
    each = 16384 // len(nodes)
    first = nodes[0]
    for index, node in enumerate(nodes):
        end = 16384 if node is nodes[-1] else (index + 1) * each
        with node.client() as client:
            client.execute_command("CLUSTER ADDSLOTS", *range(index * each, end))
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", index + 1)
            client.execute_command("CLUSTER MEET", "127.0.0.1", first.port)
    agree(nodes)


def agree(nodes: list[Server]) -> None:
    """Wait until every node knows all the others to be there."""
    for node in nodes:
        with node.client() as client:
            wait_until("the cluster is complete", lambda client=client: _complete(client, len(nodes)))  # type: ignore[misc]


def _complete(client: redis.Redis, nodes: int) -> bool:
    info = client.execute_command("CLUSTER INFO")
    return bool(info["cluster_state"] == "ok" and int(info["cluster_size"]) == nodes)


class TlsProxy:
    """TLS in front of a redis-server that was built without it; asks for a client certificate of the same authority."""

    def __init__(self, folder: Path, target: int) -> None:
        import trustme  # takes 0.1 s, in each process that collects the tests

        authority = trustme.CA()
        self.ca_file, self.cert_file, self.key_file = (folder / name for name in ("ca.pem", "cert.pem", "key.pem"))
        authority.cert_pem.write_to_path(str(self.ca_file))
        own = authority.issue_cert("gateway.example.com")
        own.cert_chain_pems[0].write_to_path(str(self.cert_file))
        own.private_key_pem.write_to_path(str(self.key_file))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self._context)
        authority.configure_trust(self._context)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with (
            contextlib.suppress(OSError), plain, self._context.wrap_socket(plain, server_side=True) as near,
            socket.create_connection(("127.0.0.1", self._target)) as far,
        ):  # fmt: skip
            answers = threading.Thread(target=_copy, args=(far, near), daemon=True)
            answers.start()
            _copy(near, far)
            answers.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


def leads(stack: Stack) -> int:
    return len(stack.espocrm.leads)


def somebody() -> dict[str, Any]:
    """The body of an application of a new person."""
    return person(next(_numbers))


_numbers = itertools.count(1000)


def run(stack: Stack) -> Stack:
    stack.start_web()
    stack.start_worker()
    return stack


def deliver_in_every_way(stack: Stack) -> None:
    """At once, by the worker, and by the worker after a failure."""
    before = leads(stack)
    at_once = stack.submit(somebody())
    queued = stack.submit_queued(somebody())
    stack.wait_for(queued, "delivered")
    stack.espocrm.fail("answer", status=503, method="POST", path="/Lead", times=1)
    later = stack.submit(somebody(), 202)
    for operation_id in (at_once, queued, later):
        stack.wait_for(operation_id, "delivered")
    assert leads(stack) == before + 3
    keep_the_rest(stack)


def keep_the_rest(stack: Stack) -> None:
    """Use the other data in Redis: a token and its audit entries, the figures, the last connection test."""
    client = stack.ledger._redis
    tokens = Tokens(client, (), Audit(client))
    token, text = tokens.new("site", Scope.READ, "test")
    asked = {"url": f"{stack.url}/api/v1/crm/test", "headers": {"Authorization": f"Bearer {text}"}, "timeout": 30}
    # A process reads the tokens at most once a second.
    wait_until("the new token is known", lambda: requests.get(**asked).status_code == 200)  # type: ignore[arg-type]
    answer = requests.get(f"{stack.url}/metrics", headers={"Authorization": f"Bearer {text}"}, timeout=DEADLINE)
    assert "crmgate_ledger_up 1.0" in answer.text
    assert 'crmgate_attempts_total{kind="create_lead",outcome="delivered"' in answer.text
    assert tokens.revoke(token.id, "test")
    assert [entry.what for entry in Audit(client).recent(2)] == ["tokens.revoke", "tokens.new"]
    back_up(stack, client)


def back_up(stack: Stack, client: Any) -> None:
    """Make a backup, and restore it after the receipt of one operation was lost."""
    store = BackupStore(client, stack.ledger, Recipient("espocrm"))
    backups, file = Backups(store, Inventory(client), stack.ledger, Audit(client)), io.BytesIO()
    contents = backups.make(file, None, "test")
    assert contents.operations["delivered"] >= 3
    assert contents.entries > 5
    lost = client.zrange(keys.OPS, 0, 0)[0].decode()
    client.delete(keys.op(lost))
    restored = backups.restore(Archive.open(file, None), "test", merge=True)
    assert restored.operations == 1
    assert stack.ledger.get(lost) is not None

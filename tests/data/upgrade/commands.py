"""What a Redis holds as an append-only file whose age changes nothing; for the programs that make the data here."""

from __future__ import annotations

from pathlib import Path

import redis

from tests.processes import wait_until


def commands(client: redis.Redis, file: Path) -> bytes:
    """What Redis holds as commands, with relative expiry: so the age of the file changes nothing."""
    client.config_set("aof-use-rdb-preamble", "no")
    client.bgrewriteaof()
    wait_until("it is written", lambda: not client.info("persistence")["aof_rewrite_in_progress"])
    now = client.time()
    words = parse(file.read_bytes())
    return b"".join(resp(relative(command, now[0] * 1000)) for command in words)


def relative(command: list[bytes], now: int) -> list[bytes]:
    if command[0].upper() != b"PEXPIREAT":
        return command
    return [b"PEXPIRE", command[1], str(int(command[2]) - now).encode()]


def parse(data: bytes) -> list[list[bytes]]:
    found, at = [], 0
    while at < len(data):
        line, at = until_end(data, at)
        words = []
        for _ in range(int(line[1:])):
            size, at = until_end(data, at)
            words.append(data[at : at + int(size[1:])])
            at += int(size[1:]) + 2
        found.append(words)
    return found


def until_end(data: bytes, at: int) -> tuple[bytes, int]:
    end = data.index(b"\r\n", at)
    return data[at:end], end + 2


def resp(command: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in command)

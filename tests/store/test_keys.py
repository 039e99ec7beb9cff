"""The table of keys says what a gateway leaves in Redis: no key more, none less, of that type and with that expiry."""

from __future__ import annotations

import re

import redis

from crmgate.store import keys
from crmgate.store.ledger import Ledger
from tests.everything import rows, use
from tests.processes import ROOT

Seen = dict[str, tuple[str, int]]
"""Type and expiry (-1: none) of a key, by its name."""


def snapshot(client: redis.Redis) -> Seen:
    names = [name.decode() for name in client.scan_iter(count=1000)]
    pipe = client.pipeline()
    for name in names:
        pipe.type(name)
        pipe.ttl(name)
    answers = pipe.execute()
    return {name: (answers[2 * i].decode(), answers[2 * i + 1]) for i, name in enumerate(names)}


def test_the_table_has_what_a_gateway_keeps_no_more_and_no_less(ledger: Ledger, redis_client: redis.Redis) -> None:
    seen: Seen = {}
    use(ledger, redis_client, lambda: seen.update(snapshot(redis_client)))
    for name, (type_, expiry) in seen.items():
        [row] = rows(name)
        assert type_ == row.type, name
        assert expiry <= row.seconds, name
        assert (expiry == -1) == (row.seconds == 0) or row.after_end, name
    assert [row.name for row in keys.TABLE if not any(row in rows(name) for name in seen)] == []
    for name in (name for name in seen if name.startswith((keys.op(""), keys.job("")))):
        ended = redis_client.hget(name, "state") not in (b"waiting", b"dead", b"suspect", b"running")
        assert (redis_client.ttl(name) > 0) == ended, name  # type: ignore[operator]


def test_no_other_file_spells_a_key() -> None:
    files = [path for top in ("crmgate", "plugins") for end in ("py", "lua") for path in (ROOT / top).rglob(f"*.{end}")]
    assert len(files) > 100
    for file in files:
        text = re.sub(r'""".*?"""|--.*?$', "", file.read_text(), flags=re.DOTALL | re.MULTILINE)
        assert keys.PREFIX not in text or file.name == "keys.py", file


def test_the_scripts_use_the_names_that_they_get() -> None:
    texts = "".join(file.read_text() for file in (ROOT / "crmgate/store/lua").glob("*.lua"))
    assert set(re.findall(r"\bkey\.(\w+)", re.sub(r"--.*", "", texts))) == set(keys.for_scripts())

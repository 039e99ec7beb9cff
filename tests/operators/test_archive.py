"""The file of a backup: whatever is wrong with it is found before anything is restored."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from crmgate.errors import UnusableBackup
from crmgate.operators.archive import FORMAT, Archive, Cipher, Contents, Writer, cipher

RECORDS = [
    {"operation": "1", "fields": {"state": "waiting", "payload": '{"last_name": "Öğrenci"}'}},
    {"operation": "2", "fields": {"state": "delivered"}},
    {"key": "stats", "value": {"accepted": "2"}, "expiry": -1},
]


def written(key: Cipher | None = None) -> bytes:
    file = io.BytesIO()
    writer = Writer(file, 1_800_000_000.0, key)
    for record in RECORDS:
        writer.add(record)
    assert writer.end() == Contents({"delivered": 1, "waiting": 1}, 1)
    return file.getvalue()


def opened(data: bytes, key: Cipher | None = None) -> Archive:
    return Archive.open(io.BytesIO(data), key)


@pytest.fixture(params=[None, Fernet(Fernet.generate_key())], ids=["plain", "encrypted"])
def key(request: pytest.FixtureRequest) -> Cipher | None:
    found: Cipher | None = request.param
    return found


def test_it_is_read_as_it_was_written(key: Cipher | None) -> None:
    archive = opened(written(key), key)
    assert archive.made_at == "2027-01-15T08:00:00.000Z"
    assert (archive.contents, archive.contents.total) == (Contents({"delivered": 1, "waiting": 1}, 1), 2)
    for _ in range(2):
        assert [*archive.records("operation"), *archive.records("key")] == RECORDS


def test_each_line_is_json_and_the_first_names_the_format() -> None:
    lines = [json.loads(line) for line in written().splitlines()]
    assert lines[0]["crmgate_backup"] == FORMAT == 1
    assert lines[1:-1] == RECORDS
    assert lines[-1]["end"]["operations"] == {"delivered": 1, "waiting": 1}


def test_an_encrypted_one_shows_nothing(key: Cipher | None) -> None:
    assert ("Öğrenci".encode() in written(key)) == (key is None)


def test_a_truncated_one_is_refused_wherever_it_ends(key: Cipher | None) -> None:
    data = written(key)
    first = data.index(b"\n") + 1
    for length in {*range(first, len(data), 1 if key is None else 7), *line_ends(data)} - {len(data)}:
        with pytest.raises(UnusableBackup, match="its end is missing"):
            opened(data[:length], key)


def line_ends(data: bytes) -> list[int]:
    return [number + 1 for number, byte in enumerate(data) if byte == ord("\n")]


def test_a_damaged_one_is_refused(key: Cipher | None) -> None:
    first, *lines = written(key).splitlines(keepends=True)
    swapped = [lines[1], lines[0], *lines[2:]]
    changed = [first.replace(b"2027", b"2026"), *lines]
    longer, broken = [first, *lines, lines[0]], [first, b"{\n", *lines]
    for damaged in ([first, *lines[1:]], [first, *swapped], changed, broken, longer):
        with pytest.raises(UnusableBackup, match="damaged"):
            opened(b"".join(damaged), key)


@pytest.mark.parametrize("data", [b"", b"\n", b"REDIS0009\xfa\n", b"[]\n", b"{}\n", b'{"crmgate_backup": "x"}\n'])
def test_another_file_is_no_backup(data: bytes) -> None:
    with pytest.raises(UnusableBackup, match="is not a backup"):
        opened(data)


def test_one_of_a_newer_version_names_it() -> None:
    data = written().replace(b'"crmgate_backup":1,', b'"crmgate_backup":2,')
    with pytest.raises(UnusableBackup, match=r"newer version of crmgate \(\d.*update crmgate"):
        opened(data)


def test_the_key_has_to_fit() -> None:
    right, wrong = (Fernet(Fernet.generate_key()) for _ in range(2))
    with pytest.raises(UnusableBackup, match="another key"):
        opened(written(right), wrong)
    with pytest.raises(UnusableBackup, match="is encrypted: name the file with its key"):
        opened(written(right))
    with pytest.raises(UnusableBackup, match="is not encrypted"):
        opened(written(), right)


def test_a_key_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(Fernet.generate_key() + b"\n")
    assert opened(written(cipher(path)), cipher(path)).contents.total == 2
    path.write_text("a passphrase")
    with pytest.raises(ValueError, match=r"no key of 32 bytes.*openssl rand") as error:
        cipher(path)
    assert "passphrase" not in str(error.value)

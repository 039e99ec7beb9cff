"""Encryption of payloads: the first key encrypts, all decrypt, and nothing but the id of a key is disclosed."""

from __future__ import annotations

import base64
import subprocess
import sys

import pytest
from cryptography.fernet import Fernet

from crmgate.store.vault import Undecryptable, Vault, is_key, key_id, new_key

OLD, NEW = (base64.urlsafe_b64encode(letter * 32).decode() for letter in (b"o", b"n"))
TEXT = '{"email":"canary@example.com","first_name":"Zeynep Öğrenci 🎓"}'


@pytest.mark.parametrize("text", [TEXT, "{}", "", "x" * 70_000])
def test_what_is_sealed_is_read_back(text: str) -> None:
    vault = Vault([OLD])
    sealed = vault.seal(text)
    assert sealed.startswith(f"sealed:{key_id(OLD)}:")
    assert not text or text not in sealed
    assert vault.unseal(sealed) == vault.unseal(sealed.encode()) == text
    assert vault.unseal(vault.seal(text.encode())) == text


def test_a_sealed_text_is_a_token_that_every_fernet_reads() -> None:
    token = Vault([OLD]).seal(TEXT).split(":")[2]
    assert Fernet(OLD).decrypt(token).decode() == TEXT


def test_without_a_key_text_stays_as_it_is() -> None:
    vault = Vault()
    assert vault.seal(TEXT) == vault.unseal(TEXT) == TEXT
    assert (vault.current, vault.ids, vault.is_current(TEXT)) == ("", (), False)


def test_plain_text_from_before_stays_readable() -> None:
    assert Vault([OLD]).unseal(TEXT.encode()) == TEXT


def test_the_first_key_encrypts_and_all_decrypt() -> None:
    sealed = Vault([OLD]).seal(TEXT)
    both = Vault([NEW, OLD])
    assert both.unseal(sealed) == TEXT
    assert (both.is_current(sealed), both.is_current(both.seal(TEXT)), both.is_current(TEXT)) == (False, True, False)
    assert both.seal(TEXT).startswith(f"sealed:{key_id(NEW)}:")
    assert Vault([OLD, NEW]).is_current(sealed)


@pytest.mark.parametrize("keys", [(), (NEW,)])
def test_a_lost_key_is_named_and_the_text_is_not(keys: tuple[str, ...]) -> None:
    with pytest.raises(Undecryptable, match=f"the key {key_id(OLD)}, which PAYLOAD_KEYS lacks") as caught:
        Vault(keys).unseal(Vault([OLD]).seal(TEXT))
    assert OLD not in repr(caught.value)


def test_a_damaged_text_is_refused_without_its_content() -> None:
    sealed = Vault([OLD]).seal(TEXT)
    for damaged in (
        sealed[:-5] + "AAAA=",
        sealed[: len(sealed) // 2],
        f"sealed:{key_id(OLD)}:",
        f"{sealed[:-9]}é{sealed[-8:]}",
    ):
        with pytest.raises(Undecryptable, match="is damaged") as caught:
            Vault([OLD]).unseal(damaged)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None


@pytest.mark.parametrize("text", ["", "x", OLD[:-1], OLD + "A", OLD.replace(OLD[0], "+"), "é" * 44, "A" * 43 + "=="])
def test_what_is_no_key_is_recognised(text: str) -> None:
    assert not is_key(text)


def test_a_new_key_is_one() -> None:
    key = new_key()
    assert is_key(key)
    Fernet(key)
    assert key != new_key()


def test_a_gateway_without_keys_does_not_import_the_cipher() -> None:
    code = "import sys; from crmgate.store.vault import Vault; Vault(); sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

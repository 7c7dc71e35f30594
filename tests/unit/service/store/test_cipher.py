"""callback_sdk.service.store.cipher"""

from __future__ import annotations

import stat
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from callback_sdk.errors import ConfigurationError
from callback_sdk.redaction import Secret
from callback_sdk.service.store.cipher import CredentialCipher, CredentialCipherError, ensure_keys, new_key

OLD, NEW = new_key(), new_key()


@given(st.text())
@example("\ud800")
def test_an_encrypted_text_can_be_decrypted(plain: str) -> None:
    """The ciphertext doesn't show the text."""
    cipher = CredentialCipher([OLD])
    sealed = cipher.encrypt(Secret(plain))
    assert len(plain) < 5 or plain not in sealed
    assert cipher.decrypt(sealed).reveal() == plain


@given(st.data())
def test_a_change_is_noticed(data: st.DataObject) -> None:
    """Wherever it is."""
    sealed = CredentialCipher([OLD]).encrypt(Secret("x"))
    # The last character before the padding holds bits that base64 doesn't use.
    place = data.draw(st.integers(0, len(sealed.rstrip("=")) - 2))
    changed = sealed[:place] + ("A" if sealed[place] != "A" else "B") + sealed[place + 1 :]
    with pytest.raises(CredentialCipherError):
        CredentialCipher([OLD]).decrypt(changed)


def test_keys_are_rotated_by_listing_two() -> None:
    """The old one decrypts until everything is encrypted anew; then it can go."""
    sealed = CredentialCipher([OLD]).encrypt(Secret("x"))
    both = CredentialCipher([NEW, OLD])
    assert both.decrypt(sealed).reveal() == "x"
    with pytest.raises(CredentialCipherError, match="ENCRYPTION_KEYS"):
        CredentialCipher([NEW]).decrypt(sealed)
    assert CredentialCipher([NEW]).decrypt(both.rotate(sealed)).reveal() == "x"
    with pytest.raises(CredentialCipherError):
        CredentialCipher([NEW]).rotate(sealed)


def test_each_purpose_has_different_keys() -> None:
    """Derivation is deterministic, and doesn't reveal the key."""
    both = CredentialCipher([NEW, OLD])
    assert both.derive("tokens") == CredentialCipher([NEW]).derive("tokens") + CredentialCipher([OLD]).derive("tokens")
    assert len(both.derive("tokens")[0].reveal()) == 32
    assert both.derive("tokens")[0] != both.derive("other")[0]
    assert NEW.reveal() not in repr(both)


@pytest.mark.parametrize("keys", [[], [Secret("topsecret")], [NEW, Secret("ä" * 44)]])
def test_an_invalid_key_is_rejected(keys: list[Secret[str]]) -> None:
    """The error has the command that generates a key, and doesn't contain the key."""
    with pytest.raises(ConfigurationError, match="db generate-key") as caught:
        CredentialCipher(keys)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
    assert "topsecret" not in "".join(shown)


def test_a_file_of_keys_is_made_once(tmp_path: Path) -> None:
    """For its owner alone; an empty one is an error, as a new key would make all credentials unreadable."""
    path = tmp_path / "keys"
    first = ensure_keys(path)
    assert first == ensure_keys(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text(f"{NEW.reveal()}\n{first[0].reveal()}\n")
    assert ensure_keys(path) == (NEW, *first)
    path.write_text("\n")
    with pytest.raises(ConfigurationError, match="empty"):
        ensure_keys(path)


def test_the_content_of_a_file_that_is_not_text_is_never_shown(tmp_path: Path) -> None:
    """A UnicodeDecodeError would contain the whole file, with all keys."""
    path = tmp_path / "keys"
    path.write_bytes(b"topsecret \xff\n")
    with pytest.raises(ConfigurationError, match="not UTF-8 text") as caught:
        ensure_keys(path)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    shown.stack[:] = [frame for frame in shown.stack if frame.filename != __file__]
    assert "topsecret" not in "".join(shown.format())


def test_concurrent_starts_read_the_same_key(tmp_path: Path) -> None:
    """Regardless of the process that created it; no other file is left."""
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ensure_keys, [tmp_path / "keys"] * 32))
    assert len({keys[0].reveal() for keys in found}) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]

"""callback_sdk.service.access.passwords"""

from __future__ import annotations

import subprocess
import sys
import traceback

import pytest

from callback_sdk.errors import ConfigurationError
from callback_sdk.redaction import Secret
from callback_sdk.service.access import passwords
from callback_sdk.service.access.passwords import hash_password, needs_rehash, verify_password

RIGHT = Secret("a sentence is easy")

WITHOUT_MEMORY = """
import resource, sys, traceback
from callback_sdk.redaction import Secret
from callback_sdk.service.access.passwords import hash_password

pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 32 * 1024 * 1024,) * 2)
try:
    hash_password(Secret(sys.stdin.read()))
except Exception as error:
    print(*traceback.TracebackException.from_exception(error, capture_locals=True).format())
"""


def test_only_the_right_password_matches() -> None:
    """No password matches without a hash."""
    hashed = hash_password(RIGHT)
    assert "easy" not in hashed
    assert verify_password(hashed, RIGHT)
    assert not verify_password(hashed, Secret("a sentence is hard"))
    assert not verify_password(None, RIGHT)
    assert not verify_password("no hash", RIGHT)
    assert not verify_password("", RIGHT)
    assert not verify_password("ä", RIGHT)
    assert not verify_password(hashed, Secret("x" * 5000))
    assert not needs_rehash(hashed)


@pytest.mark.parametrize("hashed", [None, ""])
def test_the_hash_for_unknown_users_matches_no_password(monkeypatch: pytest.MonkeyPatch, hashed: str | None) -> None:
    """Not even the password from which it was computed."""
    made = hash_password(RIGHT)
    monkeypatch.setattr(passwords, "_dummy_hash", lambda: made)
    assert not verify_password(hashed, RIGHT)


@pytest.mark.parametrize("password", ["", "short", "x" * 1025])
def test_a_password_of_no_use_is_refused(password: str) -> None:
    """By its length, which the text tells."""
    with pytest.raises(ConfigurationError, match=rf"has {len(password)}\."):
        hash_password(Secret(password))


def test_a_weaker_hash_is_detected() -> None:
    """It is replaced at the next login."""
    assert needs_rehash("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b4v2g")


def test_a_password_that_is_not_unicode_is_never_shown() -> None:
    """A pipe can contain one, and a UnicodeEncodeError would contain all of it."""
    odd = Secret("topsecret topsecret \ud800")
    assert verify_password(hash_password(odd), odd)
    assert not verify_password(hash_password(RIGHT), odd)
    with pytest.raises(ConfigurationError) as caught:
        hash_password(Secret("topsecret"))
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    shown.stack[:] = [frame for frame in shown.stack if frame.filename != __file__]
    assert "topsecret" not in "".join(shown.format())


def test_a_password_is_not_shown_if_memory_is_exhausted() -> None:
    """The error is typed and has no frames of argon2."""
    command = [sys.executable, "-c", WITHOUT_MEMORY]
    shown = subprocess.run(command, input="topsecret topsecret", capture_output=True, text=True, check=True).stdout
    assert "ConfigurationError: The password can't be hashed" in shown
    assert "topsecret" not in shown

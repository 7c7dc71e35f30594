"""callback_sdk.service.pages.sessions"""

from __future__ import annotations

from datetime import timedelta

import jwt
import pytest

from callback_sdk.redaction import Secret
from callback_sdk.service.access.audit import AuditLog
from callback_sdk.service.access.passwords import hash_password
from callback_sdk.service.access.tokens import TokenError, digest, new_api_token
from callback_sdk.service.access.users import Authenticator
from callback_sdk.service.pages import sessions as module
from callback_sdk.service.pages.sessions import Sessions, is_from_here, safe_next
from callback_sdk.service.store import Store
from callback_sdk.service.store.cipher import CredentialCipher, new_key

PASSWORD = Secret("a password of anna's")

pytestmark = pytest.mark.usefixtures("quick_passwords")


@pytest.fixture
def sessions(store: Store, cipher: CredentialCipher) -> Sessions:
    """Give sessions of a store with one user."""
    store.users.add("anna", password_hash=hash_password(PASSWORD))
    authenticator = Authenticator(store.users, store.sessions, cipher, AuditLog(store.audit))
    return Sessions(authenticator, store.users, store.sessions, cipher.derive("pages"))


def test_a_session_tells_who_it_is(sessions: Sessions) -> None:
    """Two of the same user have different tokens for their forms."""
    first, second = (sessions.of(sessions.by_password("anna", PASSWORD)) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.user.name == second.user.name == "anna"
    assert first.csrf != second.csrf
    assert first.csrf not in repr(first)


@pytest.mark.parametrize("name", ["anna", "bert"])
def test_a_wrong_password_opens_none(sessions: Sessions, name: str) -> None:
    """Nor does a name that is unknown."""
    with pytest.raises(TokenError):
        sessions.by_password(name, Secret("wrong"))


def test_sessions_end_with_password_changes_and_disabling(sessions: Sessions, store: Store) -> None:
    """A new password, and a disabled user."""
    cookie = sessions.by_password("anna", PASSWORD)
    assert sessions.of(cookie) is not None
    store.users.set_password("anna", hash_password(PASSWORD))
    assert sessions.of(cookie) is None
    cookie = sessions.by_password("anna", PASSWORD)
    store.users.disable("anna")
    assert sessions.of(cookie) is None


def test_a_closed_session_is_invalid_for_every_copy_of_its_cookie(sessions: Sessions) -> None:
    """Other sessions of the same user continue."""
    first, second = (sessions.by_password("anna", PASSWORD) for _ in range(2))
    session = sessions.of(first)
    assert session is not None
    sessions.close(session)
    assert sessions.of(first) is None
    assert sessions.of(second) is not None


def test_sessions_end_with_their_api_token(sessions: Sessions, store: Store) -> None:
    """A session opened with an API token ends when the token is revoked; the cookie doesn't contain the token."""
    token, user = new_api_token(), store.users.by_name("anna")
    store.users.add_token(user.user_id, digest(token), label="pages")
    _, cookie = sessions.by_token(token)
    assert token.reveal() not in cookie.reveal()
    assert sessions.of(cookie) is not None
    assert store.users.revoke_tokens(user.user_id) == 1
    assert sessions.of(cookie) is None
    with pytest.raises(TokenError):
        sessions.by_token(token)


def test_a_cookie_can_not_be_made(sessions: Sessions, store: Store, cipher: CredentialCipher) -> None:
    """Not with other keys, not without a signature, not from an access token."""
    user = store.users.by_name("anna")
    claims = {"sub": user.user_id, "gen": user.token_generation, "api": "", "exp": 4_000_000_000, "jti": "x"}
    store.sessions.open("x", user.user_id, life=60)
    others = CredentialCipher([new_key()]).derive("pages")[0].reveal()
    mine = cipher.derive("pages")[0].reveal()
    assert sessions.of(Secret(jwt.encode(claims, mine, algorithm="HS256"))) is not None
    forged = [jwt.encode(claims, others, algorithm="HS256"), jwt.encode(claims, None, algorithm="none")]
    access, refresh = Authenticator(store.users, store.sessions, cipher, AuditLog(store.audit)).log_in("anna", PASSWORD)
    for text in (*forged, access.reveal(), refresh.reveal(), "", "x", "\ud800", "a.b.c"):
        assert sessions.of(Secret(text)) is None


def test_a_session_ends_by_itself(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its life."""
    monkeypatch.setattr(module, "SESSION_LIFETIME", timedelta(seconds=-1))
    assert sessions.of(sessions.by_password("anna", PASSWORD)) is None


@pytest.mark.parametrize(
    ("origin", "good"),
    [
        (None, True),
        ("http://127.0.0.1:8000", True),
        ("https://127.0.0.1:8000", True),
        ("http://127.0.0.1:8001", False),
        ("http://evil.example", False),
        ("null", False),
        ("", False),
    ],
)
def test_a_form_of_another_site_is_detected(origin: str | None, good: bool) -> None:
    """Only the host is compared, because a proxy may terminate TLS."""
    assert is_from_here(origin, "127.0.0.1:8000") is good
    assert not is_from_here("http://a", None)


@pytest.mark.parametrize(
    ("origin", "host", "good"),
    [
        ("https://tools.example.org", "tools.example.org:443", True),
        ("http://tools.example.org", "tools.example.org:80", True),
        ("https://tools.example.org", "tools.example.org:80", False),
        ("https://tools.example.org", "tools.example.org:8443", False),
        ("https://tools.example.org:8443", "tools.example.org", False),
        ("https://[2001:db8::1]", "[2001:db8::1]:443", True),
        ("https://tools.example.org", "other.example:443", False),
    ],
)
def test_a_default_port_makes_no_difference(origin: str, host: str, good: bool) -> None:
    """An origin never has it, and some proxies add it to Host."""
    assert is_from_here(origin, host) is good


@pytest.mark.parametrize(
    ("path", "goes"),
    [
        ("/ui/tasks/42", "/ui/tasks/42"),
        ("/ui/health", "/ui/health"),
        (None, "/ui/overview"),
        ("/ui/login", "/ui/overview"),
        ("//evil.example", "/ui/overview"),
        ("https://evil.example/ui/tasks", "/ui/overview"),
        ("/ui/\\evil.example", "/ui/overview"),
        ("/ui/a\r\nSet-Cookie: x", "/ui/overview"),
        ("/api/v2/algorithms", "/ui/overview"),
    ],
)
def test_the_login_redirects_to_pages_of_the_service_only(path: str | None, goes: str) -> None:
    """Regardless of the link to the login page."""
    assert safe_next(path, "/ui") == goes

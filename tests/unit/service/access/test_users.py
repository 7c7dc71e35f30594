"""callback_sdk.service.access.users"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from callback_sdk.redaction import Secret
from callback_sdk.service.access.audit import AuditLog
from callback_sdk.service.access.passwords import hash_password
from callback_sdk.service.access.tokens import REFRESH, TokenError, Tokens
from callback_sdk.service.access.users import Authenticator
from callback_sdk.service.store import Store
from callback_sdk.service.store import sessions as module
from callback_sdk.service.store.cipher import CredentialCipher

PASSWORD = Secret("a password of anna's")

pytestmark = pytest.mark.usefixtures("quick_passwords")


@pytest.fixture
def authenticators(open_store: Callable[[], Store], cipher: CredentialCipher) -> list[Authenticator]:
    """Give the authenticators of two services on one database with one user."""
    stores = [open_store(), open_store()]
    stores[0].users.add("anna", password_hash=hash_password(PASSWORD))
    return [Authenticator(store.users, store.sessions, cipher, AuditLog(store.audit)) for store in stores]


def test_a_refresh_token_is_followed_by_another(authenticators: list[Authenticator]) -> None:
    """On every service behind one balancer, and each brings an access token."""
    first, second = authenticators
    _, refresh = first.log_in("anna", PASSWORD)
    seen = {refresh.reveal()}
    for authenticator in (second, first, second):
        access, refresh = authenticator.renew(refresh)
        assert first.authenticate_token(access).name == "anna"
        seen.add(refresh.reveal())
    assert len(seen) == 4


def test_a_lost_response_does_not_end_the_session(authenticators: list[Authenticator]) -> None:
    """For one minute the same refresh token returns the same successor."""
    first, second = authenticators
    _, refresh = first.log_in("anna", PASSWORD)
    _, lost = first.renew(refresh)
    _, again = second.renew(refresh)
    assert ids(lost) == ids(again)
    access, _ = second.renew(again)
    assert first.authenticate_token(access).name == "anna"


def ids(token: Secret[str]) -> Any:
    import jwt

    claims = jwt.decode(token.reveal(), options={"verify_signature": False})
    return claims["sid"], claims["jti"]


def test_a_reused_token_ends_its_session(
    authenticators: list[Authenticator], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """All tokens of the session are revoked; other sessions of the user continue."""
    monkeypatch.setattr(module, "REUSE_INTERVAL", 0.0)
    first, second = authenticators
    _, stolen = first.log_in("anna", PASSWORD)
    other, _ = first.log_in("anna", PASSWORD)
    access, following = second.renew(stolen)
    with caplog.at_level(logging.WARNING), pytest.raises(TokenError, match="revoked"):
        first.renew(stolen, address="192.0.2.1\nforged")
    for use in (lambda: second.renew(following), lambda: second.authenticate_token(access)):
        with pytest.raises(TokenError, match="revoked"):
            use()
    assert second.authenticate_token(other).name == "anna"
    (record,) = caplog.records
    assert (record.action, record.user) == ("refresh-token-reused", "anna")  # type: ignore[attr-defined]
    assert "\n" not in record.getMessage()


def test_older_tokens_end_the_session_even_within_the_grace_period(authenticators: list[Authenticator]) -> None:
    """Only the previous token may be reused."""
    first, _ = authenticators
    _, oldest = first.log_in("anna", PASSWORD)
    _, second = first.renew(oldest)
    _, third = first.renew(second)
    for token in (oldest, third):
        with pytest.raises(TokenError, match="revoked"):
            first.renew(token)


def test_of_many_at_once_all_get_the_same_successor(authenticators: list[Authenticator]) -> None:
    """Threads of two services that use one token at the same moment end nothing."""
    _, refresh = authenticators[0].log_in("anna", PASSWORD)
    with ThreadPoolExecutor(8) as pool:
        found = [*pool.map(lambda number: authenticators[number % 2].renew(refresh), range(8))]
    assert len({ids(following) for _, following in found}) == 1


@pytest.mark.parametrize("what", ["password", "revoke", "disable"])
def test_revocation_applies_to_all_tokens(authenticators: list[Authenticator], store: Store, what: str) -> None:
    """A new password, revoked tokens and a disabled user, on every service at once."""
    first, second = authenticators
    access, refresh = first.log_in("anna", PASSWORD)
    user = store.users.by_name("anna")
    {
        "password": lambda: store.users.set_password("anna", hash_password(PASSWORD)),
        "revoke": lambda: store.users.revoke_tokens(user.user_id),
        "disable": lambda: store.users.disable("anna"),
    }[what]()
    for authenticator in (first, second):
        for use in (lambda: authenticator.renew(refresh), lambda: authenticator.authenticate_token(access)):  # noqa: B023 - used at once
            with pytest.raises(TokenError, match="revoked"):
                use()


def test_a_session_expires(authenticators: list[Authenticator], store: Store, cipher: CredentialCipher) -> None:
    """Its refresh tokens expire with it, and expired sessions are removed."""
    user = store.users.by_name("anna")
    store.sessions.open("s", user.user_id, life=-1, token_id="t")
    token = Tokens(cipher.derive("tokens")).issue(
        user.user_id, user.token_generation, REFRESH, session="s", token_id="t"
    )
    with pytest.raises(TokenError, match="revoked"):
        authenticators[0].renew(token)
    store.sessions.delete_expired()
    assert not store.sessions.close("s")


def test_a_refresh_token_without_a_session_is_rejected(
    authenticators: list[Authenticator], store: Store, cipher: CredentialCipher
) -> None:
    """Such a token was issued by a version without sessions; its owner logs in again."""
    user = store.users.by_name("anna")
    with pytest.raises(TokenError, match="Log in"):
        authenticators[0].renew(Tokens(cipher.derive("tokens")).issue(user.user_id, user.token_generation, REFRESH))

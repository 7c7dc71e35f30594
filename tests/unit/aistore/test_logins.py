"""callback_sdk.aistore.logins"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from callback_sdk.aistore import logins
from callback_sdk.aistore.tokens import Token
from callback_sdk.errors import AIStoreLoginError
from callback_sdk.redaction import Secret
from callback_sdk.testing import WebhookReceiver

PASSWORD = "a password MARKER41aa"


@pytest.fixture
def authn() -> Iterator[WebhookReceiver]:
    """Run an AuthN server that sends prepared responses."""
    with WebhookReceiver() as server:
        yield server


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a clock that stands still."""
    now = SimpleNamespace(time=5000.0)
    monkeypatch.setattr(logins, "clock", lambda: now.time)
    return now


def made(authn: WebhookReceiver, **options: Any) -> Token:
    return Token("a/b", PASSWORD, authn.url.removesuffix("/webhook"), **options)


def jwt(name: str, life: float | None) -> str:
    claims = {"name": name} | ({} if life is None else {"exp": int(time.time()) + life})
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.signature"


def give(authn: WebhookReceiver, *tokens: str) -> None:
    for token in tokens:
        authn.respond(200, body=json.dumps({"token": token}).encode())


def test_a_login_has_the_form_of_authn(authn: WebhookReceiver) -> None:
    """The name is in the path, the password in the body, and the lifetime in nanoseconds."""
    give(authn, "one")
    assert made(authn, expires_in=timedelta(minutes=1))() == "one"
    (request,) = authn.requests
    assert (request.method, request.path) == ("POST", "/v1/users/a%2Fb")
    assert request.document == {"password": PASSWORD, "expires_in": 60_000_000_000}


@pytest.mark.parametrize(
    ("life", "margin", "ages"),
    [
        (3600, 60, {0: 1, 3530: 1, 3545: 2}),
        (60, 60, {0: 1, 40: 1, 46: 2}),
        (20, 60, {0: 1, 14: 1, 16: 2}),
        (None, 60, {0: 1, 10**9: 1}),
        (-5, 60, {0: 1, 1: 1}),
    ],
)
def test_a_token_is_renewed_shortly_before_its_expiry(
    authn: WebhookReceiver, clock: Any, life: float | None, margin: float, ages: dict[int, int]
) -> None:
    """Also one of a lifetime that is shorter than the margin: never at each use, and never after its end."""
    give(authn, jwt("one", life), jwt("two", life))
    token = made(authn, margin=margin)
    for age, count in ages.items():
        clock.time = 5000.0 + age
        token()
        assert len(authn.requests) == count


def test_failed_renewal_is_no_error_while_the_token_is_valid(authn: WebhookReceiver, clock: Any) -> None:
    """It is tried again every few seconds, and becomes an error when the token has expired."""
    give(authn, first := jwt("one", 60))
    token = made(authn)
    assert token() == first
    clock.time += 50
    authn.respond(503)
    assert (token(), token()) == (first, first)
    assert len(authn.requests) == 2
    clock.time += 6
    authn.respond(503)
    assert token() == first
    assert len(authn.requests) == 3
    clock.time += 6
    authn.respond(503)
    with pytest.raises(AIStoreLoginError, match="answered 503"):
        token()
    give(authn, "two")
    assert token() == "two"


def test_rejected_token_is_not_used_again(authn: WebhookReceiver) -> None:
    """Although it would be valid for long: a failed log-in is an error then."""
    give(authn, jwt("one", 3600))
    token = made(authn)
    token.discard(Secret("another"))
    refused = Secret(token())
    token.discard(refused)
    authn.respond(503)
    with pytest.raises(AIStoreLoginError):
        token()


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b'{"token": ""}', b'{"token": 7}', b"{}", b"[" * 50_000])
def test_an_answer_without_a_token_is_an_error(authn: WebhookReceiver, body: bytes) -> None:
    """Not a token of nothing; and the text has no password."""
    authn.respond(200, body=body)
    with pytest.raises(AIStoreLoginError, match="issued no token") as caught:
        made(authn)()
    assert "MARKER" not in str(caught.value) + repr(caught.value)


def test_message_of_authn_is_shown_without_the_password(authn: WebhookReceiver) -> None:
    """It says what is wrong with the log-in."""
    message = f"token expiration must be at least 1m0s; you sent {PASSWORD}"
    authn.respond(400, body=json.dumps({"status": 400, "message": message}).encode())
    with pytest.raises(AIStoreLoginError, match=r"answered 400 .*at least 1m0s") as caught:
        made(authn)()
    assert "MARKER" not in str(caught.value)
    authn.respond(400, body=b'{"message": "abc is wrong"}')
    with pytest.raises(AIStoreLoginError) as caught:
        Token("anna", "abc", authn.url.removesuffix("/webhook"))()
    assert "abc" not in str(caught.value)


def test_a_redirected_login_is_not_followed(authn: WebhookReceiver) -> None:
    """The password is sent to AuthN only."""
    authn.respond(307, headers={"Location": authn.url})
    with pytest.raises(AIStoreLoginError, match="answered 307"):
        made(authn)()
    assert len(authn.requests) == 1


def test_a_response_of_authn_is_read_to_its_limit_only(authn: WebhookReceiver) -> None:
    """A token after more bytes than any response of AuthN has is not found."""
    authn.respond(200, body=b" " * (64 * 1024) + b'{"token": "one"}')
    with pytest.raises(AIStoreLoginError, match="issued no token"):
        made(authn)()

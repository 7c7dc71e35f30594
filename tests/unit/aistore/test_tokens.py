"""callback_sdk.aistore.tokens"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from callback_sdk.aistore.tokens import Bearer, Token
from callback_sdk.errors import AIStoreLoginError, ConfigurationError
from callback_sdk.testing import WebhookReceiver

PASSWORD = "a password MARKER41aa"


@pytest.fixture
def authn() -> Iterator[WebhookReceiver]:
    """Run an AuthN server that sends prepared responses."""
    with WebhookReceiver() as server:
        yield server


def made(authn: WebhookReceiver, **options: Any) -> Token:
    return Token("a/b", PASSWORD, authn.url.removesuffix("/webhook"), **options)


def jwt(name: str, life: float | None) -> str:
    claims = {"name": name} | ({} if life is None else {"exp": time.time() + life})
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


@pytest.mark.parametrize(("life", "logins"), [(3600, 1), (None, 1), (30, 2), (-5, 2)])
def test_a_token_is_used_until_shortly_before_its_expiry(
    authn: WebhookReceiver, life: float | None, logins: int
) -> None:
    """A token without expiry, or with a very short lifetime, is used until it is rejected."""
    give(authn, jwt("one", life), jwt("two", life))
    token = made(authn, margin=timedelta(minutes=1))
    token()
    if logins == 2:
        token._end = time.time() + 59
    token()
    assert len(authn.requests) == logins


def test_a_rejected_token_is_replaced_once_for_all_threads(authn: WebhookReceiver) -> None:
    """Threads with the old token get the new one without another login."""
    give(authn, "one", "two", "three")
    token = made(authn)
    first, second = Bearer(token), Bearer(token)
    assert [first.header(), second.header()] == ["Bearer one"] * 2
    assert [first.renewed(), second.renewed()] == [True, True]
    assert [first.header(), second.header()] == ["Bearer two"] * 2
    assert len(authn.requests) == 2


def test_a_string_is_all_there_is() -> None:
    """Refused, it is not sent again."""
    bearer = Bearer("one")
    assert bearer.header() == "Bearer one"
    assert not bearer.renewed()
    assert "one" not in repr(vars(bearer))


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b'{"token": ""}', b'{"token": 7}', b"{}"])
def test_an_answer_without_a_token_is_an_error(authn: WebhookReceiver, body: bytes) -> None:
    """Not a token of nothing; and the text has no password."""
    authn.respond(200, body=body)
    with pytest.raises(AIStoreLoginError, match="issued no token") as caught:
        made(authn)()
    assert "MARKER" not in str(caught.value) + repr(caught.value)


def test_a_redirected_login_is_not_followed(authn: WebhookReceiver) -> None:
    """The password is sent to AuthN only."""
    authn.respond(307, headers={"Location": authn.url})
    with pytest.raises(AIStoreLoginError, match="answered 307"):
        made(authn)()
    assert len(authn.requests) == 1


@pytest.mark.parametrize("source", ["", None, 7])
def test_no_token_is_refused(source: Any) -> None:
    """Before any request."""
    with pytest.raises(ConfigurationError):
        Bearer(source)


def test_a_response_of_authn_is_read_to_its_limit_only(authn: WebhookReceiver) -> None:
    """A token after more bytes than any response of AuthN has is not found."""
    authn.respond(200, body=b" " * (64 * 1024) + b'{"token": "one"}')
    with pytest.raises(AIStoreLoginError, match="issued no token"):
        made(authn)()

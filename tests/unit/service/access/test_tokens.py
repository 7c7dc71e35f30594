"""callback_sdk.service.access.tokens"""

from __future__ import annotations

import base64
import json
import traceback
from datetime import datetime, timedelta, timezone

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callback_sdk.redaction import Secret
from callback_sdk.service.access.tokens import REFRESH, TokenClaims, TokenError, Tokens, digest, is_jwt, new_api_token

OLD, NEW = Secret(b"o" * 32), Secret(b"n" * 32)
TOKENS = Tokens([NEW])


def forged(**changes: object) -> Secret[str]:
    payload = jwt.decode(TOKENS.issue("anna", 1).reveal(), NEW.reveal(), algorithms=["HS256"])
    payload = {name: value for name, value in (payload | changes).items() if value is not None}
    return Secret(jwt.encode(payload, NEW.reveal(), algorithm="HS256"))


def test_a_token_identifies_its_user() -> None:
    """If its type is the required one."""
    assert TOKENS.read(TOKENS.issue("anna", 3)) == TokenClaims("anna", 3)
    assert TOKENS.read(TOKENS.issue("anna", 3, REFRESH), REFRESH) == TokenClaims("anna", 3)
    with pytest.raises(TokenError, match="not of type refresh"):
        TOKENS.read(TOKENS.issue("anna", 3), REFRESH)
    with pytest.raises(TokenError, match="not of type access"):
        TOKENS.read(TOKENS.issue("anna", 3, REFRESH))


def test_keys_are_rotated_by_listing_two() -> None:
    """Tokens of the old key count until it is left out."""
    token = Tokens([OLD]).issue("anna", 0)
    assert Tokens([NEW, OLD]).read(token).user_id == "anna"
    with pytest.raises(TokenError, match="signature"):
        TOKENS.read(token)


def test_an_expired_token_says_so() -> None:
    """And where to get a new one."""
    short = Tokens([NEW], access=timedelta(seconds=-1))
    with pytest.raises(TokenError, match=r"expired.*/token/refresh/"):
        short.read(short.issue("anna", 0))
    old = Tokens([NEW], refresh=timedelta(seconds=-1))
    with pytest.raises(TokenError, match=r"expired\. Log in at /token/\."):
        old.read(old.issue("anna", 0, REFRESH), REFRESH)


def test_a_clock_that_is_ahead_does_no_harm() -> None:
    """A token counts at once on every machine, whichever gave it out."""
    ahead = int((datetime.now(timezone.utc) + timedelta(minutes=1)).timestamp())
    assert TOKENS.read(forged(iat=ahead)) == TokenClaims("anna", 1)


@given(st.data())
def test_a_changed_token_is_refused(data: st.DataObject) -> None:
    """Wherever the change is, and without the token in any traceback."""
    token = TOKENS.issue("anna", 0).reveal()
    # The last character holds bits that base64 doesn't use.
    place = data.draw(st.integers(0, len(token) - 2))
    changed = token[:place] + ("A" if token[place] != "A" else "Q") + token[place + 1 :]
    with pytest.raises(TokenError) as caught:
        TOKENS.read(Secret(changed))
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
    assert not [frame for frame in shown if changed in frame and "test_tokens.py" not in frame]


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("", "malformed"),
        ("a.b.c", "malformed"),
        ("\ud800.b.c", "malformed"),
        (jwt.encode({"sub": "anna"}, None, algorithm="none"), "HS256"),
    ],
)
def test_what_is_not_a_signed_token_is_rejected(token: str, reason: str) -> None:
    """Text that is not a JSON Web Token, and a token without a signature, have different messages."""
    with pytest.raises(TokenError, match=reason):
        TOKENS.read(Secret(token))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sub": 7}, "malformed"),
        ({"gen": "1"}, "malformed"),
        *(({claim: None}, "lacks a required claim") for claim in ("sub", "gen", "iat", "exp", "jti", "iss")),
        ({"iss": "somebody"}, "another issuer"),
        ({"token_type": None}, "not of type access"),
    ],
)
def test_invalid_claims_are_rejected(changes: dict[str, object], reason: str) -> None:
    """Missing or wrong claims and another issuer have different messages."""
    with pytest.raises(TokenError, match=reason):
        # Not a parameter: those are made when tests are collected, and a token is valid for half an hour.
        TOKENS.read(forged(**changes))


@pytest.mark.parametrize("algorithm", ["none", "RS256", "ES256", "HS512"])
def test_the_token_does_not_choose_its_algorithm(algorithm: str) -> None:
    """A header that names another makes no token valid, even with the payload and signature of a good one."""
    _, payload, signature = TOKENS.issue("anna", 0).reveal().split(".")
    head = base64.urlsafe_b64encode(json.dumps({"alg": algorithm}).encode()).decode().rstrip("=")
    for end in ("", signature):
        with pytest.raises(TokenError, match="HS256"):
            TOKENS.read(Secret(f"{head}.{payload}.{end}"))


def test_api_tokens_are_random_and_known_by_their_digest() -> None:
    """Secret scanners detect their prefix; they are not JSON Web Tokens."""
    first, second = new_api_token(), new_api_token()
    assert first != second
    assert first.reveal().startswith("cbk_")
    assert len(digest(first)) == 64
    assert digest(first) != digest(second)
    assert is_jwt(TOKENS.issue("anna", 0))
    assert not is_jwt(first)

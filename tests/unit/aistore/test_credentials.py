"""callback_sdk.aistore.credentials"""

from __future__ import annotations

from typing import Any

import pytest
from botocore.awsrequest import HeadersDict

from callback_sdk.aistore.credentials import remove_credentials, remove_signature, sent_token
from callback_sdk.redaction import Secret


@pytest.mark.parametrize(
    ("headers", "header", "token"),
    [
        ({"Authorization": "Bearer one"}, "Authorization", "one"),
        ({"authorization": b"Bearer one"}, "Authorization", "one"),
        ({"Authorization": "Bearer one", "X-Amz-Security-Token": "two"}, "Authorization", "one"),
        ({"Authorization": "AWS4-HMAC-SHA256 x", "x-amz-security-token": b"two"}, "X-Amz-Security-Token", "two"),
        ({"X-Amz-Security-Token": "two"}, "X-Amz-Security-Token", "two"),
        ({"Authorization": "bearer one"}, None, None),
        ({"Authorization": "AWS4-HMAC-SHA256 x"}, None, None),
        ({"X-Amz-Security-Token": ""}, None, None),
        ({}, None, None),
    ],
)
def test_token_is_the_one_that_aistore_takes(headers: dict[str, Any], header: str | None, token: str | None) -> None:
    """A bearer token, or else the session token."""
    found = sent_token(HeadersDict(headers))
    if found is None:
        assert header is None
    else:
        assert (found.header, found.token) == (header, Secret(token))
        assert token is not None
        assert token not in repr(found)


def test_headers_are_removed_in_any_spelling() -> None:
    """The signature alone, or all that is secret."""
    given = {"AUTHORIZATION": "a", "x-amz-security-token": "b", "cookie": "c", "Content-Type": "d"}
    headers = HeadersDict(given)
    remove_signature(headers)
    assert sorted(headers) == ["Content-Type", "cookie"]
    headers = HeadersDict(given)
    remove_credentials(headers)
    assert sorted(headers) == ["Content-Type"]

"""callback_sdk.aistore.credentials"""

from __future__ import annotations

from typing import Any

import pytest
from botocore.awsrequest import HeadersDict

from callback_sdk.aistore.credentials import remove_credentials, remove_signature, sent_token, valid_token
from callback_sdk.errors import ConfigurationError
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


@pytest.mark.parametrize("value", ["MARKER\n", "MARKER MARKER", "MARK\u00c9R", "MARKER\r\nX: y"])
def test_token_that_is_not_one_is_not_shown(value: str) -> None:
    """The usual mistake is the line break at the end of a file; the error of the HTTP library would quote the token."""
    for headers in ({"Authorization": f"Bearer {value}"}, {"X-Amz-Security-Token": value.encode("latin-1")}):
        with pytest.raises(ConfigurationError, match="no token has") as caught:
            valid_token(sent_token(HeadersDict(headers)))
        assert "MARK" not in str(caught.value)
    assert valid_token(None) is None
    token = sent_token(HeadersDict({"X-Amz-Security-Token": "IQoJb3/+x=="}))
    assert valid_token(token) is token


def test_headers_are_removed_in_any_spelling() -> None:
    """The signature alone, or all that is secret."""
    given = {"AUTHORIZATION": "a", "x-amz-security-token": "b", "cookie": "c", "Content-Type": "d"}
    headers = HeadersDict(given)
    remove_signature(headers)
    assert sorted(headers) == ["Content-Type", "cookie"]
    headers = HeadersDict(given)
    remove_credentials(headers)
    assert sorted(headers) == ["Content-Type"]

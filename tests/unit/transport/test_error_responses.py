"""What a response without success means."""

from __future__ import annotations

import gzip

import pytest
from attrs import evolve

from callback_sdk.transport.error_responses import delivery_error
from callback_sdk.transport.response import Response
from tests.unit.transport.test_http import upload

ERROR = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_code_of_a_store_is_found_in_a_compressed_body(encoding: str | None) -> None:
    """Nobody asked for compression, and some proxies compress all the same."""
    body, headers = (ERROR, {}) if encoding is None else (gzip.compress(ERROR), {"content-encoding": encoding})
    sent = upload("https://bucket.s3.amazonaws.com/k?X-Amz-Signature=s")
    error = delivery_error(sent, Response(status=403, headers=headers, body=body, url=sent.url))
    assert (error.code, error.retryable) == ("SlowDown", True)
    assert "Please reduce your request rate" in str(error)


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [("2.5", 2.5), ("0", 0.0), ("-1", None), ("soon", None), ("1e9", None), ("86400", 3600.0), (None, None)],
)
def test_pause_that_a_server_asks_for_is_bounded(retry_after: str | None, seconds: float | None) -> None:
    """A value that can't be read is none, and no server makes anybody wait for more than an hour."""
    headers = {} if retry_after is None else {"retry-after": retry_after}
    sent = upload("https://example.org/hook")
    assert delivery_error(sent, Response(status=503, headers=headers, body=b"", url=sent.url)).retry_after == seconds


@pytest.mark.parametrize(("status", "retryable"), [(520, True), (522, True), (501, True), (404, False), (303, False)])
def test_every_5xx_may_pass(status: int, retryable: bool) -> None:
    """Content delivery networks have their own."""
    sent = upload("https://example.org/hook")
    error = delivery_error(sent, Response(status=status, headers={}, body=b"", url=sent.url))
    assert (error.retryable, error.transient) == (retryable, retryable)


@pytest.mark.parametrize("status", [401, 403])
def test_a_receiver_that_checks_signatures_wants_the_secret(status: int) -> None:
    """The hint names where secrets are set, in a program and in the service."""
    sent = evolve(upload("https://example.org/hook"), kind="webhook")
    error = delivery_error(sent, Response(status=status, headers={}, body=b"", url=sent.url))
    assert "webhook_secrets of ResultsWriter, or CALLBACK_SDK_WEBHOOK_SECRETS" in error.hint


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b'{"message":"401 Unauthorized"}', None, "401 Unauthorized"),
        (b'{"code":"NotAuthenticated","message":"The required information is missing"}', "NotAuthenticated", "missing"),
        (b'{"statusCode":"409","error":"Duplicate","message":"The resource already exists"}', "Duplicate", "exists"),
        (b'{"errors" : [ {"status" : 401, "message" : "Bad credentials"} ]}', None, "Bad credentials"),
        (b'{"message": "a \\" quote"}', None, None),
    ],
)
def test_json_of_a_store_has_its_code_and_message(body: bytes, code: str | None, message: str | None) -> None:
    """As GitLab, Oracle, Supabase and Artifactory respond; a webhook's JSON can be anything."""
    sent = evolve(upload("https://example.org/file"), kind="http-put")
    response = Response(status=401, headers={}, body=body, url=sent.url)
    error = delivery_error(sent, response)
    assert error.code == code
    assert (message or "") in str(error)
    assert delivery_error(evolve(sent, kind="webhook"), response).code is None
    assert "already exists" not in str(delivery_error(evolve(sent, kind="webhook"), response))

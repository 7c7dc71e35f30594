"""Signed URLs that start a resumable upload to Google Cloud Storage."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from callback_sdk.documents.body import Body
from callback_sdk.errors import ResultTooLargeError, SignedHeaderError, TargetExpiredError, WrongOperationError
from callback_sdk.targets import Target, plan
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.targets.gcs_sessions import GCSUpload
from tests.signedurls import google_v2, google_v4

NOW = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
OBJECT = "https://storage.googleapis.com/results/42.json"
V4 = f"{OBJECT}?{google_v4(signed='host;x-goog-resumable')}"
V2 = f"{OBJECT}?{google_v2()}"
START = {"x-goog-resumable": "start"}
BODY = Body(b'{"job_id":"42"}')


def target(url: str, param: Any = None) -> Target:
    (callback,) = parse_callbacks(url, param)
    return plan(callback)


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        (V4, None),
        (V4, START),
        (V2, START),
        (V4.replace(OBJECT, "https://results.storage.googleapis.com/42.json"), None),
    ],
)
def test_start_is_a_post_without_a_body(url: str, headers: dict[str, str] | None) -> None:
    """The header has one value only, so that a URL of version 4, which tells its name, is complete."""
    found = target(url, {"s3_headers": headers} if headers else None)
    upload = found.in_parts(BODY.size, None)
    assert isinstance(upload, GCSUpload)
    start = upload.start(BODY, now=NOW)
    assert start is not None
    assert (found.kind, start.method, start.url.reveal(), start.body.size) == ("gcs-resumable", "POST", url, 0)
    assert (start.accepts, start.redirects, start.document) == ({200, 201}, False, BODY)
    assert start.headers.reveal()["x-goog-resumable"] == "start"
    assert "content-md5" not in start.headers.reveal()
    assert found.object_url("x") == url.partition("?")[0]


def test_headers_of_the_object_are_sent_with_the_start() -> None:
    """Its type, the encoding of the document, and signed metadata."""
    url = f"{OBJECT}?{google_v4(signed='content-type;host;x-goog-meta-run;x-goog-resumable')}"
    upload = target(url, {"s3_headers": {"x-goog-meta-run": "42"}}).in_parts(BODY.size, "gzip")
    assert isinstance(upload, GCSUpload)
    start = upload.start(BODY, now=NOW)
    assert start is not None
    assert start.headers.reveal() == {
        "content-type": "application/json",
        "content-encoding": "gzip",
        "x-goog-meta-run": "42",
        **START,
    }


def test_url_of_version_2_without_the_header_is_a_put() -> None:
    """Its signature is over the header's value, which the URL doesn't tell."""
    assert target(V2).kind == "gcs-put-v2"
    # Content-Type is signed too where it is sent, so it is sent only where it was given.
    upload = target(V2, {"s3_headers": START}).in_parts(BODY.size, None)
    assert isinstance(upload, GCSUpload)
    start = upload.start(BODY, now=NOW)
    assert start is not None
    assert start.headers.reveal() == START


@pytest.mark.parametrize("url", [V4, V2])
def test_other_value_of_the_header_is_refused(url: str) -> None:
    """Google documents `start` only."""
    with pytest.raises(WrongOperationError, match="x-goog-resumable"):
        target(url, {"s3_headers": {"x-goog-resumable": "upload"}})


def test_header_that_version_4_did_not_sign_is_refused() -> None:
    """Google rejects extension headers without a signature."""
    with pytest.raises(SignedHeaderError, match="x-goog-resumable"):
        target(f"{OBJECT}?{google_v4()}", {"s3_headers": START}).check(now=NOW)


def test_limits_are_checked_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Expiry, range of the size, and Google's maximum."""
    with pytest.raises(TargetExpiredError):
        target(V4).check(now=datetime(2026, 1, 1, 14, tzinfo=timezone.utc))
    url = f"{OBJECT}?{google_v4(signed='host;x-goog-content-length-range;x-goog-resumable')}"
    with pytest.raises(ResultTooLargeError, match="1 to 10"):
        target(url, {"s3_headers": {"x-goog-content-length-range": "1,10"}}).check(now=NOW, size=11)
    with pytest.raises(ResultTooLargeError):
        target(V4).check(now=NOW, size=5 * 1024**4 + 1)

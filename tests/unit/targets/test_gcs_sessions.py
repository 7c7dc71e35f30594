"""Sessions of Google's resumable uploads: where they may be, and what their responses mean."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest

from callback_sdk.documents.body import Body
from callback_sdk.errors import DeliveryError
from callback_sdk.targets import plan
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.targets.gcs_sessions import RANGE_SIZE, GCSUpload
from tests.signedurls import google_v4

NOW = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
OBJECT = "https://storage.googleapis.com/results/42.json"
START = f"{OBJECT}?{google_v4(signed='host;x-goog-resumable')}"
ID = "A" * 60
SESSION = f"{OBJECT}?upload_id={ID}"
BODY = Body(b"0123456789")


class Response:
    """A store's response."""

    def __init__(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.body = body


def upload(url: str) -> GCSUpload:
    (callback,) = parse_callbacks(url)
    found = plan(callback).in_parts(BODY.size, None)
    assert isinstance(found, GCSUpload)
    return found


@pytest.mark.parametrize(
    "location",
    [
        SESSION,
        f"{START}&upload_id={ID}",
        f"/results/42.json?upload_id={ID}",
        f"https://www-storage.googleapis.com/upload/storage/v1/b/results/o?uploadType=resumable&upload_id={ID}",
        f"https://results.storage.googleapis.com/42.json?upload_id={ID}",
    ],
)
def test_session_at_the_same_provider_is_used(location: str) -> None:
    """Google may name another of its hosts."""
    own = upload(START).with_session(Response(201, location=location))
    sent = own.send_from(0, BODY, now=NOW)
    assert sent.url.reveal().endswith(location)
    assert ID in sent.secrets().reveal()
    assert ID not in str(sent.url) + str(own) + repr(sent)


@pytest.mark.parametrize(
    "location",
    [
        "",
        f"https://evil.example/results/42.json?upload_id={ID}",
        f"https://storage.googleapis.com.evil.example/results/42.json?upload_id={ID}",
        f"https://s3.amazonaws.com/results/42.json?upload_id={ID}",
        f"http://storage.googleapis.com/results/42.json?upload_id={ID}",
        f"ftp://storage.googleapis.com/results/42.json?upload_id={ID}",
        f"https://user:pass@storage.googleapis.com/results/42.json?upload_id={ID}",
        f"https://169.254.169.254/results/42.json?upload_id={ID}",
        OBJECT,
        f"{SESSION}{'A' * 20_000}",
        "https://[::1/x?upload_id=1",
    ],
)
def test_session_elsewhere_is_refused(location: str) -> None:
    """A store, or a proxy before it, can't direct the document to another host."""
    with pytest.raises(DeliveryError, match="without the URI of a session") as caught:
        upload(START).with_session(Response(201, location=location))
    assert ID not in str(caught.value)
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("given", "stored"), [(None, 0), ("bytes=0-0", 1), ("bytes=0-8", 9), ("bytes=0-9", 10), ("bytes 0-8", 0), ("x", 0)]
)
def test_range_says_how_much_is_stored(given: str | None, stored: int) -> None:
    """Without a range nothing is."""
    response = Response(308, **({} if given is None else {"range": given}))
    assert upload(SESSION).progress(response, BODY) == stored


def test_range_beyond_the_document_is_that_of_another_one() -> None:
    """To go on there would leave out bytes."""
    with pytest.raises(DeliveryError, match="another document") as caught:
        upload(SESSION).progress(Response(308, range="bytes=0-10"), BODY)
    assert not caught.value.retryable


def test_ranges_are_multiples_of_256_kib_but_for_the_last() -> None:
    """Google stores whole multiples only; the last range has the MD5 of all."""
    body = Body(bytes(RANGE_SIZE + 5))
    session = upload(SESSION)
    assert RANGE_SIZE % (256 * 1024) == 0
    first, last = (session.send_from(start, body, now=NOW) for start in (0, RANGE_SIZE))
    assert first.headers.reveal()["content-range"] == f"bytes 0-{RANGE_SIZE - 1}/{body.size}"
    assert "x-goog-hash" not in first.headers.reveal()
    assert last.headers.reveal()["content-range"] == f"bytes {RANGE_SIZE}-{body.size - 1}/{body.size}"
    assert last.headers.reveal()["x-goog-hash"] == f"md5={body.content_md5}"
    assert (first.body.size, last.body.size) == (RANGE_SIZE, 5)


@pytest.mark.parametrize(("body", "start"), [(Body(), 0), (BODY, 10)])
def test_range_of_nothing_has_the_form_of_a_query(body: Body, start: int) -> None:
    """A range of no bytes can't be written (RFC 9110, section 14.4)."""
    sent = upload(SESSION).send_from(start, body, now=NOW)
    assert sent.headers.reveal()["content-range"] == f"bytes */{body.size}"


@pytest.mark.parametrize(
    "response",
    [
        Response(200),
        Response(200, x_goog_hash=f"md5={BODY.content_md5}", x_goog_stored_content_length="10"),
        Response(200, x_goog_hash="crc32c=AAAAAA=="),
        Response(200, json.dumps({"size": "10", "md5Hash": BODY.content_md5}).encode()),
        Response(200, b'{"size"'),
        Response(200, b'{"size": 5}'),
        Response(200, b"[" * 100_000),
    ],
)
def test_response_that_fits_the_document_is_a_success(response: Response) -> None:
    """As far as the response tells: headers of the XML API, metadata of the JSON API, or neither."""
    upload(SESSION).check_stored(response, BODY)


@pytest.mark.parametrize(
    "response",
    [
        Response(200, x_goog_hash=f"md5={Body(b'x').content_md5}"),
        Response(200, x_goog_stored_content_length="11"),
        Response(200, json.dumps({"size": "11"}).encode()),
        Response(200, json.dumps({"md5Hash": Body(b"x").content_md5}).encode()),
    ],
)
@pytest.mark.parametrize("url", [SESSION, START])
def test_response_about_another_document_is_an_error(url: str, response: Response) -> None:
    """A session that was given may have been completed with another document; a new attempt starts another one."""
    with pytest.raises(DeliveryError, match="another document") as caught:
        upload(url).check_stored(response, BODY)
    assert caught.value.retryable == (url == START)


def test_session_that_was_started_is_canceled_and_a_given_one_is_not() -> None:
    """Its owner may use it again."""
    own = upload(START).with_session(Response(201, location=SESSION))
    canceled = own.abort(now=NOW)
    assert canceled is not None
    assert (canceled.method, canceled.url.reveal(), canceled.accepts) == ("DELETE", SESSION, {204, 404, 410, 499})
    assert upload(START).abort(now=NOW) is None
    assert upload(SESSION).abort(now=NOW) is None

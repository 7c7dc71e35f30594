"""Requests of a session: each begins where the store has the last one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from attrs import evolve

from callback_sdk.documents.body import Body
from callback_sdk.errors import DeliveryError
from callback_sdk.redaction import SecretURL
from callback_sdk.targets import plan
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.targets.gcs_sessions import GCSUpload
from callback_sdk.targets.upload import Upload
from callback_sdk.transport.driver import BLOCKING, run
from callback_sdk.transport.error_responses import delivery_error
from callback_sdk.transport.response import Response
from callback_sdk.writer.sessions import SessionRequests
from tests.signedurls import google_v4

OBJECT = "https://storage.googleapis.com/results/42.json"
SESSION = f"{OBJECT}?upload_id={'A' * 60}"
START = f"{OBJECT}?{google_v4(date='20260101T110000Z', signed='host;x-goog-resumable')}"
BODY = Body(bytes(range(10)))


def response(status: int, **headers: str) -> Response:
    return Response(status=status, headers=headers, body=b"", url=SecretURL(SESSION))


def fail(upload: Upload) -> Response:
    raise AssertionError(upload)


def requests(
    send: Callable[[Upload], Response] = fail, *, part_size: int = 4, url: str = SESSION
) -> tuple[GCSUpload, SessionRequests]:
    """Return a session with small ranges, and its requests."""
    (callback,) = parse_callbacks(url)
    target = plan(callback).in_parts(BODY.size, None)
    assert isinstance(target, GCSUpload)
    target = evolve(target, part_size=part_size)
    if target.is_own:
        target = target.with_session(response(201, location=SESSION))

    async def exchange(upload: Upload) -> Response:
        return send(upload)

    return target, SessionRequests(target, BODY, exchange, delivery_error, BLOCKING.call)


def sent_range(upload: Upload) -> str:
    return upload.headers.reveal()["content-range"]


def test_ranges_follow_each_other() -> None:
    """Each begins where the last one ended; the last one completes the session."""
    _, them = requests()
    for expected, answer in [
        ("bytes 0-3/10", response(308, range="bytes=0-3")),
        ("bytes 4-7/10", response(308, range="bytes=0-7")),
        ("bytes 8-9/10", response(200)),
    ]:
        upload = run(them.next())
        assert sent_range(upload) == expected
        assert not them.is_complete
        run(them.take(upload, answer))
    assert them.is_complete


@pytest.mark.parametrize(("given", "begins"), [("bytes=0-1", 2), ("bytes=0-8", 9)])
def test_range_continues_where_the_store_says(given: str, begins: int) -> None:
    """It may have stored a part of the range, or have bytes of an earlier attempt."""
    _, them = requests()
    run(them.take(run(them.next()), response(308, range=given)))
    assert sent_range(run(them.next())).startswith(f"bytes {begins}-")


@pytest.mark.parametrize(("given", "begins"), [({}, 0), ({"range": "bytes=0-5"}, 6)])
def test_store_is_asked_after_a_failure(given: dict[str, str], begins: int) -> None:
    """A request without a response may have stored any part of its range."""
    asked: list[Upload] = []

    def send(upload: Upload) -> Response:
        asked.append(upload)
        return response(308, **given)

    _, them = requests(send)
    run(them.next())
    upload = run(them.next())
    assert [sent_range(query) for query in asked] == ["bytes */10"]
    assert asked[0].body.size == 0
    assert sent_range(upload).startswith(f"bytes {begins}-")


def test_session_whose_last_response_was_lost_is_complete() -> None:
    """The store says so as often as it is asked."""
    _, them = requests(lambda upload: response(200))
    run(them.next())
    query = run(them.next())
    assert sent_range(query) == "bytes */10"
    run(them.take(query, response(200)))
    assert them.is_complete


def test_response_without_progress_is_a_transient_failure() -> None:
    """Otherwise the same range would be sent forever."""
    _, them = requests()
    run(them.take(run(them.next()), response(308, range="bytes=0-3")))
    with pytest.raises(DeliveryError, match="stored nothing") as caught:
        run(them.take(run(them.next()), response(308, range="bytes=0-3")))
    assert caught.value.retryable


@pytest.mark.parametrize("status", [404, 410, 499])
@pytest.mark.parametrize("url", [SESSION, START])
def test_session_that_has_ended(url: str, status: int) -> None:
    """A given one can't be replaced; instead of one that was started, the next attempt starts another."""
    target, them = requests(url=url)
    upload = run(them.next())
    with pytest.raises(DeliveryError) as caught:
        run(them.take(upload, response(status)))
    assert caught.value.status == status
    assert caught.value.retryable == target.is_own == (url == START)
    assert target.has_lost_parts(caught.value)


@pytest.mark.parametrize(("status", "retryable"), [(503, True), (429, True), (403, False), (400, False)])
def test_failed_query_is_an_error_of_the_store(status: int, *, retryable: bool) -> None:
    """It is retried as any other request."""
    _, them = requests(lambda upload: response(status))
    run(them.next())
    with pytest.raises(DeliveryError) as caught:
        run(them.next())
    assert (caught.value.status, caught.value.retryable) == (status, retryable)


def test_session_of_another_document_is_not_continued() -> None:
    """It has more bytes than this document."""
    _, them = requests()
    with pytest.raises(DeliveryError, match="another document"):
        run(them.take(run(them.next()), response(308, range="bytes=0-10")))

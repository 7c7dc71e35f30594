"""Digests of large documents are computed in threads, so that the event loop of an asynchronous writer runs on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from callback_sdk import AsyncResultsWriter, JobResult, S3Signer
from callback_sdk.documents.body import Body
from callback_sdk.errors import TargetExpiredError
from callback_sdk.targets import gcs_sessions, s3_multipart
from callback_sdk.testing import ObjectStore
from callback_sdk.transport.call_threads import SMALL
from tests.checkers import gcs
from tests.checkers.gcs_sessions import UNIT

RESULT = JobResult(job_id="42", success=True, results="x" * (6 * SMALL))
HOUR = timedelta(hours=1)


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """Record the size of each digest, and whether it was computed in the main thread, that of the loop."""
    computed: list[tuple[int, bool]] = []
    original = Body._digest

    def digest(body: Body, hash_: Any) -> bytes:
        computed.append((body.size, threading.current_thread() is threading.main_thread()))
        return original(body, hash_)

    monkeypatch.setattr(Body, "_digest", digest)
    return computed


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    """Run an object store."""
    with ObjectStore() as it:
        yield it


def write(target: Any, result: JobResult = RESULT) -> None:
    """Write a document from asyncio."""

    async def main() -> None:
        async with AsyncResultsWriter() as writer:
            await writer.write(result, target)

    asyncio.run(main())


def assert_off_the_loop(places: list[tuple[int, bool]]) -> None:
    """Assert that large digests were computed, and none of them in the loop's thread."""
    large = [in_loop for size, in_loop in places if size > SMALL]
    assert large
    assert not any(large)


@pytest.mark.parametrize("kind", ["put", "post"])
def test_one_request(places: list[tuple[int, bool]], store: ObjectStore, kind: str) -> None:
    """The ETag of the response is compared with the document's MD5, which a form doesn't need before."""
    signer = S3Signer("results", client=store.client())
    write(signer.presign_put("42.json") if kind == "put" else signer.presign_post("42.json"))
    assert_off_the_loop(places)
    assert len([size for size, _ in places if size > SMALL]) == 2


def test_google_session(places: list[tuple[int, bool]], monkeypatch: pytest.MonkeyPatch) -> None:
    """The last range has the document's MD5, and the response is compared with it."""
    monkeypatch.setattr(gcs_sessions, "RANGE_SIZE", 2 * UNIT)
    with gcs.running() as google:
        url = google.sign("results", "42.json", HOUR, version="v4", headers={}, method="RESUMABLE")
        monkeypatch.setattr(Body, "sha256", property(lambda body: bytes(32)))
        write(url)
    assert_off_the_loop(places)


def test_multipart_upload(places: list[tuple[int, bool]], store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """If it was completed by an earlier process, the object's ETag is compared with the MD5s of the parts."""
    result = JobResult(job_id="42", success=True, results="x" * (6 * 1024 * 1024))
    signer = S3Signer("results", client=store.client())
    upload = signer.presign_multipart("42.json", max_bytes=10 * 1024 * 1024, part_size=5 * 1024 * 1024)
    write(upload, result)

    def check_limits(*_: Any, **__: Any) -> None:
        raise TargetExpiredError("The upload has expired.", hint="", url="")

    monkeypatch.setattr(s3_multipart.S3Multipart, "check_limits", check_limits)
    verified: list[bool] = []
    original = s3_multipart.S3Multipart.is_stored

    def is_stored(*arguments: Any) -> bool:
        verified.append(threading.current_thread() is threading.main_thread())
        return original(*arguments)

    monkeypatch.setattr(s3_multipart.S3Multipart, "is_stored", is_stored)
    places.clear()
    write(upload, result)
    assert_off_the_loop(places)
    assert verified == [False]

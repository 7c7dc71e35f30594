"""Resumable uploads to a stand-in for Google Cloud Storage, which verifies signatures and keeps sessions as documented.

No server of Google's is available, and no emulator that could be installed keeps sessions as Google documents it: see
docs/multipart_behavior.md.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from callback_sdk import JobResult, Outbox, ResultsWriter
from callback_sdk.errors import CallbackSDKError, DeliveryError
from callback_sdk.targets import gcs_sessions
from callback_sdk.writer import multipart
from tests.checkers import gcs
from tests.checkers.gcs_sessions import UNIT
from tests.faultyproxy import Failure, FaultyProxy

HOUR = timedelta(hours=1)
START = {"x-goog-resumable": "start"}
V2 = {"s3_headers": START}


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send documents in ranges of 512 KiB."""
    monkeypatch.setattr(gcs_sessions, "RANGE_SIZE", 2 * UNIT)


@pytest.fixture
def store() -> Iterator[gcs.GCS]:
    """Run the stand-in."""
    with gcs.running() as it:
        yield it


@pytest.fixture
def proxy(store: gcs.GCS) -> Iterator[FaultyProxy]:
    """Run a proxy in front of it. The host is signed, and is that of the session: the store is known by the proxy's."""
    with FaultyProxy(int(store.endpoint.rpartition(":")[2])) as it:
        store.endpoint = f"http://127.0.0.1:{it.port}"
        yield it


def sign(store: gcs.GCS, name: str, *, version: str = "v4", **headers: str) -> str:
    """Return a URL that starts a resumable upload, signed by Google's library."""
    return store.sign("results", name, HOUR, version=version, headers=headers, method="RESUMABLE")


def session(store: gcs.GCS, name: str) -> str:
    """Start a session as its owner does, and return its URI."""
    response = requests.post(sign(store, name), headers=START, timeout=30)
    assert response.status_code == 201
    return response.headers["Location"]


def result(number: int = 1, *, size: int = 5 * UNIT) -> JobResult:
    return JobResult(job_id=str(number), success=True, results={"text": chr(97 + number % 26) * size})


def digest(store: gcs.GCS, name: str) -> str:
    return hashlib.sha256(store.objects[f"results/{name}"]).hexdigest()


def ranges(proxy: FaultyProxy) -> int:
    return sum(method == "PUT" for method, _ in proxy.requests)


@pytest.mark.parametrize("size", [1, 2 * UNIT, 5 * UNIT])
@pytest.mark.parametrize(("version", "param"), [("v4", {}), ("v2", V2)])
def test_signed_url_starts_a_session_for_each_document(
    store: gcs.GCS, version: str, param: dict[str, Any], size: int
) -> None:
    """One range or several; the receipt has the SHA-256 of all."""
    with ResultsWriter() as writer:
        (receipt,) = writer.write(result(size=size), sign(store, "a b.json", version=version), param)
    assert (receipt.target_kind, receipt.sha256) == ("gcs-resumable", digest(store, "a b.json"))
    assert len(store.sessions.all) == 1


def test_signed_headers_are_sent_with_the_start(store: gcs.GCS) -> None:
    """Google rejects a start without them."""
    url = sign(store, "meta.json", **{"x-goog-meta-run": "42", "content-type": "application/json"})
    with ResultsWriter(compress="gzip") as writer:
        writer.write(result(), url, {"s3_headers": {"x-goog-meta-run": "42"}})
        with pytest.raises(DeliveryError, match="SignatureDoesNotMatch"):
            writer.write(result(), url, {"s3_headers": {"x-goog-meta-run": "43"}})
    assert store.objects["results/meta.json"][:2] == b"\x1f\x8b"


def test_given_session_takes_the_document_once(store: gcs.GCS) -> None:
    """The same document again is a success, as after a lost response; another one is an error."""
    url = session(store, "once.json")
    with ResultsWriter() as writer:
        for _ in range(2):
            (receipt,) = writer.write(result(), url)
            assert (receipt.target_kind, receipt.sha256) == ("gcs-session", digest(store, "once.json"))
        with pytest.raises(DeliveryError, match="another document"):
            writer.write(result(2), url)
    assert json.loads(store.objects["results/once.json"])["job_id"] == "1"


def test_given_session_with_bytes_of_another_document_never_becomes_a_mixture(store: gcs.GCS) -> None:
    """Google compares the MD5 of the last range with the whole object, and rejects it."""
    url = session(store, "mixed.json")
    begun = requests.put(
        url, b"x" * UNIT, headers={"Content-Range": f"bytes 0-{UNIT - 1}/{9 * UNIT}"}, timeout=30, allow_redirects=False
    )
    assert begun.status_code == 308
    with ResultsWriter(timeout=0) as writer, pytest.raises(DeliveryError):
        writer.write(result(), url)
    assert "results/mixed.json" not in store.objects


def test_given_session_is_continued_where_an_earlier_attempt_ended(store: gcs.GCS, proxy: FaultyProxy) -> None:
    """What is stored already isn't sent again, but for the first range."""
    url, whole = session(store, "continued.json"), result(size=9 * UNIT)
    proxy.choose = lambda method, path, number: Failure.LOST if number >= 4 else None
    with ResultsWriter(timeout=0) as writer:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(multipart, "MAX_REQUEST_ATTEMPTS", 1)
            with pytest.raises(DeliveryError):
                writer.write(whole, url)
        proxy.choose = lambda *_: None
        before = ranges(proxy)
        (receipt,) = writer.write(whole, url)
    assert receipt.sha256 == digest(store, "continued.json")
    # Of five ranges four were stored.
    assert ranges(proxy) - before == 2


@pytest.mark.parametrize("given", [True, False])
def test_everything_arrives_with_every_fifth_request_failing(
    store: gcs.GCS, proxy: FaultyProxy, *, given: bool
) -> None:
    """Errors, connections that break within the body, and lost responses."""
    names = [f"faults-{number}.json" for number in range(24)]
    urls = [session(store, name) if given else sign(store, name) for name in names]
    chance = random.Random(3)
    proxy.choose = lambda *_: chance.choice(list(Failure)) if chance.random() < 0.2 else None
    with ResultsWriter(timeout=60) as writer, ThreadPoolExecutor(4) as pool:
        sent = pool.map(lambda pair: writer.write(result(pair[0], size=9 * UNIT), pair[1])[0], enumerate(urls))
        receipts = list(sent)
    for name, receipt in zip(names, receipts, strict=True):
        assert digest(store, name) == receipt.sha256


def test_upload_that_fails_for_good_is_canceled(store: gcs.GCS, proxy: FaultyProxy) -> None:
    """No session stays open that no attempt continues."""
    with ResultsWriter(timeout=0) as writer, pytest.MonkeyPatch.context() as patch:
        patch.setattr(multipart, "MAX_REQUEST_ATTEMPTS", 2)
        proxy.choose = lambda method, path, number: Failure.ERROR if method == "PUT" else None
        with pytest.raises(DeliveryError, match="503"):
            writer.write(result(), sign(store, "canceled.json"))
    (canceled,) = store.sessions.all.values()
    assert canceled.is_canceled
    assert not store.objects


def test_session_that_ended_is_replaced_by_another(store: gcs.GCS, proxy: FaultyProxy) -> None:
    """By the next attempt, if the URL starts sessions."""
    gone = iter([True])

    def end(method: str, path: str, number: int) -> None:
        if number == 2 and next(gone, False):
            store.sessions.all.clear()

    proxy.choose = end
    with ResultsWriter() as writer:
        (receipt,) = writer.write(result(), sign(store, "replaced.json"))
    assert (receipt.attempts, receipt.sha256) == (2, digest(store, "replaced.json"))


def test_given_session_that_ended_is_an_error_that_says_so(store: gcs.GCS) -> None:
    """After a week, or when it was canceled (googleapis/gcs-resumable-upload#15)."""
    for how in ("expired", "canceled"):
        url = session(store, f"{how}.json")
        if how == "expired":
            store.sessions.all.clear()
        else:
            requests.delete(url, timeout=30)
        with ResultsWriter() as writer, pytest.raises(DeliveryError) as caught:
            writer.write(result(), url)
        assert (caught.value.status, caught.value.retryable) == (404 if how == "expired" else 499, False)
        assert "start another one" in caught.value.hint


WORKER = """
import sys
from pathlib import Path
from callback_sdk import JobResult, ResultsWriter
from callback_sdk.targets import gcs_sessions
gcs_sessions.RANGE_SIZE = 512 * 1024
with ResultsWriter() as writer:
    writer.write(JobResult(job_id="1", success=True, results=Path(sys.argv[1])), sys.stdin.readline().strip())
"""


def start(file: Path, url: str) -> subprocess.Popen[str]:
    """Start a process that writes results from a file."""
    process = subprocess.Popen([sys.executable, "-c", WORKER, str(file)], stdin=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write(f"{url}\n")
    process.stdin.close()
    return process


@pytest.mark.parametrize("given", [True, False])
def test_writer_killed_at_any_request_leaves_no_partial_object(
    store: gcs.GCS, proxy: FaultyProxy, tmp_path: Path, *, given: bool
) -> None:
    """Before and after each request: the object is whole or isn't there, and the next process completes it."""
    file = tmp_path / "results.json"
    file.write_text(json.dumps("r" * 5 * UNIT))
    whole = set[str]()
    for step, after in itertools.product(range(3 if given else 4), (False, True)):
        name = f"killed-{step}-{after}.json"
        url = session(store, name) if given else sign(store, name)
        first, process = len(proxy.requests), start(file, url)

        def kill(number: int, process: subprocess.Popen[str] = process, at: int = first + step) -> None:
            if number == at:
                os.kill(process.pid, signal.SIGKILL)
                process.wait(60)

        if after:
            proxy.after = kill
        else:
            proxy.choose = lambda method, path, number, kill=kill: kill(number)
        process.wait(120)
        found = store.objects.get(f"results/{name}")
        if found is not None:
            whole.add(hashlib.sha256(found).hexdigest())
        proxy.choose, proxy.after = lambda *_: None, lambda number: None
        with start(file, url) as again:
            assert again.wait(120) == 0
        whole.add(digest(store, name))
    assert len(whole) == 1


def test_outbox_delivers_through_sessions(store: gcs.GCS, tmp_path: Path) -> None:
    """Each attempt of a signed URL starts its own session."""
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        assert outbox.write(result(), sign(store, "outbox.json")).receipts
    assert json.loads(store.objects["results/outbox.json"])["job_id"] == "1"


def test_session_appears_in_no_error_and_no_log(
    store: gcs.GCS, proxy: FaultyProxy, caplog: pytest.LogCaptureFixture
) -> None:
    """Its URI is a credential, and comes from the store (google-cloud-cpp#16467)."""
    caplog.set_level(logging.DEBUG)
    chance, said = random.Random(1), []
    with ResultsWriter(timeout=0) as writer, pytest.MonkeyPatch.context() as patch:
        patch.setattr(multipart, "MAX_REQUEST_ATTEMPTS", 2)
        for number in range(12):
            proxy.choose = lambda method, path, number: chance.choice([*Failure, None]) if method == "PUT" else None
            try:
                said += [receipt.to_dict() for receipt in writer.write(result(), sign(store, f"{number}.json"))]
            except CallbackSDKError as error:
                said += [error, vars(error), error.__cause__, error.__context__]
    text = f"{said}{caplog.text}{[vars(record) for record in caplog.records]}"
    assert store.sessions.all
    assert not [upload_id for upload_id in store.sessions.all if upload_id in text]
    assert "X-Goog-Signature" not in text

"""callback_sdk.writer.refresh"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from attrs import evolve

from callback_sdk import JobResult, PresignedPrefix, ResultsWriter, S3Signer
from callback_sdk.errors import (
    AddressNotAllowedError,
    DeliveryError,
    RefreshError,
    TargetExpiredError,
)
from callback_sdk.testing import Fault, ObjectStore
from callback_sdk.transport.guard import AddressGuard
from callback_sdk.writer import delivery
from tests.clocks import clock
from tests.issuers import SECRET, RunningIssuer, issuing
from tests.rawserver import RawServer, answer, read_request
from tests.signedurls import v4

MARKER = "MARKER9c2e"
RESULT = JobResult(job_id="42", success=True, results={"life": 7.5})
NEW = v4(date="20900101T000000Z", expires=3600, key="new")
EXPIRED = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    """Run a store that takes any signature."""
    with ObjectStore() as store:
        yield store


@pytest.fixture
def writer() -> Iterator[ResultsWriter]:
    """Make one attempt."""
    with ResultsWriter(timeout=timedelta(0), webhook_secrets=[SECRET]) as writer:
        yield writer


def expired(base: str) -> str:
    return f"{base}/bucket/old.json?{v4(expires=60, key=MARKER)}"


def refresh(issuer: RunningIssuer | str, **headers: str) -> dict[str, Any]:
    return {"refresh": {"url": getattr(issuer, "url", issuer), "headers": headers}}


def test_an_expired_target_is_replaced(store: ObjectStore, writer: ResultsWriter) -> None:
    """Nothing is sent to the old one; the document, and the id that the issuer is told, stay."""
    with issuing(lambda _: {"url": f"{store.endpoint_url}/bucket/new.json?{NEW}"}) as issuer:
        param = {"run": np.int64(7), **refresh(issuer, Authorization=f"Bearer {MARKER}")}
        (receipt,) = writer.write(RESULT, expired(store.endpoint_url), param)
    assert [request.path.partition("?")[0] for request in store.requests] == ["/bucket/new.json"]
    assert store.objects["bucket/new.json"].document["callback_param"] == {"run": 7}
    assert receipt.url == f"{store.endpoint_url}/bucket/new.json?***"
    (asked,) = issuer.requests
    assert (asked["job_id"], asked["output"]) == ("42", None)
    assert asked["delivery_id"].startswith("msg_")
    assert issuer.headers[0]["authorization"] == f"Bearer {MARKER}"
    assert issuer.verified == [issuer.headers[0]["webhook-id"]]
    assert issuer.verified[0].startswith("refresh_")


def test_a_target_that_its_store_rejects_as_expired_is_replaced(writer: ResultsWriter) -> None:
    """The store's clock counts, and temporary credentials end before the URL does."""

    def script(connection: socket.socket, number: int) -> None:
        while True:
            head, _ = read_request(connection)
            if not head:
                return
            is_new = b"/new" in head.partition(b"\r\n")[0]
            connection.sendall(answer("200 OK") if is_new else answer("403 Forbidden", body=EXPIRED))

    with RawServer(script) as server, issuing(lambda _: {"url": f"{server.url}/bucket/new?{NEW}"}) as issuer:
        (receipt,) = writer.write(RESULT, f"{server.url}/bucket/old?{NEW}", refresh(issuer))
        assert receipt.url == f"{server.url}/bucket/new?***"
        with pytest.raises(DeliveryError, match="403 AccessDenied") as caught:
            writer.write(RESULT, f"{server.url}/bucket/old?{NEW}")
    assert (caught.value.expired, caught.value.retryable) == (True, False)


@pytest.mark.parametrize(
    ("found", "problem", "retryable"),
    [
        ((503, b""), "answered 503 to the POST", True),
        ((404, b""), "answered 404 to the POST", False),
        ((403, b'{"code": "not_yours", "message": "no such run"}'), "403 not_yours to the POST: no such run", False),
        ((410, b"no more"), "answered 410 to the POST: no more", False),
        ((302, b""), "answered 302 to the POST", False),
        ((200, b""), "something other than a JSON object with a url", True),
        ((200, b"[" * 60_000), "something other than a JSON object with a url", True),
        ((200, b'{"url": "' + b"x" * 70_000), "something other than a JSON object with a url", True),
        ((200, b'{"url": ' + b"1" * 5_000 + b"}"), "something other than a JSON object with a url", True),
        ([], "something other than a JSON object with a url", True),
        ({"param": {}}, "something other than a JSON object with a url", True),
        ({"url": 7}, "something other than a JSON object with a url", True),
        ({"url": f"https://x.example/?{MARKER}", "extra": 1}, "a target that can't be used", True),
        ({"url": f"ftp://x.example/k?{MARKER}"}, "scheme ftp", True),
        ({"url": f"https://bucket.s3.amazonaws.com/k?{v4(expires=60, key=MARKER)}"}, "expired at", True),
        ({"url": "https://bucket.s3.amazonaws.com/k"}, "neither a signature nor s3_fields", True),
        ({"url": "https://example.org/x", "param": {"run": 2}}, "differs from the one in the document", True),
        ({"url": "https://example.org/x", "param": {"refresh": 7}}, "refresh of https://example.org/x is an int", True),
    ],
)
def test_an_answer_without_a_usable_target_is_an_error(
    writer: ResultsWriter, found: Any, problem: str, retryable: bool
) -> None:
    """It says what the issuer answered, without a credential. What may be mended is tried again later."""
    with issuing(lambda _: found) as issuer, pytest.raises(RefreshError) as caught:
        writer.write(RESULT, expired("https://bucket.s3.amazonaws.com"), {"run": 1, **refresh(issuer)})
    assert problem in caught.value.message
    assert caught.value.retryable is retryable
    assert caught.value.hint
    assert MARKER not in str(caught.value)
    assert len(issuer.requests) == 1


@pytest.mark.parametrize(
    "url", [f"ftp://x.example/{MARKER}", f"https://x.example/{MARKER}/k", f"https://{MARKER}.example"]
)
def test_an_answer_that_quotes_a_credential_is_an_error_without_it(writer: ResultsWriter, url: str) -> None:
    """The path of a target is shown in receipts, logs and pages."""
    with issuing(lambda _: {"url": url}) as issuer:
        param = refresh(issuer, Authorization=f"Bearer {MARKER}")
        with pytest.raises(RefreshError) as caught:
            writer.write(RESULT, expired("https://bucket.s3.amazonaws.com"), param)
    assert MARKER.lower() not in str(caught.value).lower()
    assert caught.value.retryable


def test_an_attempt_asks_once(writer: ResultsWriter) -> None:
    """A new target that is rejected as expired, too, is left to the next attempt."""

    def script(connection: socket.socket, number: int) -> None:
        while read_request(connection)[0]:
            connection.sendall(answer("403 Forbidden", body=EXPIRED))

    with (
        RawServer(script) as server,
        issuing(lambda _: {"url": f"{server.url}/bucket/new?{NEW}"}) as issuer,
        pytest.raises(DeliveryError, match="403 AccessDenied") as caught,
    ):
        writer.write(RESULT, f"{server.url}/bucket/old?{NEW}", refresh(issuer))
    assert (caught.value.retryable, caught.value.transient) == (True, False)
    assert len(issuer.requests) == 1


def test_a_write_asks_a_bounded_number_of_times(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often its attempts fail in between."""
    monkeypatch.setattr(delivery, "MAX_REFRESHES", 3)
    numbers = iter(range(100))

    def script(connection: socket.socket, number: int) -> None:
        while read_request(connection)[0]:
            # Each new target fails twice: for a moment, and then as expired.
            failure = answer("503 Unavailable") if next(numbers) % 2 == 0 else answer("403 Forbidden", body=EXPIRED)
            connection.sendall(failure)

    monkeypatch.setattr("callback_sdk.writer.retrying.backoff", lambda attempts: timedelta(0))
    with (
        RawServer(script) as server,
        issuing(lambda _: {"url": f"{server.url}/bucket/new?{NEW}"}) as issuer,
        ResultsWriter(timeout=30) as writer,
        pytest.raises(DeliveryError, match="403 AccessDenied"),
    ):
        writer.write(RESULT, expired(server.url), refresh(issuer))
    assert len(issuer.requests) == 3


def test_retries_use_the_new_target(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The issuer isn't asked again for a target that only failed for a moment."""
    monkeypatch.setattr("callback_sdk.writer.retrying.backoff", lambda attempts: timedelta(0))
    with issuing(lambda _: {"url": f"{store.endpoint_url}/bucket/new.json?{NEW}"}) as issuer, ResultsWriter() as writer:
        store.inject_fault(Fault.ERROR, times=3)
        (receipt,) = writer.write(RESULT, expired(store.endpoint_url), refresh(issuer))
    assert (receipt.attempts, len(issuer.requests)) == (4, 1)


def test_the_guard_protects_against_issuers(store: ObjectStore) -> None:
    """Neither the request nor the new target may reach a private address."""
    target = expired("https://bucket.s3.amazonaws.com")
    with issuing(lambda _: {"url": f"{store.endpoint_url}/bucket/new.json?{NEW}"}) as issuer:
        with ResultsWriter(guard=AddressGuard(), timeout=0) as writer:
            with pytest.raises(AddressNotAllowedError):
                writer.write(RESULT, target, refresh(issuer))
            assert issuer.requests == []
        port = issuer.url.partition("127.0.0.1:")[2].partition("/")[0]
        guard = AddressGuard(allow_networks=[f"127.0.0.1/32:{port}"])
        with ResultsWriter(guard=guard, timeout=0) as writer, pytest.raises(RefreshError, match="not public") as caught:
            writer.write(RESULT, target, refresh(issuer))
        # The stored target stays, and the schedule asks again.
        assert caught.value.retryable
    assert len(issuer.requests) == 1
    assert store.requests == ()


def test_a_new_issuer_replaces_the_old_one(store: ObjectStore, writer: ResultsWriter) -> None:
    """Its credentials may have a lifetime of their own."""
    with issuing(lambda _: {"url": f"{store.endpoint_url}/bucket/new.json?{NEW}"}) as second:
        answer_ = {"url": expired(store.endpoint_url), "param": refresh(second)}
        with issuing(lambda _: answer_) as first, pytest.raises(RefreshError, match="expired at"):
            writer.write(RESULT, expired(store.endpoint_url), refresh(first))
    # An answer is not followed to another issuer within one attempt.
    assert (len(first.requests), second.requests) == (1, [])


def test_an_issuer_that_is_away_is_tried_again(writer: ResultsWriter) -> None:
    """The error names its host, and is retryable as that of any other connection."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(RefreshError, match=f"127.0.0.1:{port}") as caught:
        writer.write(RESULT, expired("https://bucket.s3.amazonaws.com"), refresh(f"http://127.0.0.1:{port}/"))
    assert caught.value.retryable
    assert caught.value.transient


def test_without_an_issuer_an_expired_target_is_an_error(writer: ResultsWriter) -> None:
    """Nothing is sent."""
    with pytest.raises(TargetExpiredError):
        writer.write(RESULT, expired("https://bucket.s3.amazonaws.com"))


def test_targets_are_replaced_independently(store: ObjectStore, writer: ResultsWriter) -> None:
    """One issuer's failure holds up no other target."""
    with (
        issuing(lambda _: {"url": f"{store.endpoint_url}/bucket/new.json?{NEW}"}) as good,
        issuing(lambda _: (404, b"")) as bad,
        pytest.raises(RefreshError) as caught,
    ):
        writer.write(RESULT, [(expired(store.endpoint_url), refresh(issuer)) for issuer in (good, bad)])
    assert [receipt.url for receipt in caught.value.receipts] == [f"{store.endpoint_url}/bucket/new.json?***"]


def expired_prefix(store: ObjectStore) -> PresignedPrefix:
    """Sign a prefix that expired half an hour ago."""
    signer = S3Signer("bucket", client=store.client())
    with clock(signer, datetime.now(timezone.utc) - timedelta(hours=1)):
        return signer.presign_prefix("old/", expires=timedelta(minutes=30))


def test_the_issuer_of_a_prefix_is_asked_once_for_all_files(store: ObjectStore, writer: ResultsWriter) -> None:
    """For the document, and its answer is used for all files."""
    new = S3Signer("bucket", client=store.client()).presign_prefix("new/")
    result = evolve(RESULT, outputs={f"{number:02}.txt": b"x" for number in range(50)})
    old = expired_prefix(store)
    with issuing(lambda _: {"url": new.url, "param": new.callback_param}) as issuer:
        (receipt,) = writer.write(result, old.url, {**old.callback_param, **refresh(issuer)})
    (asked,) = issuer.requests
    assert (asked["job_id"], asked["output"]) == ("42", None)
    assert len(receipt.outputs) == 50
    names = {*(f"{number:02}.txt" for number in range(50)), "result.json"}
    assert {*store.objects} == {f"bucket/new/{name}" for name in names}
    listed = store.objects["bucket/new/result.json"].document["results"]["outputs"]
    assert {entry["url"] for entry in listed.values()} == {
        f"{store.endpoint_url}/bucket/new/{number:02}.txt" for number in range(50)
    }


@pytest.mark.parametrize(
    ("issue", "problem"),
    [
        (lambda _: (404, b""), "404"),
        (lambda _: {"url": f"https://bucket.s3.amazonaws.com/new?{NEW}"}, "takes the document alone"),
    ],
)
def test_files_are_not_sent_without_a_new_prefix(
    store: ObjectStore, writer: ResultsWriter, issue: Any, problem: str
) -> None:
    """A failure of the issuer is not asked for again by each file, nor a target that takes one object used for many."""
    old = expired_prefix(store)
    result = evolve(RESULT, outputs={f"{number}.txt": b"x" for number in range(20)})
    with issuing(issue) as issuer, pytest.raises(RefreshError, match=problem):
        writer.write(result, old.url, {**old.callback_param, **refresh(issuer)})
    assert [asked["output"] for asked in issuer.requests] == [None]
    assert store.objects == {}

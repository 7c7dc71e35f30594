"""Common mistakes of other libraries, each reproduced, and avoided by this package."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
import requests
from moto.server import ThreadedMotoServer

from callback_sdk import JobResult, ResultsWriter, S3Signer
from callback_sdk.errors import DeliveryError
from callback_sdk.testing import SeaweedFS
from tests.rawserver import RawServer, answer, read_request

RESULT = JobResult(job_id="42", success=True, results={"a": 1})
KEYS = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "SECRET"}


@pytest.fixture
def writer() -> Iterator[ResultsWriter]:
    """Write with one attempt."""
    with ResultsWriter(timeout=timedelta(0)) as writer:
        yield writer


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1"])
def test_boto3_presigns_with_version_2_on_the_global_host(region: str) -> None:
    """S3Signer signs with Version 4 on the regional host even with such a client."""
    client = boto3.client("s3", region_name=region, **KEYS)
    theirs = client.generate_presigned_url("put_object", Params={"Bucket": "results-bucket", "Key": "k"})
    assert "AWSAccessKeyId=" in theirs
    assert urlsplit(theirs).hostname == "results-bucket.s3.amazonaws.com"
    ours = S3Signer("results-bucket", client=client).presign_put("k").url
    assert "X-Amz-Signature=" in ours
    assert urlsplit(ours).hostname == f"results-bucket.s3.{region}.amazonaws.com"


def test_url_signed_with_temporary_credentials_expires_with_them() -> None:
    """URL and form contain the session token, by which they can be recognized as temporary."""
    client = boto3.client("s3", region_name="eu-central-1", aws_session_token="TOKEN", **KEYS)
    signer = S3Signer("results-bucket", client=client)
    assert "X-Amz-Security-Token=TOKEN" in signer.presign_put("k").url
    assert signer.presign_post("k").fields["x-amz-security-token"] == "TOKEN"


@pytest.mark.parametrize(("status", "becomes"), [(301, "PUT"), (302, "GET"), (303, "GET")])
def test_requests_loses_the_body_on_a_redirect(writer: ResultsWriter, status: int, becomes: str) -> None:
    """requests returns 200 without a result; the writer raises an error, and sends nothing else."""
    seen: list[tuple[str, int]] = []

    def script(connection: socket.socket, number: int) -> None:
        while True:
            head, body = read_request(connection)
            if not head:
                return
            method, path, _ = head.decode().split(" ", 2)
            seen.append((f"{method} {path.partition('?')[0]}", len(body)))
            moved = path.startswith("/moved")
            connection.sendall(answer("200 OK") if moved else answer(f"{status} Go", "Location: /moved"))

    with RawServer(script) as server:
        assert requests.put(f"{server.url}/k", b"the result", timeout=60).status_code == 200
        assert seen == [("PUT /k", 10), (f"{becomes} /moved", 0)]
        seen.clear()
        with pytest.raises(DeliveryError, match=str(status)):
            writer.write(RESULT, f"{server.url}/k")
        assert [line for line, _ in seen] == ["POST /k"]
        writer.close()


def test_libraries_write_the_signed_url_into_errors_and_logs(
    writer: ResultsWriter, caplog: pytest.LogCaptureFixture
) -> None:
    """requests has it in the exception, urllib3 in the log at DEBUG; the writer in neither."""
    caplog.set_level(logging.DEBUG)
    # Whatever starts a service in this process has silenced it.
    caplog.set_level(logging.DEBUG, logger="urllib3")

    def fail(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(answer("500 No"))

    with RawServer(fail) as server:
        url = f"{server.url}/k?token=MARKER"
        requests.put(url, b"", timeout=60)
        assert "MARKER" in caplog.text
        caplog.clear()
        with pytest.raises(DeliveryError) as caught:
            writer.write(RESULT, url)
    with pytest.raises(requests.ConnectionError, match="MARKER"):
        requests.put("http://nowhere.invalid/k?token=MARKER", b"", timeout=60)
    caplog.clear()
    with pytest.raises(DeliveryError) as unknown:
        writer.write(RESULT, "http://nowhere.invalid/k?token=MARKER")
    assert "MARKER" not in caplog.text + str(caught.value) + str(unknown.value) + repr(caught.value.__cause__)


def test_moto_proves_nothing_about_signatures(seaweedfs: SeaweedFS, bucket: str) -> None:
    """It accepts a tampered PUT that a verifying store rejects."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        client = boto3.client("s3", region_name="us-east-1", endpoint_url=f"http://{host}:{port}", **KEYS)
        client.create_bucket(Bucket=bucket)
        for place, taken in [(client, True), (seaweedfs.client(), False)]:
            url = S3Signer(bucket, client=place).presign_put("mine.json").url.replace("mine.json", "yours.json")
            assert requests.put(url, b"{}", timeout=60).ok is taken
        client.close()
    finally:
        server.stop()


def test_put_without_a_length_is_never_sent(writer: ResultsWriter) -> None:
    """AWS answers 411 to a chunked PUT; a result from a stream has its length counted first."""
    heads: list[bytes] = []

    def script(connection: socket.socket, number: int) -> None:
        head, body = read_request(connection)
        heads.append(head)
        json.loads(body)
        connection.sendall(answer("200 OK"))

    class Stream:
        """A stream that can't seek, such as a pipe."""

        def __init__(self) -> None:
            self.left = [b"[1,", b"2]"]

        def seekable(self) -> bool:
            return False

        def read(self, size: int = -1) -> bytes:
            return self.left.pop(0) if self.left and size else b""

    results: Any = Stream()
    with RawServer(script) as server:
        writer.write(JobResult(job_id="1", success=True, results=results), server.url)
    head = heads[0].lower()
    assert b"content-length: " in head
    assert b"transfer-encoding" not in head

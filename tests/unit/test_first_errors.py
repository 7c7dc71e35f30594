"""Mistakes of the first ten minutes: each is a typed error that says what to do next, before anything is sent."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from callback_sdk import Client, JobResult, Outbox, ResultsWriter, S3Signer
from callback_sdk.errors import (
    CallbackSDKError,
    ConfigurationError,
    DeliveryError,
    EncodingError,
    FeaturesError,
    InvalidTargetError,
    OutputError,
    ParametersError,
    ServiceConnectionError,
    ServiceError,
    SigningError,
    TargetError,
)
from callback_sdk.testing import WebhookReceiver
from tests.rawserver import RawServer
from tests.tlsserver import Authority

URL = "https://example.org/done"
RESULT = JobResult(job_id="42", success=True, results={"a": 1})
NOWHERE = "http://127.0.0.1:9/api/v2"

MISTAKES: list[tuple[Callable[..., object], type[CallbackSDKError], str]] = [
    (lambda: JobResult(job_id=42, success=True), EncodingError, "job_id is 42, of type int. Give a string"),
    (lambda: JobResult(job_id="42", success="yes"), EncodingError, "success is of type str. Give True or False."),
    (
        lambda: JobResult(job_id="42", success=False, error=ValueError("x")),
        EncodingError,
        "error is of type ValueError. Give the message as a string, such as error=str(exception).",
    ),
    (lambda: ResultsWriter(timeout="x"), ConfigurationError, "timeout is of type str. Give seconds, or a timedelta"),
    (
        lambda: ResultsWriter(webhook_secrets="whsec_x"),
        ConfigurationError,
        "webhook_secrets is of type str, not a list. Give a list",
    ),
    (lambda: ResultsWriter().write({"a": 1}, URL), EncodingError, "not a JobResult. Wrap it: JobResult(job_id="),
    (lambda: ResultsWriter().write(RESULT, None), TargetError, "Give the job's callback URL"),
    (
        lambda: ResultsWriter().write(RESULT, "example.org/x"),
        InvalidTargetError,
        "has no scheme. Give the complete URL",
    ),
    (
        lambda: ResultsWriter().write(RESULT, "s3://bucket/key"),
        InvalidTargetError,
        "Presign the object instead: S3Signer(bucket).presign_put(key).",
    ),
    (lambda: Outbox(Path(__file__).parent), ConfigurationError, "is not a file. Check the path."),
    (
        lambda: signer().presign_put("/runs/42.json"),
        SigningError,
        "The key '/runs/42.json' begins with a slash. Give it without the slash: 'runs/42.json'.",
    ),
    (lambda: signer().presign_post("/"), SigningError, "The key '/' begins with a slash. Give it without the slash."),
    (lambda: next(signer().presign_put_many(["/a"])), SigningError, "without the slash: 'a'."),
    (
        lambda: signer().presign_put("s3://results-bucket/runs/42.json"),
        SigningError,
        "is the URL of an object. Give the key alone",
    ),
    (
        lambda: S3Signer("s3://results-bucket/runs"),
        SigningError,
        "is a URL or a path. Give the bucket's name alone, such as 'results-bucket', and the rest as the key.",
    ),
    (lambda: S3Signer("results-bucket/runs"), SigningError, "such as 'results-bucket'"),
    (lambda: signer().presign_put("a", expires="6h"), SigningError, "expires is of type str. Give seconds"),
    (lambda: Client(NOWHERE, token="t", timeout="x"), ConfigurationError, "timeout is of type str. Give seconds"),
    (
        lambda: run(parameters="nope.json"),
        ParametersError,
        "The file of parameters nope.json doesn't exist; its absolute path is",
    ),
    (lambda: run(parameters=["a"]), ParametersError, "Parameters are a dict, or the path of a JSON file."),
    (lambda: run(parameters=True), ParametersError, "Parameters of type bool can't be sent."),
    (lambda: run(features="nope.parquet"), FeaturesError, "The file of features nope.parquet doesn't exist"),
    (lambda: Client(NOWHERE, token="t").get_task(42), ServiceError, "42 is not an id. Give the id as a string."),
]


def signer() -> S3Signer:
    return S3Signer("results-bucket", region="eu-central-1")


def run(features: object = None, parameters: object = None) -> object:
    """Submit a task to a service that doesn't run."""
    return Client(NOWHERE, token="t", retries=0).run_algorithm("mean", features or {"a": [1]}, parameters)


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Give boto3 credentials, and the test an empty directory."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("mistake", "kind", "said"), MISTAKES)
def test_a_mistake_is_a_typed_error(mistake: Callable[..., object], kind: type[CallbackSDKError], said: str) -> None:
    """Its text names the value, and has the correct form."""
    with pytest.raises(kind) as caught:
        mistake()
    assert said in str(caught.value)


def test_parameters_may_be_the_third_argument() -> None:
    """As in most clients. Here they are checked, and then nobody answers."""
    with pytest.raises(ServiceConnectionError):
        run(parameters={"digits": 2})


@pytest.fixture(params=["alerts", "closes"])
def tls_port(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    """Run a server with TLS, which answers plain HTTP with an alert, or closes the connection."""
    context = Authority(tmp_path).context("127.0.0.1")

    def serve(connection: socket.socket, _: int) -> None:
        if request.param == "alerts":
            context.wrap_socket(connection, server_side=True)
        else:
            connection.recv(10)

    with RawServer(serve) as server:
        yield server.port


def test_http_at_a_port_of_https(tls_port: int) -> None:
    """Writer and client say which scheme is right."""
    with pytest.raises(DeliveryError, match="https://"):
        ResultsWriter(timeout=0).write(RESULT, f"http://127.0.0.1:{tls_port}/done")
    with pytest.raises(ServiceConnectionError, match="https://"):
        Client(f"http://127.0.0.1:{tls_port}/api/v2", token="t", retries=0).get_task("42")


def test_https_at_a_port_of_http() -> None:
    """Both say that the server doesn't use TLS there."""
    with WebhookReceiver() as receiver:
        url = receiver.url.replace("http://", "https://")
        with pytest.raises(DeliveryError, match="does not speak TLS at this port"):
            ResultsWriter(timeout=0).write(RESULT, url)
        with pytest.raises(ServiceConnectionError, match="Give a URL with http://"):
            Client(url, token="t", retries=0).get_task("42")


def test_results_that_name_a_file_are_a_warning(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """The string is delivered as it is, because it may be the result; a path delivers the content."""
    file = tmp_path / "big.json"
    file.write_text('{"a": 1}')
    with WebhookReceiver() as receiver, ResultsWriter() as writer, caplog.at_level(logging.WARNING):
        for results in ("big.json", "no.json", "a\0b", "x" * 100_000, file):
            writer.write(JobResult(job_id="42", success=True, results=results), receiver.url)
        documents = [one.document["results"] for one in receiver.wait_for(5)]
    assert documents == ["big.json", "no.json", "a\0b", "x" * 100_000, {"a": 1}]
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "give results=pathlib.Path('big.json')" in record.getMessage()


def test_the_hint_of_tables_has_all_extensions() -> None:
    """Those that `JobResult.outputs` writes."""
    with WebhookReceiver() as receiver, pytest.raises(OutputError) as caught:
        ResultsWriter().write(JobResult(job_id="1", success=True, outputs={"a.bin": object()}), receiver.url)
    for extension in (".parquet", ".csv", ".arrow", ".feather"):
        assert extension in caught.value.hint

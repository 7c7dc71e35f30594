"""Traces: a task is one, from the client over the service and its threads to the webhook."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from callback_sdk import Client, JobResult, ResultsWriter, S3Signer, tracing
from callback_sdk.errors import DeliveryError, MissingExtraError
from callback_sdk.testing import ObjectStore, WebhookReceiver
from tests.conftest import missing_server
from tests.topology import Topology, imported_at_startup, wait_until

DATA = {"a": [1, 2, 3]}
OTHERS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """Record the spans of this process, from here to its end: a provider can't be taken back."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def own(exporter: InMemorySpanExporter) -> InMemorySpanExporter:
    """Return the spans recorded in this process."""
    exporter.clear()
    return exporter


class Traced:
    """A service that records spans."""

    def __init__(self, folder: Path, *, recording: bool = True, broker: str | None = None) -> None:
        self._spans = folder / "spans"
        self._spans.mkdir()
        environment = {"SPANS": str(self._spans)} if recording else {}
        engine = "embedded" if broker is None else "celery"
        self.topology = Topology(
            folder,
            "traced_jobs:registry",
            engine=engine,
            broker=broker,
            settings={"PASS_ENV": "SPANS"},
            environment=environment,
            paths=[imported_at_startup("span_files", folder / "site")] if recording else [],
        )

    def client(self) -> Client:
        return self.topology.client()

    def spans(self, job_id: str | None = None) -> list[dict[str, Any]]:
        lines = [line for path in self._spans.iterdir() for line in path.read_text().splitlines()]
        found = [json.loads(line) for line in lines if line.endswith("}")]
        return [span for span in found if job_id in (None, span["attributes"].get("callback_sdk.job_id"))]

    def wait_for(self, name: str, job_id: str) -> dict[str, Any]:
        wait_until(lambda: any(span["name"] == name for span in self.spans(job_id)), what=name)
        return next(span for span in self.spans(job_id) if span["name"] == name)


@pytest.fixture(scope="module", params=["embedded", "celery"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    """Run one service with each engine."""
    try:
        broker = request.getfixturevalue("callback_valkey").url if request.param == "celery" else None
    except MissingExtraError as error:
        missing_server(str(error))
    traced = Traced(tmp_path_factory.mktemp("traced"), broker=broker)
    with traced.topology:
        yield traced


def trace_of(span: dict[str, Any]) -> str:
    return str(span["context"]["trace_id"]).removeprefix("0x")


def above(span: dict[str, Any], spans: list[dict[str, Any]]) -> list[str]:
    """Return the ids of all spans that a span is below of."""
    parents = {other["context"]["span_id"]: other["parent_id"] for other in spans}
    found = [span["parent_id"]]
    while (parent := parents.get(found[-1])) is not None:
        found.append(parent)
    return found


def test_a_task_is_one_trace(service: Traced, own: InMemorySpanExporter, webhook: WebhookReceiver) -> None:
    """Client, service, run and delivery share the trace; the webhook gets the delivery's span as parent."""
    with service.client() as client:
        task = client.run_algorithm("sum", DATA, callbacks=[f"{webhook.url}?token=hidden", f"{webhook.url}/other"])
    first, second = webhook.wait_for(2)
    (submit,) = own.get_finished_spans()
    trace_id = f"{submit.context.trace_id:032x}"
    run = service.wait_for("callback_sdk.run", task.job_id)
    service.wait_for("callback_sdk.deliver", task.job_id)
    wait_until(lambda: len(service.spans(task.job_id)) == 3)
    deliveries = [span for span in service.spans(task.job_id) if span["name"] == "callback_sdk.deliver"]
    (accept,) = [
        span for span in service.spans() if span["name"] == "callback_sdk.accept" and trace_of(span) == trace_id
    ]
    assert submit.name == "callback_sdk.submit"
    # FastAPI may put spans of its own in between.
    assert f"0x{submit.context.span_id:016x}" in above(accept, service.spans())
    assert {trace_of(span) for span in (run, *deliveries)} == {trace_id}
    assert {span["parent_id"] for span in (run, *deliveries)} == {accept["context"]["span_id"]}
    told = {tuple(request.headers["traceparent"].split("-")[1:3]) for request in (first, second)}
    assert told == {(trace_id, span["context"]["span_id"].removeprefix("0x")) for span in deliveries}
    assert run["attributes"]["callback_sdk.outcome"] == "succeeded"
    assert {span["attributes"]["callback_sdk.url"] for span in deliveries} == {
        f"{webhook.url}?***",
        f"{webhook.url}/other",
    }
    assert "hidden" not in json.dumps(service.spans())


def test_a_batch_is_one_trace(service: Traced, own: InMemorySpanExporter, webhook: WebhookReceiver) -> None:
    """Each of its tasks runs in it."""
    with service.client() as client:
        tasks = client.run_algorithm_batch("sum", [DATA, DATA], callbacks=[webhook.url], progress=False)
    webhook.wait_for(2)
    (submit,) = own.get_finished_spans()
    runs = [service.wait_for("callback_sdk.run", task.job_id) for task in tasks]
    assert {trace_of(run) for run in runs} == {f"{submit.context.trace_id:032x}"}


def test_a_failed_run_is_a_failed_span(service: Traced, own: InMemorySpanExporter, webhook: WebhookReceiver) -> None:
    """Without the untrusted error message of the algorithm; the delivery isn't affected."""
    with service.client() as client:
        task = client.run_algorithm("broken", DATA, callbacks=[webhook.url])
    webhook.wait_for(1)
    run = service.wait_for("callback_sdk.run", task.job_id)
    assert run["status"] == {"status_code": "ERROR", "description": "failed"}
    assert service.wait_for("callback_sdk.deliver", task.job_id)["status"]["status_code"] == "UNSET"


@pytest.mark.parametrize("header", [OTHERS, "00-" + "0" * 32 + "-b7ad6b7169203331-01", "x" * 5000, ""])
def test_any_client_may_send_a_trace_context(service: Traced, webhook: WebhookReceiver, header: str) -> None:
    """The header is that of W3C Trace Context; an invalid one starts a new trace."""
    address = (service.topology.data / "address").read_text().strip()
    token = (service.topology.data / "token").read_text().strip()
    answer = requests.post(
        f"{address}/api/v2/algorithms/sum/predict",
        headers={"Authorization": f"Bearer {token}", "traceparent": header},
        files={"features": json.dumps(DATA).encode()},
        data={"callback_url": webhook.url},
        timeout=60,
    )
    assert answer.status_code == 202
    (request,) = webhook.wait_for(1)
    run = service.wait_for("callback_sdk.run", answer.json()["job_id"])
    assert (trace_of(run) == OTHERS.split("-")[1]) == (header == OTHERS)
    assert request.headers["traceparent"].split("-")[1] == trace_of(run)


def test_a_service_without_tracing_propagates_the_context(
    tmp_path: Path, own: InMemorySpanExporter, webhook: WebhookReceiver
) -> None:
    """The service records no spans, but the receiver gets the client's trace."""
    traced = Traced(tmp_path, recording=False)
    with traced.topology, traced.client() as client:
        client.run_algorithm("sum", DATA, callbacks=[webhook.url])
        (request,) = webhook.wait_for(1)
    (submit,) = own.get_finished_spans()
    said = f"00-{submit.context.trace_id:032x}-{submit.context.span_id:016x}-{submit.context.trace_flags:02x}"
    assert request.headers["traceparent"] == said


def test_a_writer_joins_the_trace_that_its_worker_is_in(own: InMemorySpanExporter, webhook: WebhookReceiver) -> None:
    """Also in its threads, with one span per attempt; object stores get no unsigned header."""
    webhook.respond(503, headers={"Retry-After": "0"})
    with ObjectStore() as store, ResultsWriter() as writer:
        put = S3Signer("results", client=store.client()).presign_put("42.json")
        with trace.get_tracer("worker").start_as_current_span("mine") as mine:
            writer.write(JobResult(job_id="42", success=True, results={}), [put, webhook.url])
        (stored,) = store.requests
    spans = [span for span in own.get_finished_spans() if span.name == "callback_sdk.deliver"]
    assert {span.context.trace_id for span in spans} == {mine.get_span_context().trace_id}
    assert sorted(span.attributes["callback_sdk.status"] for span in spans) == [200, 200, 503]
    assert "traceparent" not in stored.headers
    assert len({request.headers["traceparent"] for request in webhook.requests}) == 2


def test_a_refused_delivery_tells_no_credential(own: InMemorySpanExporter, webhook: WebhookReceiver) -> None:
    """The span has the error's own text, and no event with a stack trace."""
    webhook.respond(410)
    with ResultsWriter() as writer, pytest.raises(DeliveryError) as caught:
        writer.write(JobResult(job_id="42", success=True, results={}), f"{webhook.url}?token=hidden")
    (span,) = own.get_finished_spans()
    assert span.status.description == str(caught.value)
    assert span.events == ()
    assert "hidden" not in span.to_json()


WITHOUT = """
import sys
sys.modules["opentelemetry"] = None
from callback_sdk import tracing
with tracing.span("run", parent="{parent}", n=1) as span:
    span.set(more=2)
    span.fail("why")
    print(span.traceparent, tracing.current())
"""


@pytest.mark.parametrize(("parent", "told"), [(OTHERS, OTHERS), ("nonsense", None)])
def test_nothing_is_needed_for_nothing(parent: str, told: str | None) -> None:
    """Where OpenTelemetry is not installed, the parent is all that there is."""
    code = WITHOUT.format(parent=parent)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.split() == [str(told), "None"]


def test_nothing_is_imported_before_it_is_used() -> None:
    """The package alone loads nothing of it."""
    code = "import sys; from callback_sdk import Client, ResultsWriter; print('opentelemetry' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.strip() == "False"


def test_the_header_follows_the_specification() -> None:
    """Lower case, not only zeros, and not version ff."""
    assert tracing.valid_traceparent(OTHERS) == OTHERS
    no_span = re.sub("-b7.*-", f"-{'0' * 16}-", OTHERS)
    for wrong in (OTHERS.upper(), "ff" + OTHERS[2:], OTHERS + "\n", OTHERS[:-1], no_span):
        assert tracing.valid_traceparent(wrong) is None

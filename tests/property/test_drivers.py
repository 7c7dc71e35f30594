"""The same inputs have the same outcome with each driver: for each kind of target, and any sequence of faults."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from attrs import define
from hypothesis import given, settings
from hypothesis import strategies as st

from callback_sdk import AsyncResultsWriter, JobResult, ResultsWriter, S3Signer, Timeouts
from callback_sdk.errors import CallbackSDKError
from callback_sdk.testing import Fault, ObjectStore, WebhookReceiver
from callback_sdk.transport.call_threads import SMALL
from callback_sdk.transport.driver import awaiting
from callback_sdk.transport.multiplexing import MULTIPLEXING, multiplexed
from callback_sdk.writer.writer import WriterBase
from tests.eventloops import LOOPS, execute

RESULTS = {"small": {"life": [7.5, None]}, "large": {"text": "x" * 2 * SMALL}}

OPTIONS: dict[str, Any] = {
    "timeout": 20,
    "attempt_timeouts": Timeouts(connect=20, read=timedelta(seconds=0.4), attempt=20),
}

STATUSES = (400, 403, 404, 412, 429, 500, 503)

Plan = tuple[Any, dict[str, Any]]


@define
class Servers:
    """The receivers of one write.

    Attributes:
        store: The object store.
        webhook: The webhook receiver.
    """

    store: ObjectStore
    webhook: WebhookReceiver

    @property
    def signer(self) -> S3Signer:
        """A signer for the store."""
        return S3Signer("b", client=self.store.client())


KINDS: dict[str, Callable[[Servers], Plan]] = {
    "put": lambda servers: (servers.signer.presign_put("put.json"), {}),
    "post": lambda servers: (servers.signer.presign_post("post.json", fields={"acl": "private"}), {}),
    "webhook": lambda servers: (servers.webhook.url, {}),
    "unsigned": lambda servers: (f"{servers.store.endpoint_url}/b/k?X-Amz-Signature=1", {}),
    "several": lambda servers: ([servers.signer.presign_put("one.json"), servers.webhook.url, "http://h/\ud800"], {}),
    "files": lambda servers: (servers.signer.presign_prefix("run/"), {"a.bin": b"a" * SMALL, "b/c.txt": b"c"}),
}

STEPS = st.one_of(st.sampled_from(Fault), st.sampled_from(STATUSES), st.just("late"))


@contextmanager
def serving(steps: list[Any]) -> Iterator[Servers]:
    """Start servers that answer with these steps, and carry out all further requests."""
    with ObjectStore() as store, WebhookReceiver() as webhook:
        for server in (store, webhook):
            for step in steps:
                if isinstance(step, Fault):
                    server.inject_fault(step, retry_after=timedelta(0))
                elif step == "late":
                    server.respond(200, delay=timedelta(seconds=1))
                else:
                    server.respond(step, headers={"Retry-After": "0"}, body=b"<Error><Code>Slow</Code></Error>")
        yield Servers(store, webhook)


def outcome(kind: str, size: str, steps: list[Any], write: Callable[[JobResult, Any], Any]) -> dict[str, Any]:
    """Return all that a caller and the receivers see, without times, ports, and what depends on them."""
    with serving(steps) as servers:
        target, outputs = KINDS[kind](servers)
        result = JobResult(job_id="42", success=True, results=RESULTS[size], outputs=outputs or None)
        seen: dict[str, Any] = {}
        try:
            receipts = write(result, target)
        except CallbackSDKError as error:
            receipts = list(error.receipts)
            seen |= {"type": type(error).__name__, "text": plain(str(error)), "hint": plain(error.hint or "")}
            seen |= {name: getattr(error, name, None) for name in ("status", "code", "retryable", "attempts")}
        seen["receipts"] = [
            (one.target_kind, plain(one.url), one.status, one.attempts, sorted(one.outputs)) for one in receipts
        ]
        # Documents have the store's URL, if they list files, or are too large for the webhook.
        seen["documents"] = [plain(request.body.decode()) for request in servers.webhook.accepted]
        seen["objects"] = {name: plain(stored.body.decode()) for name, stored in servers.store.objects.items()}
        seen["requests"] = [len(servers.store.requests), len(servers.webhook.requests)]
        return seen


def plain(text: str) -> str:
    return re.sub(r"127\.0\.0\.1:\d+", "host", text)


@pytest.fixture(autouse=True, scope="module")
def no_pauses() -> Iterator[None]:
    """Retry at once."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("retrying", "multipart"):
            patch.setattr(f"callback_sdk.writer.{module}.backoff", lambda attempts: timedelta(0))
        yield


def blocking(result: JobResult, target: Any) -> Any:
    with ResultsWriter(**OPTIONS) as writer:
        return writer.write(result, target)


class ThreadedWriter(ResultsWriter):
    """Sends to several targets in threads, each with the blocking driver."""

    _concurrently = WriterBase._concurrently


class MultiplexedWriter(WriterBase):
    """Sends to a single target with the driver that sends to several in one thread."""

    _driver = MULTIPLEXING

    write = awaiting(ResultsWriter.write)
    close = awaiting(ResultsWriter.close)


def threaded(result: JobResult, target: Any) -> Any:
    with ThreadedWriter(**OPTIONS) as writer:
        return writer.write(result, target)


def multiplexing(result: JobResult, target: Any) -> Any:
    writer = MultiplexedWriter(**OPTIONS)
    try:
        return multiplexed(writer.write(result, target))
    finally:
        multiplexed(writer.close())


def bulk(result: JobResult, target: Any) -> Any:
    with ResultsWriter(**OPTIONS) as writer:
        (outcome,) = writer.write_many([(result, target)])
    if outcome.error is not None:
        raise outcome.error
    return outcome.receipts


def asynchronous(loop: str) -> Callable[[JobResult, Any], Any]:
    async def main(result: JobResult, target: Any) -> Any:
        async with AsyncResultsWriter(**OPTIONS) as writer:
            return await writer.write(result, target)

    return lambda result, target: execute(main(result, target), loop)


WAYS = {
    "one thread": multiplexing,
    "writer": blocking,
    "write_many": bulk,
    **{loop: asynchronous(loop) for loop in LOOPS},
}


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from([kind for kind in KINDS if kind != "files"]),
    size=st.sampled_from(sorted(RESULTS)),
    steps=st.lists(STEPS, max_size=4),
    way=st.sampled_from(sorted(WAYS)),
)
def test_all_drivers_have_the_same_outcome(kind: str, size: str, steps: list[Any], way: str) -> None:
    """Receipts, errors with their hints, stored objects, and the number of requests."""
    assert outcome(kind, size, steps, threaded) == outcome(kind, size, steps, WAYS[way])


@settings(max_examples=10, deadline=None)
@given(step=st.sampled_from([None, 403, 500, *Fault]), way=st.sampled_from(sorted(WAYS)))
def test_output_files_have_the_same_outcome(step: Any, way: str) -> None:
    """They are sent in parallel, so all of them have the same fault."""
    steps = [] if step is None else [step] * (2 if isinstance(step, Fault) else 20)
    one = outcome("files", "small", steps, threaded)
    other = outcome("files", "small", steps, WAYS[way])
    for seen in (one, other):
        # Which of the files has a fault that isn't for all depends on their order.
        del seen["requests"]
    assert one == other

"""Any exception at one target: callers get errors of this package, and other targets keep their receipts."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from callback_sdk import JobResult, Outbox, ResultsWriter, tracing
from callback_sdk.documents.body import Body
from callback_sdk.errors import CallbackSDKError, EncodingError, OutboxError
from callback_sdk.outbox.database import OutboxDatabase
from callback_sdk.outbox.files import ResultFiles
from callback_sdk.outbox.owner import ClaimOwner
from callback_sdk.outbox.store import OutboxStore
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.targets.webhook import Webhook
from callback_sdk.testing import WebhookReceiver
from callback_sdk.transport import error_responses
from callback_sdk.transport.driver import run
from callback_sdk.transport.http import HTTPSender
from callback_sdk.transport.retry import next_delay
from callback_sdk.writer import attempts
from callback_sdk.writer.attempts import DeliveryAttempts
from callback_sdk.writer.delivery import PreparedDelivery
from callback_sdk.writer.writer import attempts_of

RESULT = JobResult(job_id="42", success=True, results={"life": [7.5]})
MARKER = "MARKER9c2e"


class Strange(Exception):
    """An exception that no library raises."""


RAISED = [Strange(MARKER), OSError(5, MARKER)]


@pytest.fixture(params=RAISED, ids=lambda error: type(error).__name__)
def error(request: pytest.FixtureRequest) -> Exception:
    """Give one exception after another."""
    return request.param


def breaks(error: Exception, original: Callable[..., Any], concerns: Callable[..., bool]) -> Callable[..., Any]:
    """Return a function that raises for one target, and otherwise calls the original."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if concerns(*args, **kwargs):
            raise error
        return original(*args, **kwargs)

    return call


def is_bad(*args: Any, **kwargs: Any) -> bool:
    """Return whether a call refers to the failing target."""
    values = [*args, *kwargs.values()]
    return any("/bad" in str(part) for value in values for part in (value, *_urls(value)))


def _urls(value: Any) -> Iterator[Any]:
    for path in (("url",), ("callback", "url"), ("target", "callback", "url")):
        found = value
        for name in path:
            found = getattr(found, name, None)
        yield found


STEPS = [
    (attempts, "plan"),
    (Webhook, "object_url"),
    (attempts, "build_delivery"),
    (PreparedDelivery, "upload"),
    (Webhook, "request"),
    (HTTPSender, "exchange"),
    (HTTPSender, "_exchange"),
    (error_responses, "delivery_error"),
]


@pytest.mark.parametrize(("owner", "name"), STEPS, ids=[name for _, name in STEPS])
def test_failure_at_one_target_keeps_the_receipts_of_others(
    monkeypatch: pytest.MonkeyPatch, webhook: WebhookReceiver, owner: Any, name: str, error: Exception
) -> None:
    """At any step, with any exception, for the first, second or last target."""
    monkeypatch.setattr(owner, name, breaks(error, getattr(owner, name), is_bad))
    if name == "delivery_error":
        monkeypatch.setattr(Webhook, "accepts", frozenset())
        monkeypatch.setattr(attempts, "is_there_already", lambda upload, answer: "/bad" not in str(upload.url))
    for place in range(3):
        urls = [f"{webhook.url}/{number}" for number in range(2)]
        urls.insert(place, f"{webhook.url}/bad?token={MARKER}")
        with ResultsWriter(timeout=timedelta(0)) as made, pytest.raises(CallbackSDKError) as caught:
            made.write(RESULT, urls)
        assert [receipt.url.rsplit("/")[-1] for receipt in caught.value.receipts] == ["0", "1"]
        assert MARKER not in str(caught.value)


@pytest.mark.parametrize(("owner", "name"), STEPS[2:], ids=[name for _, name in STEPS[2:]])
def test_attempt_raises_only_errors_of_this_package(
    monkeypatch: pytest.MonkeyPatch, webhook: WebhookReceiver, owner: Any, name: str, error: Exception
) -> None:
    """Unexpected errors may be transient, so outbox and service retry them."""
    webhook.respond(503)
    monkeypatch.setattr(owner, name, breaks(error, getattr(owner, name), is_bad))
    (callback,) = parse_callbacks(f"{webhook.url}/bad?token={MARKER}")
    with ResultsWriter() as made, pytest.raises(CallbackSDKError) as caught:
        run(attempts_of(made).attempt(RESULT, callback, delivery_id="msg_1"))
    assert next_delay(caught.value, 1) is not None
    assert MARKER not in str(caught.value)


@contextmanager
def _broken_span(*args: Any, **kwargs: Any) -> Iterator[Any]:
    yield tracing.Span(None)
    raise Strange(MARKER)


def _refuse(record: logging.LogRecord) -> bool:
    raise Strange(MARKER)


@pytest.mark.parametrize("what", ["span", "log"])
def test_failure_after_the_delivery_keeps_the_receipt(
    monkeypatch: pytest.MonkeyPatch, webhook: WebhookReceiver, what: str
) -> None:
    """Exceptions of an exporter of traces or a filter of logs have no effect."""
    if what == "span":
        monkeypatch.setattr(tracing, "span", _broken_span)
    else:
        monkeypatch.setattr(attempts.logger, "filters", [_refuse])
        monkeypatch.setattr(attempts.logger, "level", logging.INFO)
    with ResultsWriter() as made:
        receipts = made.write(RESULT, [webhook.url, f"{webhook.url}/2"])
    assert len(receipts) == len(webhook.accepted) == 2


class Hostile:
    """A value that raises on every use.

    Args:
        error: What it raises.
    """

    def __init__(self, error: Exception) -> None:
        object.__setattr__(self, "_error", error)

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            return Hostile
        raise object.__getattribute__(self, "_error")


@pytest.mark.parametrize("kind", [ResultsWriter, Outbox])
def test_value_that_cannot_be_read_is_an_encoding_error(
    tmp_path: Path, webhook: WebhookReceiver, kind: type, error: Exception
) -> None:
    """Results may be of anybody's classes; nothing is sent, and the cause is kept."""
    made = kind(tmp_path / "outbox") if kind is Outbox else kind()
    with made, pytest.raises(EncodingError) as caught:
        made.write(JobResult(job_id="1", success=True, results=Hostile(error)), webhook.url)
    assert MARKER not in str(caught.value)
    assert not webhook.requests


@pytest.mark.parametrize("kind", [ResultsWriter, Outbox])
@pytest.mark.parametrize("result", [{"job_id": "1"}, None, "1"])
def test_result_that_is_none_is_an_encoding_error(tmp_path: Path, kind: type, result: Any) -> None:
    """A dict in the place of a JobResult is a frequent mistake."""
    made = kind(tmp_path / "outbox") if kind is Outbox else kind()
    with made, pytest.raises(EncodingError, match="not a JobResult"):
        made.write(result, "http://127.0.0.1:9/")


OUTBOX_STEPS = [
    *((OutboxStore, name) for name in ("add", "pending_send", "record_receipt", "entries", "reclaim")),
    *((ResultFiles, name) for name in ("store", "body", "remove")),
    *((ClaimOwner, name) for name in ("acquire_lock", "is_gone", "remove_lock_file")),
    *((OutboxDatabase, name) for name in ("read", "transaction", "check", "is_gone")),
    (Body, "read"),
    (DeliveryAttempts, "prepare"),
    (DeliveryAttempts, "attempt"),
]


@pytest.mark.parametrize(("owner", "name"), OUTBOX_STEPS, ids=[name for _, name in OUTBOX_STEPS])
def test_outbox_raises_only_errors_of_this_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, webhook: WebhookReceiver, owner: Any, name: str, error: Exception
) -> None:
    """At any step; afterwards everything is delivered once."""
    with Outbox(tmp_path / "outbox") as outbox:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, breaks(error, getattr(owner, name), lambda *args, **kwargs: True))
            with contextlib.suppress(CallbackSDKError):
                outbox.write(RESULT, [f"{webhook.url}/1", f"{webhook.url}/2"])
        outbox.write(RESULT, [f"{webhook.url}/1", f"{webhook.url}/2"])
        outbox.redeliver()
        outbox.run(until_empty=True)
        assert [entry.status for entry in outbox.entries()] == ["delivered", "delivered"]
    assert sorted({request.path for request in webhook.accepted}) == ["/webhook/1", "/webhook/2"]
    assert len(webhook.accepted) == 2


def test_receipts_are_in_the_error_when_the_file_disappears_meanwhile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, webhook: WebhookReceiver
) -> None:
    """Proof that targets have the result survives the outbox itself."""
    path = tmp_path / "outbox"
    attempt = DeliveryAttempts.attempt

    async def delete(self: DeliveryAttempts, *args: Any, **kwargs: Any) -> Any:
        receipt = await attempt(self, *args, **kwargs)
        path.unlink(missing_ok=True)
        return receipt

    outbox = Outbox(path)
    with monkeypatch.context() as patch:
        patch.setattr(DeliveryAttempts, "attempt", delete)
        with pytest.raises(OutboxError, match="was deleted or replaced") as caught:
            outbox.write(RESULT, webhook.url)
    assert len(caught.value.receipts) == len(webhook.accepted) == 1
    with pytest.raises(OutboxError, match="was deleted or replaced"):
        outbox.entries()
    assert outbox.entries() == []
    outbox.close()

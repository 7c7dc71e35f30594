"""Receivers without a framework, and who may send to them."""

from __future__ import annotations

import json
import logging
import traceback
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from callback_sdk import webhooks
from callback_sdk.documents.body import Body
from callback_sdk.errors import ConfigurationError
from callback_sdk.receivers import MemoryIds, ReceivedEvent, ReceivedResult, Receiver, Reply

SECRET, OTHER = webhooks.generate_secret(), webhooks.generate_secret()
DOCUMENT = {"job_id": "42", "status": "Finished", "callback_param": {}, "success": True, "results": 7}
BODY = json.dumps(DOCUMENT).encode()


def signed(body: bytes = BODY, *, secret: str = SECRET, webhook_id: str = "msg_1", age: float = 0) -> dict[str, str]:
    now = datetime.now(timezone.utc) - timedelta(seconds=age)
    return webhooks.sign([webhooks.decode_secret(secret)], webhook_id, now, Body(body))


def message(reply: Reply) -> str:
    return str(json.loads(reply.body)["error"])


def test_a_result_is_handed_over() -> None:
    """With its id; the reply is empty."""
    found: list[ReceivedResult] = []
    assert Receiver(found.append, secrets=SECRET).receive(signed(), BODY) == Reply(200)
    (result,) = found
    assert (result.job_id, result.results, result.delivery_id, result.document) == ("42", 7, "msg_1", BODY)


def test_secrets_may_change_without_a_restart() -> None:
    """A function is asked for each request."""
    valid = [SECRET]
    receiver = Receiver(lambda result: None, secrets=lambda: valid)
    assert receiver.receive(signed(secret=OTHER), BODY).status == 401
    valid.append(OTHER)
    assert receiver.receive(signed(secret=OTHER), BODY).status == 200
    valid[:] = [OTHER]
    assert receiver.receive(signed(webhook_id="msg_2"), BODY).status == 401


def test_headers_authenticate_instead_of_a_signature_or_besides() -> None:
    """All of them must be there, in any letter case of their names."""
    headers = {"Authorization": "Bearer t0ken", "X-Api-Key": "k"}
    receiver = Receiver(lambda result: None, secrets=None, headers=headers)
    assert receiver.receive({"authorization": "Bearer t0ken", "x-api-key": "k"}, BODY).status == 200
    for wrong in ({}, {"authorization": "Bearer t0ken"}, {"authorization": "Bearer", "x-api-key": "k"}):
        assert receiver.receive(wrong, BODY).status == 401
    both = Receiver(lambda result: None, secrets=SECRET, headers={"Authorization": "é"})
    assert both.receive({**signed(), "authorization": "é"}, BODY).status == 200
    assert both.receive(signed(), BODY).status == 401
    assert both.receive({"authorization": "é"}, BODY).status == 401


def test_the_tolerance_of_the_clock_can_be_set() -> None:
    """A sender's clock may differ by more than five minutes."""
    assert Receiver(print, secrets=SECRET).receive(signed(age=400), BODY).status == 401
    assert Receiver(lambda result: None, secrets=SECRET, tolerance=500).receive(signed(age=400), BODY).status == 200


@pytest.mark.parametrize(
    "options",
    [
        {"secrets": None},
        {"secrets": []},
        {"secrets": "whsec_short"},
        {"secrets": [SECRET, 7]},
        {"secrets": webhooks.generate_secret("v1a")},
        {"secrets": None, "headers": {}},
        {"secrets": None, "headers": {"Authorization": ""}},
        {"secrets": SECRET, "max_bytes": 0},
        {"secrets": SECRET, "tolerance": -1},
    ],
    ids=["nothing", "no secrets", "short", "type", "secret key", "no headers", "empty", "max_bytes", "tolerance"],
)
def test_invalid_arguments_are_errors(options: dict[str, Any]) -> None:
    """Above all a receiver that anyone could send to."""
    with pytest.raises(ConfigurationError) as caught:
        Receiver(print, **options)
    assert caught.value.hint


def test_a_failed_handler_is_logged_and_called_again(caplog: pytest.LogCaptureFixture) -> None:
    """Neither its error nor the document is in the reply."""
    calls: list[str] = []

    def handle(result: ReceivedResult) -> None:
        calls.append(result.job_id)
        if len(calls) == 1:
            raise RuntimeError("database is away")

    receiver = Receiver(handle, secrets=SECRET)
    first = receiver.receive(signed(), BODY)
    assert (first.status, message(first)) == (500, "The handler failed.")
    assert "database is away" in caplog.text
    assert [receiver.receive(signed(), BODY).status for _ in range(2)] == [200, 200]
    assert len(calls) == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, StopIteration])
def test_an_interrupted_handler_is_no_success(error: type[BaseException]) -> None:
    """The delivery is accepted again."""
    ids = MemoryIds()

    def handle(result: ReceivedResult) -> None:
        raise error

    receiver = Receiver(handle, secrets=SECRET, ids=ids)
    if issubclass(error, Exception):
        assert receiver.receive(signed(), BODY).status == 500
    else:
        with pytest.raises(error):
            receiver.receive(signed(), BODY)
    assert Receiver(lambda result: None, secrets=SECRET, ids=ids).receive(signed(), BODY).status == 200


class BrokenIds(MemoryIds):
    """Ids whose storage is away for some calls."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        for name in names:
            setattr(self, name, self._fail)

    def _fail(self, delivery: str, token: str) -> Any:
        raise OSError("the storage of ids is away")


def test_without_its_ids_nothing_is_handled(caplog: pytest.LogCaptureFixture) -> None:
    """It might be a duplicate: the sender tries again."""
    found: list[ReceivedResult] = []
    reply = Receiver(found.append, secrets=SECRET, ids=BrokenIds("claim")).receive(signed(), BODY)
    assert (reply.status, reply.headers["retry-after"], found) == (503, "5", [])
    assert "is away" in caplog.text


def test_what_was_handled_is_acknowledged_even_if_that_is_not_recorded(caplog: pytest.LogCaptureFixture) -> None:
    """An error would make the sender repeat it, and it would be handled again."""
    found: list[ReceivedResult] = []
    receiver = Receiver(found.append, secrets=SECRET, ids=BrokenIds("complete"))
    assert receiver.receive(signed(), BODY).status == 200
    assert "could not be recorded" in caplog.text
    receiver = Receiver(lambda result: 1 / 0, secrets=SECRET, ids=BrokenIds("release"))
    assert receiver.receive(signed(), BODY).status == 500


def test_a_function_tells_what_the_handler_has_stored() -> None:
    """Its handler stores the id in the transaction of its work, so nothing else has to remember it."""
    stored: dict[str, Any] = {}

    def handle(result: ReceivedResult) -> None:
        stored[result.delivery_id] = result.results

    receiver = Receiver(handle, secrets=SECRET, ids=lambda result: result.delivery_id in stored)
    assert receiver.receive(signed(), BODY).status == 200
    stored["msg_1"] = "unchanged"
    assert receiver.receive(signed(), BODY).status == 200
    assert stored == {"msg_1": "unchanged"}
    del stored["msg_1"]
    assert receiver.receive(signed(), BODY).status == 200
    assert stored == {"msg_1": 7}


def test_a_function_that_fails_makes_the_sender_try_again() -> None:
    """And a copy isn't kept from being handled."""
    answers = iter([OSError(), False])

    def is_handled(result: ReceivedResult) -> bool:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    receiver = Receiver(lambda result: None, secrets=SECRET, ids=is_handled)
    assert [receiver.receive(signed(), BODY).status for _ in range(2)] == [503, 200]


def test_a_copy_that_arrives_during_the_handler_is_rejected_for_now() -> None:
    """Here from within the handler, with each kind of ids."""
    for ids in (None, MemoryIds(), lambda result: False):
        replies: list[Reply] = []

        def handle(result: ReceivedResult) -> None:
            replies.append(receiver.receive(signed(), BODY))  # noqa: B023 - of this round

        receiver = Receiver(handle, secrets=SECRET, ids=ids)
        assert receiver.receive(signed(), BODY).status == 200
        assert [(reply.status, reply.headers["retry-after"]) for reply in replies] == [(503, "5")]


def test_coroutine_functions_are_not_taken_for_done(caplog: pytest.LogCaptureFixture) -> None:
    """Called without an event loop they would do nothing, and the result would be lost."""

    async def handle(result: ReceivedResult) -> None:
        raise AssertionError("never runs")

    receiver = Receiver(handle, secrets=SECRET)
    assert receiver.receive(signed(), BODY).status == 500
    assert "coroutine function" in caplog.text


def test_events_have_a_handler_of_their_own(caplog: pytest.LogCaptureFixture) -> None:
    """A failure of it is told to the sender; without one, events are acknowledged."""
    event = {**DOCUMENT, "status": "In Progress", "success": None, "progress": {"fraction": 0.5}, "sequence": 1}
    body = json.dumps(event).encode()
    found: list[ReceivedEvent] = []
    assert Receiver(print, secrets=SECRET, on_event=found.append).receive(signed(body), body).status == 200
    assert [(one.job_id, one.sequence, one.progress.fraction) for one in found] == [("42", 1, 0.5)]
    assert Receiver(print, secrets=SECRET).receive(signed(body), body).status == 200
    failing = Receiver(print, secrets=SECRET, on_event=lambda event: 1 / 0)
    assert failing.receive(signed(body), body).status == 500


def test_rejections_are_logged_without_the_document(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever runs the receiver has to see why its results don't arrive."""
    caplog.set_level(logging.WARNING)
    receiver = Receiver(print, secrets=SECRET)
    receiver.receive({}, b"s3cret")
    receiver.receive(signed(b"s3cret"), b"s3cret")
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("headers", [None, 7, [("webhook-id", "x")], {b"webhook-id": b"x"}, {1: 2}])
def test_no_headers_raise(headers: Any) -> None:
    """Whatever a framework passes."""
    assert Receiver(print, secrets=SECRET).receive(headers, BODY).status == 401


def test_tracebacks_show_no_secret() -> None:
    """They are printed with local variables by some tools."""
    for options in ({"secrets": [SECRET, "whsec_bad"]}, {"secrets": SECRET, "headers": {"Authorization": 7}}):
        with pytest.raises(ConfigurationError) as caught:
            Receiver(print, **options)  # type: ignore[arg-type]
        shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
        of_package = shown[shown.rindex("callback_sdk") :]
        assert SECRET not in of_package


def test_receivers_show_no_secret() -> None:
    """Neither in their repr nor in those of their parts."""
    receiver = Receiver(print, secrets=SECRET, headers={"Authorization": "Bearer t0ken"})
    shown = repr(vars(receiver)) + repr(vars(receiver._authentication))
    assert SECRET not in shown
    assert "t0ken" not in shown


def test_ids_are_escaped_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """They are the sender's, and must not forge lines of the log."""
    body = json.dumps({**DOCUMENT, "job_id": "42\n\x1b[31mERROR forged"}).encode()
    assert Receiver(lambda result: 1 / 0, secrets=SECRET).receive(signed(body), body).status == 500
    assert [("\n" in message, "\x1b" in message) for message in caplog.messages] == [(False, False)]

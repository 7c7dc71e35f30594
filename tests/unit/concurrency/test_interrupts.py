"""callback_sdk.concurrency.interrupts: what signal handlers raise, wherever it comes, passes through deliveries."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial, wraps
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from billiard.pool import soft_timeout_sighandler
from rq.timeouts import JobTimeoutException, UnixSignalDeathPenalty

from callback_sdk import JobResult, Outbox, ResultsWriter
from callback_sdk.concurrency.interrupts import is_interrupt, uninterrupted
from callback_sdk.testing import WebhookReceiver

RESULT = JobResult(job_id="42", success=True, results={"life": [7.5, float("nan")]})
PACKAGE = str(Path(__file__).parents[3] / "callback_sdk")


class Limit(Exception):
    """The time limit of a program."""


def raise_limit(number: int, frame: FrameType | None) -> None:
    """Be a handler that raises an error."""
    raise Limit


def raise_timeout(number: int, frame: FrameType | None) -> None:
    """Be a handler that raises the exception of a socket's timeout."""
    raise TimeoutError("the program's own limit")


class Handlers:
    """Handlers of other kinds."""

    def method(self, number: int, frame: FrameType | None) -> None:
        """Be a method."""
        raise Limit

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Be an object."""
        raise Limit


def decorated(function: Callable[..., None]) -> Callable[..., None]:
    """Wrap a function."""

    @wraps(function)
    def wrapper(*args: Any) -> None:
        function(*args)

    return wrapper


def deep(number: int, frame: FrameType | None) -> None:
    """Be a handler that calls another function."""
    raise_limit(number, frame)


@contextmanager
def handling(handler: Any) -> Iterator[None]:
    """Install a handler of SIGUSR1."""
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def work() -> None:
    """Be interrupted within a function."""
    signal.raise_signal(signal.SIGUSR1)


@pytest.mark.parametrize(
    "handler",
    [raise_limit, raise_timeout, Handlers().method, Handlers(), partial(raise_limit), decorated(raise_limit), deep],
    ids=["function", "built-in error", "method", "object", "partial", "decorated", "deep"],
)
def test_what_a_handler_raises_is_an_interrupt(handler: Any) -> None:
    """Any kind of handler, and any exception."""
    with handling(handler), pytest.raises((Limit, TimeoutError)) as caught:
        work()
    with handling(handler):
        assert is_interrupt(caught.value)


def test_errors_are_no_interrupts() -> None:
    """The same exceptions that no handler has raised, also if they pass a function that a handler has called."""

    def fail() -> None:
        raise TimeoutError

    seen: list[BaseException] = []
    with handling(raise_timeout):
        try:
            fail()
        except uninterrupted(OSError) as error:
            seen.append(error)
    assert [type(error) for error in seen] == [TimeoutError]


def test_errors_of_other_functions_with_the_decorator_of_a_handler_are_no_interrupts() -> None:
    """They share the code of its wrapper."""

    @decorated
    def resolve(host: str) -> None:
        raise OSError(host)

    seen: list[Exception] = []
    with handling(decorated(raise_limit)):
        try:
            resolve("example.org")
        except uninterrupted(OSError) as error:
            seen.append(error)
    assert len(seen) == 1


def test_an_error_within_a_handler_is_caught_there() -> None:
    """Code that a handler calls is not interrupted by the handler itself."""
    seen: list[Exception] = []

    def handler(number: int, frame: FrameType | None) -> None:
        try:
            int("a")
        except uninterrupted(ValueError) as error:
            seen.append(error)

    with handling(handler):
        work()
    assert len(seen) == 1


def test_ctrl_c_is_an_interrupt() -> None:
    """It is no error, however it comes."""
    assert is_interrupt(KeyboardInterrupt())
    assert not is_interrupt(Limit())


@contextmanager
def celery_limit() -> Iterator[type[Exception]]:
    """Install the handler of Celery's soft time limit."""
    with handling(soft_timeout_sighandler):
        yield SoftTimeLimitExceeded


@contextmanager
def rq_limit() -> Iterator[type[Exception]]:
    """Install the handler of RQ's time limit for SIGUSR1."""
    with handling(UnixSignalDeathPenalty(3600, JobTimeoutException).handle_death_penalty):
        yield JobTimeoutException


@contextmanager
def own_limit() -> Iterator[type[Exception]]:
    """Install a handler as programs have it."""
    with handling(raise_timeout):
        yield TimeoutError


class Interruption:
    """Sends SIGUSR1 before a line of the package; lines are counted as they run."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.place = ""

    def trace(self, frame: FrameType, event: str, _: object) -> Any:
        """Be a trace function."""
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                self.place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                signal.raise_signal(signal.SIGUSR1)
        return self.trace

    def __enter__(self) -> Interruption:
        self.previous = sys.gettrace()
        sys.settrace(self.trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self.previous)

    @property
    def has_come(self) -> bool:
        """Whether the signal was sent."""
        return bool(self.place)


LIMITS = [celery_limit, rq_limit, own_limit]
STEP = 23
"""Lines between two interruptions."""


# A coroutine that is interrupted before it is awaited, or a destructor.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("limit", LIMITS)
def test_time_limit_passes_through_a_write(limit: Any, webhook: WebhookReceiver) -> None:
    """It is neither retried nor reported as another error, wherever it comes."""
    webhook.respond(503)
    caught_elsewhere, number = [], 0
    with limit() as kind, ResultsWriter(timeout=timedelta(0)) as writer:
        while True:
            number += STEP
            with Interruption(number) as interruption:
                try:
                    writer.write(RESULT, webhook.url)
                except kind:
                    continue
                except Exception as error:  # noqa: BLE001 - which one is asserted
                    if interruption.has_come:
                        caught_elsewhere.append((interruption.place, error))
            if not interruption.has_come:
                break
    assert number > 20 * STEP
    assert caught_elsewhere == []


# A coroutine that is interrupted before it is awaited, or a destructor.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("limit", LIMITS)
def test_time_limit_loses_nothing_of_an_outbox(limit: Any, webhook: WebhookReceiver, tmp_path: Path) -> None:
    """What is stored is sent by the next run, and no failed attempt is counted."""
    other, number = [], 0
    with limit() as kind, Outbox(tmp_path / "outbox") as outbox:
        while True:
            number += STEP * 3
            result = JobResult(job_id=str(number), success=True, results=number)
            with Interruption(number) as interruption:
                try:
                    outbox.write(result, webhook.url)
                except kind:
                    pass
                except Exception as error:  # noqa: BLE001 - which one is asserted
                    other.append((interruption.place, error))
            if not interruption.has_come:
                break
            pending = [entry for entry in outbox.entries(status="pending") if entry.job_id == result.job_id]
            assert all(entry.error is None for entry in pending), interruption.place
        outbox.run(until_empty=True)
        sent = {entry.job_id for entry in outbox.entries(status="delivered")}
    assert number > 20 * STEP
    assert other == []
    assert sent >= {str(number)}

"""Hand a delivery over to its handler once: claim, handle, complete; or release, when the handler fails.

The steps are a generator of calls that may block. A blocking driver makes them one after the other (`run`), and that of
an event loop in threads.
"""

from __future__ import annotations

import inspect
import logging
import uuid
from collections.abc import Callable, Generator
from enum import Enum
from functools import partial
from typing import Any, TypeVar

from callback_sdk.errors import ConfigurationError
from callback_sdk.receivers.documents import ReceivedEvent, ReceivedResult
from callback_sdk.receivers.ids import DeliveryIds, MemoryIds
from callback_sdk.text.escaping import escape

logger = logging.getLogger(__name__)

T = TypeVar("T")

Steps = Generator[Callable[[], Any], Any, T]
"""Calls that may block, of which the driver sends the results; returns the outcome."""

Handler = Callable[[ReceivedResult], Any]
"""Handles a result. When it returns, the sender doesn't send the result again; when it raises, it does."""

EventHandler = Callable[[ReceivedEvent], Any]
"""Handles an event of a job that has not ended."""

IsHandled = Callable[[ReceivedResult], bool]
"""Returns whether a result has been handled, for handlers that store that themselves."""


class HandoverOutcome(Enum):
    """What became of a delivery."""

    HANDLED = "handled"
    DUPLICATE = "duplicate"
    RUNNING = "running"
    FAILED = "failed"
    UNAVAILABLE = "unavailable"


class Handover:
    """Hands results over to a handler, each once.

    Args:
        handler: Handles a result.
        ids: Stores the ids of deliveries, or a function that returns whether a result has been handled; None for
            `MemoryIds()`.
    """

    def __init__(self, handler: Handler, ids: DeliveryIds | IsHandled | None) -> None:
        self._handler = handler
        self._is_handled: IsHandled | None = None
        if callable(ids):
            # Copies that arrive at the same time still wait for each other, in this process.
            self._ids: DeliveryIds = MemoryIds(max_ids=1)
            self._is_handled = ids
        else:
            self._ids = MemoryIds() if ids is None else ids

    def steps(self, result: ReceivedResult) -> Steps[HandoverOutcome]:
        """Return the steps that hand over a result.

        Args:
            result: The result.
        """
        delivery, token = result.identity, uuid.uuid4().hex
        try:
            claim = yield partial(self._claim, delivery, token, result)
        except Exception:
            logger.exception("Result of job %s: the ids of deliveries are not available", escape(result.job_id))
            return HandoverOutcome.UNAVAILABLE
        if claim != "new":
            return HandoverOutcome.DUPLICATE if claim == "done" else HandoverOutcome.RUNNING
        try:
            yield partial(self._handler, result)
        except Exception:
            logger.exception(
                "Result of job %s: its handler failed, and the sender will try again", escape(result.job_id)
            )
            yield partial(self._end, self._ids.release, delivery, token)
            return HandoverOutcome.FAILED
        except BaseException:
            yield partial(self._end, self._ids.release, delivery, token)
            raise
        yield partial(self._end, self._ids.complete, delivery, token)
        return HandoverOutcome.HANDLED

    def _claim(self, delivery: str, token: str, result: ReceivedResult) -> str:
        claim = self._ids.claim(delivery, token)
        if claim != "new" or self._is_handled is None:
            return claim
        try:
            is_handled = self._is_handled(result)
        except BaseException:
            self._ids.release(delivery, token)
            raise
        if is_handled:
            self._ids.release(delivery, token)
        return "done" if is_handled else "new"

    def _end(self, end: Callable[[str, str], None], delivery: str, token: str) -> None:
        # The handler has run: whether that is recorded doesn't change what the sender has to do.
        try:
            if self._is_handled is not None:
                self._ids.release(delivery, token)
            else:
                end(delivery, token)
        except Exception:
            logger.exception("The end of a delivery could not be recorded; a copy of it may be handled again")


def event_steps(on_event: EventHandler | None, event: ReceivedEvent) -> Steps[HandoverOutcome]:
    """Return the steps that hand over an event. Copies are handed over too: their sequence number tells.

    Args:
        on_event: Handles an event; None to ignore it.
        event: The event.
    """
    if on_event is not None:
        try:
            yield partial(on_event, event)
        except Exception:
            logger.exception("Event %s of job %s: its handler failed", event.sequence, escape(event.job_id))
            return HandoverOutcome.FAILED
    return HandoverOutcome.HANDLED


def run(steps: Steps[T]) -> T:
    """Make the calls of steps one after the other, and return the outcome.

    Args:
        steps: The steps.

    Raises:
        ConfigurationError: The handler is a coroutine function, which only a driver with an event loop can run.
    """
    try:
        call = next(steps)
        while True:
            try:
                value = _result_of(call)
            except BaseException as error:  # noqa: BLE001, PERF203 - the steps decide, and are few
                call = steps.throw(error)
            else:
                call = steps.send(value)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def _result_of(call: Callable[[], Any]) -> Any:
    value = call()
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        raise ConfigurationError(
            "The handler is a coroutine function, and this framework calls plain ones.",
            hint="Give a plain function, or use callback_sdk.receivers.starlette.",
        )
    return value

"""Deliveries of many results, a limited number at a time."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from operator import length_hint
from typing import Any

from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.errors import CallbackParamError, CallbackSDKError, ConfigurationError
from callback_sdk.models import JobResult, WriteOutcome
from callback_sdk.progress import ProgressBar
from callback_sdk.receipt import Receipt
from callback_sdk.redaction import Secret, wrap_secret
from callback_sdk.targets.callbacks import Callback, required_callbacks
from callback_sdk.text.descriptions import short_repr
from callback_sdk.text.html import HTMLList
from callback_sdk.transport.driver import clearing_locals_of_coroutine
from callback_sdk.writer.deliveries import ResultDeliveries
from callback_sdk.writer.failures import unexpected_error

_END = object()

OnOutcome = Callable[[WriteOutcome], object]
"""Called with each outcome."""


class BulkDelivery:
    """The deliveries of one call of `write_many`.

    Args:
        items: The results with their targets.
        deliveries: Delivers one result.
        on_outcome: Called with each outcome; None for nothing.
        bar: Shows how many are done.
    """

    def __init__(
        self, items: Secret[Any], deliveries: ResultDeliveries, on_outcome: OnOutcome | None, bar: ProgressBar
    ) -> None:
        self._source = _Source(items, deliveries)
        self._deliveries = deliveries
        self._on_outcome = on_outcome
        self._bar = bar
        self._size = length_hint(items.reveal(), 0)
        self._outcomes: list[WriteOutcome | None] = []
        self._done = self._failed = 0

    async def run(self, max_concurrent: int) -> list[WriteOutcome]:
        """Take items and deliver them, until none is left, and return the outcomes in the order of the items."""
        rounds = self._deliveries.driver.rounds(max_concurrent)
        try:
            await rounds.map(self._work, range(max_concurrent))
        finally:
            rounds.close()
        return HTMLList(outcome for outcome in self._outcomes if outcome is not None)

    async def _work(self, number: int) -> None:
        """Deliver one item after another."""
        try:
            while (item := await self._source.next()) is not None:
                index = len(self._outcomes)
                self._outcomes.append(None)
                self._outcomes[index] = outcome = await self._outcome(item)
                self._report(outcome)
        except BaseException:
            # What is being sent is finished; no further item is taken.
            self._source.end()
            raise

    async def _outcome(self, item: Secret[Any]) -> WriteOutcome:
        job_id = _job_id(item)
        try:
            receipts = await _deliver(self._deliveries, item)
        except CallbackSDKError as error:
            return WriteOutcome(job_id=job_id, receipts=tuple(getattr(error, "receipts", ())), error=error)
        return WriteOutcome(job_id=job_id, receipts=tuple(receipts))

    def _report(self, outcome: WriteOutcome) -> None:
        self._done += 1
        self._failed += outcome.error is not None
        if self._bar.is_shown:
            # An iterator may not tell how many there are.
            fraction = self._done / self._size if self._size >= self._done else None
            self._bar.show(fraction, f"{self._done} results, {self._failed} failed")
        if self._on_outcome is not None:
            self._on_outcome(outcome)


class _Source:
    """The items, taken one by one: an iterator isn't asked for one while it is asked for another."""

    def __init__(self, items: Secret[Any], deliveries: ResultDeliveries) -> None:
        self._driver = deliveries.driver
        self._lock = self._driver.lock()
        self._iterator = _iterator(items)
        self._is_over = False

    def end(self) -> None:
        """Give no further item."""
        self._is_over = True

    async def next(self) -> Secret[Any] | None:
        """Return the next item; None if there is none."""
        iterator = self._iterator
        item: Secret[Any] | None
        if isinstance(iterator, AsyncIterator):
            item = await self._driver.exclusively(self._lock, lambda: self._next_of(iterator))
        else:
            item = None if self._is_over else Secret(next(iterator, _END))
        if item is None or item.reveal() is _END:
            self._is_over = True
            return None
        return item

    async def _next_of(self, iterator: AsyncIterator[Any]) -> Secret[Any] | None:
        return None if self._is_over else Secret(await anext(iterator, _END))


def check_items(items: Secret[Any], *, asynchronous: bool) -> None:
    """Reject what is not an iterable of items.

    Raises:
        ConfigurationError: It is something else, or needs an event loop.
    """
    given = items.reveal()
    hint = "Give an iterable of (result, callback_url) or (result, callback_url, callback_param)."
    kind = type(given).__name__
    if isinstance(given, AsyncIterable) and not asynchronous:
        hint = "Use AsyncResultsWriter, or give a list or a generator."
    elif isinstance(given, (AsyncIterable, Iterable)) and not isinstance(given, (str, bytes, Mapping)):
        return
    del given
    raise ConfigurationError(f"items is of type {kind}.", hint=hint)


def _iterator(items: Secret[Any]) -> Iterator[Any] | AsyncIterator[Any]:
    if isinstance(items.reveal(), AsyncIterable):
        iterator: AsyncIterator[Any] = aiter(items.reveal())
        return iterator
    given: Iterable[Any] = items.reveal()
    return iter(given)


@clearing_locals_of_coroutine
async def _deliver(deliveries: ResultDeliveries, item: Secret[Any]) -> list[Receipt]:
    """Deliver one result.

    Raises:
        CallbackSDKError: As in `ResultsWriter.write`.
    """
    given: tuple[Callback, ...] = ()
    try:
        parts = Secret(_parts(item))
        given = required_callbacks(parts.reveal()[1], parts.reveal()[2])
        return await deliveries.deliver(parts.reveal()[0], given, Secret(None))
    except CallbackSDKError:
        raise
    except uninterrupted(Exception) as error:  # a failure of one result must not lose the others' outcomes
        failure = unexpected_error(next(iter(given), None), error)
    raise failure


def _parts(item: Secret[Any]) -> tuple[JobResult, Secret[Any], Secret[Any]]:
    """Return the result, the URLs and the parameters of an item.

    Raises:
        CallbackParamError: It is not a tuple of these.
    """
    given = item.reveal()
    if not isinstance(given, (tuple, list)) or len(given) not in (2, 3) or not isinstance(given[0], JobResult):
        kinds = [type(part).__name__ for part in given] if isinstance(given, (tuple, list)) else type(given).__name__
        del given
        raise CallbackParamError(
            f"An item of write_many is {short_repr(kinds)}.",
            hint="Give (result, callback_url) or (result, callback_url, callback_param), with a JobResult.",
        )
    return given[0], wrap_secret(given[1]), wrap_secret(given[2] if len(given) == 3 else None)


def _job_id(item: Secret[Any]) -> str | None:
    try:
        job_id = item.reveal()[0].job_id
    except uninterrupted(Exception):  # the item is not valid, which its delivery reports
        return None
    return job_id if isinstance(job_id, str) else None

"""Outbox: durable result delivery that survives crashes."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any

from callback_sdk.models import JobResult
from callback_sdk.outbox.base import OutboxBase, Stop, typed_errors
from callback_sdk.outbox.entries import OutboxEntry, WriteResult
from callback_sdk.outbox.state import as_read_back
from callback_sdk.parsing import Duration, total_seconds
from callback_sdk.redaction import Secret, clearing_locals, wrap_secret
from callback_sdk.targets.callbacks import required_callbacks
from callback_sdk.transport.driver import BLOCKING, blocking
from callback_sdk.types import CallbackParams, CallbackTarget, CallbackURLs, OutputTargets
from callback_sdk.writer import ResultsWriter


class Outbox(OutboxBase[ResultsWriter]):
    """Durable delivery of results without the service, in a SQLite file on a local disk.

    `write` returns once a result is on disk and one attempt was made at each target. `run`, in the same process or
    another one, retries after 5 s, 30 s, 2 min, 10 min, 30 min, 2 h, 5 h and 10 h. After the last attempt a delivery is
    dead until `redeliver` is called. Any number of processes and threads may share an outbox. Deliveries are claimed,
    so that no two processes send the same one; those of a killed process are due again at once. Delivery is at least
    once.

    Results above 64 KiB and all output files are in the directory next to the file, with `-files` appended to its
    name. Both are created with permissions for their owner only, because targets are stored as given: **the file
    contains signed URLs and form fields in plain text** until the target has the result. Then they and the results
    are deleted, from SQLite's write-ahead log within an hour of `run` or at `close`. The receipt stays.

    An outbox may be used before and after a fork, and in a signal handler; a handler that interrupts a commit gets an
    `OutboxError`.

    Args:
        path: The file; created with its directory if it doesn't exist. The parent of the directory must exist.
        writer: Sends the results; a `ResultsWriter` with default settings if None.
        receipt_retention: Time after which `run` deletes receipts, a `timedelta` or seconds. As long as the receipt of
            a delivery is kept, writing the same result again sends nothing. Pending and dead deliveries are kept.
        create: Whether to create the file if it doesn't exist.

    Raises:
        ConfigurationError: The file can't be created or opened, is not an outbox, or was created by a newer version.
        OutboxError: The file is damaged, or its disk is full.

    Example:
        >>> with Outbox("/var/lib/worker/outbox.sqlite3") as outbox:
        ...     outbox.write(JobResult(job_id="42", success=True, results={"life": 7.5}), url)
        ...     outbox.run(until_empty=True)
    """

    _driver = BLOCKING
    _writer_type = ResultsWriter

    def __enter__(self) -> Outbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @clearing_locals
    @blocking
    async def close(self) -> None:
        """Wait up to 10 s for running attempts, and close the file. `run` returns.

        Later calls of other methods open the file again.
        """
        await self._close()

    @clearing_locals
    @blocking
    async def write(
        self,
        result: JobResult,
        callback_url: CallbackURLs,
        callback_param: CallbackParams | Secret[Any] | None = None,
        *,
        outputs: OutputTargets | Secret[Any] | None = None,
    ) -> WriteResult:
        """Store a result for every target, and make one attempt at each, all concurrently.

        Writing the same document for the same target again doesn't create a second delivery, so a worker may safely run
        a job again after a crash.

        Args:
            result: The outcome of the job. A file of results and all output files are copied.
            callback_url: A URL, what `S3Signer` returns, a `(url, param)` pair, or a list of these.
            callback_param: A dict for all targets, or a list with one dict per target; see `ResultsWriter.write`.
            outputs: Targets of single output files, by their names; see `ResultsWriter.write`.

        Returns:
            The receipts so far, and the deliveries that are still pending.

        Raises:
            CallbackParamError: The parameters don't match the URLs; nothing was stored.
            EncodingError: The result can't be represented in JSON; nothing was stored. The message names the path.
            OutboxError: The result can't be stored; nothing was stored or sent.
            TargetError: A target is invalid, or no target was given; nothing was stored for it.
            DeliveryError: A target rejected the result permanently; the delivery is dead. A `MultipleDeliveryErrors`
                if several targets fail. `error.receipts` has the receipts of other targets; the others are pending.
        """
        callback_url, callback_param = wrap_secret(callback_url), wrap_secret(callback_param)
        own = wrap_secret(outputs)
        del outputs
        with typed_errors():
            given = [as_read_back(callback) for callback in required_callbacks(callback_url, callback_param)]
            return await self._write(result, given, own)

    @clearing_locals
    @blocking
    async def run(self, *, until_empty: bool = False, stop: Stop | None = None) -> None:
        """Run the delivery loop. Several processes may run it concurrently.

        When stopped, it starts no further attempts, and waits up to 10 s for running ones. While the file can't be
        used, for example because its disk is full, it waits and retries.

        Args:
            until_empty: Return when no delivery is pending. This may take hours, because the retry delays still apply.
            stop: Set to make the method return: a `threading.Event` or an `asyncio.Event`.

        Raises:
            ConfigurationError: The file can no longer be opened.
            OutboxError: The file was deleted or replaced.
        """
        with typed_errors():
            await self._run(until_empty, stop or threading.Event())

    @clearing_locals
    @blocking
    async def entries(self, *, status: str | None = None) -> list[OutboxEntry]:
        """Return the deliveries in the outbox, oldest first, without credentials.

        Args:
            status: Only deliveries with this status: `"pending"`, `"delivered"` or `"dead"`; all if None.
        """
        with typed_errors():
            return await self._driver.call(lambda: self._process_state().store.entries(status=status))

    @clearing_locals
    @blocking
    async def redeliver(self, *delivery_ids: str, target: CallbackTarget | None = None) -> int:
        """Make deliveries due now. `run` sends them. The retry schedule of dead deliveries starts again.

        Args:
            delivery_ids: Ids of deliveries; all pending and dead deliveries if empty.
            target: A new target for a single delivery, such as one whose signature has not expired: a URL, a
                `PresignedPut` or `PresignedPost`, or a `(url, param)` pair. It gets the same document. A running
                attempt may still deliver to the old target; its outcome is discarded, and the entry's `error` says so.

        Returns:
            Number of the deliveries that are due now, without those with a running attempt.

        Raises:
            OutboxError: An id is unknown, or the delivery is already delivered; nothing was changed.
            TargetError: The result can't be delivered to the new target, or one of its objects is that of another
                target of the result; nothing was changed.
        """
        given = Secret(target)
        del target
        with typed_errors():
            return await self._driver.call(self._redeliver, delivery_ids, given)

    @clearing_locals
    @blocking
    async def purge(self, *, older_than: Duration) -> int:
        """Delete receipts that are older than a duration.

        Returns:
            Number of deleted receipts.
        """
        with typed_errors():
            seconds = total_seconds("older_than", older_than)
            return await self._driver.call(lambda: self._process_state().clean_up(seconds))

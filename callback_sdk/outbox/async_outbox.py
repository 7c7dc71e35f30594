"""Durable result delivery from asyncio: the coroutines of `Outbox`, in the running event loop."""

from __future__ import annotations

from types import TracebackType

from callback_sdk.outbox.base import OutboxBase
from callback_sdk.outbox.outbox import Outbox
from callback_sdk.transport.asyncio_driver import ASYNCIO
from callback_sdk.transport.driver import awaiting
from callback_sdk.writer.async_writer import AsyncResultsWriter


class AsyncOutbox(OutboxBase[AsyncResultsWriter]):
    """Durable delivery of results without the service, in a SQLite file on a local disk, from asyncio.

    It takes the same arguments as `Outbox`, with an `AsyncResultsWriter` as `writer`, and has the same methods, as
    coroutines. They don't block the event loop: threads read and write the file. Only the constructor and `events` open
    it in the loop. One outbox serves a whole process, any number of tasks, and several event loops, and other processes
    may use an `Outbox` with the same file.

    A `write` that is canceled, or whose timeout expires, has stored the result completely or not at all. If it is
    stored, it is due at once at each target that has not accepted it, and `run` in any process sends it. A canceled
    `run` cancels its attempts. Whether a target has a document that was sent to it and not acknowledged is unknown, and
    a warning in the log names the target; the next attempt has the same id.

    Example:
        >>> async with AsyncOutbox("/var/lib/worker/outbox.sqlite3") as outbox:
        ...     await outbox.write(JobResult(job_id="42", success=True, results={"life": 7.5}), url)
        ...     await outbox.run(until_empty=True)
    """

    _driver = ASYNCIO
    _writer_type = AsyncResultsWriter

    async def __aenter__(self) -> AsyncOutbox:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    write = awaiting(Outbox.write)
    run = awaiting(Outbox.run)
    entries = awaiting(Outbox.entries)
    redeliver = awaiting(Outbox.redeliver)
    purge = awaiting(Outbox.purge)
    close = awaiting(Outbox.close)

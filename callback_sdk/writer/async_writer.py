"""Uploads result documents from asyncio: the coroutines of `ResultsWriter`, in the running event loop."""

from __future__ import annotations

from types import TracebackType

from callback_sdk.transport.asyncio_driver import ASYNCIO
from callback_sdk.transport.driver import awaiting
from callback_sdk.writer.writer import ResultsWriter, WriterBase


class AsyncResultsWriter(WriterBase):
    """Uploads result documents to presigned URLs, object stores and webhooks, from asyncio.

    It takes the same arguments as `ResultsWriter` and has the same methods, as coroutines. They don't block the event
    loop: names are resolved, and documents above 256 KiB encoded, compressed and hashed, in a bounded number of
    threads. One writer serves a whole process, any number of tasks, and several event loops. `events` is no coroutine:
    its events are sent by threads, and end with `async with`.

    A call that is canceled, or whose timeout expires, ends its requests and closes their connections. Targets that
    have the document keep it. Whether a target has it that was sent the request and didn't answer is unknown, and a
    warning in the log names it. Writing the result again is safe: it has the same id at each target.

    Example:
        >>> async with AsyncResultsWriter() as writer:
        ...     result = JobResult(job_id="42", success=True, results={"life": 7.5})
        ...     await writer.write(result, url, {"s3_fields": fields})
    """

    _driver = ASYNCIO

    async def __aenter__(self) -> AsyncResultsWriter:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    write = awaiting(ResultsWriter.write)
    write_many = awaiting(ResultsWriter.write_many)
    close = awaiting(ResultsWriter.close)

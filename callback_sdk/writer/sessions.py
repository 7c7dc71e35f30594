"""The requests of a session that takes a document in consecutive ranges: each begins where the store has the last one.

After a failure it is not known how much is stored: the store is asked, and the document continues from there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from callback_sdk.documents.body import Body
from callback_sdk.errors import DeliveryError
from callback_sdk.targets.multipart import SessionTarget
from callback_sdk.targets.upload import Upload
from callback_sdk.transport.response import Response
from callback_sdk.writer.clock import utc_now

Compute = Callable[[Callable[[], Any]], Awaitable[Any]]


class SessionRequests:
    """The requests of one session, one after another.

    Args:
        target: The session.
        document: The whole document.
        send: Makes a request.
        error: Returns the error for a response without success.
        compute: Makes a call that may compute a digest of the document.

    Attributes:
        is_complete: Whether the session has the whole document.
    """

    def __init__(
        self,
        target: SessionTarget,
        document: Body,
        send: Callable[[Upload], Awaitable[Response]],
        error: Callable[[Upload, Response], DeliveryError],
        compute: Compute,
    ) -> None:
        self._target = target
        self._document = document
        self._send = send
        self._error = error
        self._compute = compute
        self._start = 0
        self._stored: int | None = 0
        self.is_complete = False

    async def next(self) -> Upload:
        """Return the next request, which continues after the last stored byte. The store is asked for it if necessary.

        Raises:
            DeliveryError: The store doesn't tell how much it has.
        """
        if self._stored is None:
            query = self._target.query(self._document, now=utc_now())
            response = await self._send(query)
            if response.status in query.accepts:
                # The session is complete, and its response was lost. The store repeats it for each query.
                return query
            self._stored = self._progress(query, response)
        start, self._stored = self._stored, None
        self._start = start
        send = partial(self._target.send_from, start, self._document, now=utc_now())
        upload: Upload = await self._compute(send)
        return upload

    async def take(self, upload: Upload, response: Response) -> None:
        """Take the response to a request.

        Raises:
            DeliveryError: The request failed, nothing was stored, or another document.
        """
        if response.status in upload.accepts:
            await self._compute(partial(self._target.check_stored, response, self._document))
            self.is_complete = True
            return
        stored = self._progress(upload, response)
        if stored <= self._start:
            raise DeliveryError(
                f"{upload.url} stored nothing of the range that was sent.",
                hint="It is sent again. If that persists, the store or a proxy before it discards the body.",
                url=str(upload.url),
                status=response.status,
                retryable=True,
            )
        self._stored = stored

    def _progress(self, upload: Upload, response: Response) -> int:
        stored = self._target.progress(response, self._document)
        if stored is not None:
            return stored
        error = self._error(upload, response)
        if self._target.is_own and self._target.has_lost_parts(error):
            # The next attempt starts another session.
            error.retryable = error.transient = True
        raise error

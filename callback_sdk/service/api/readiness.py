"""Whether the service can work, for anybody who asks, however many ask at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool

from callback_sdk.errors import CallbackSDKError

LONGEST = 10.0
"""Seconds after which whoever asks gets an answer: Kubernetes, load balancers and people don't wait for ever."""


class Readiness:
    """One check at a time: what hangs holds up one thread, and not all that serve requests.

    Args:
        check: Raises what is wrong.
        longest: Seconds that anybody waits for it.
    """

    def __init__(self, check: Callable[[], None], *, longest: float = LONGEST) -> None:
        self._check = check
        self._longest = longest
        self._running: asyncio.Future[None] | None = None

    async def ask(self) -> None:
        """Wait for the check that runs, or for a new one.

        Raises:
            CallbackSDKError: The text says what is wrong, or that the check has not ended in time.
        """
        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(run_in_threadpool(self._check))
            self._running.add_done_callback(_seen)
        # Whoever asked first may go away, which is no reason to break it off for the others.
        try:
            await asyncio.wait_for(asyncio.shield(self._running), self._longest)
        except asyncio.TimeoutError:
            raise CallbackSDKError(
                f"The check of database, blob storage and broker has not ended within {self._longest:g} s.",
                hint="One of them does not respond. See the log.",
            ) from None


def _seen(running: asyncio.Future[None]) -> None:
    # Even when everybody who asked has gone.
    if not running.cancelled():
        running.exception()

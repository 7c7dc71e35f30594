"""Whether the service can work, for anybody who asks, however many ask at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool


class Readiness:
    """One check at a time: what hangs holds up one thread, and not all that serve requests.

    Args:
        check: Raises what is wrong.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check
        self._running: asyncio.Future[None] | None = None

    async def ask(self) -> None:
        """Wait for the check that runs, or for a new one.

        Raises:
            CallbackSDKError: The text says what is wrong.
        """
        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(run_in_threadpool(self._check))
            self._running.add_done_callback(_seen)
        # Whoever asked first may go away, which is no reason to break it off for the others.
        await asyncio.shield(self._running)


def _seen(running: asyncio.Future[None]) -> None:
    # Even when everybody who asked has gone.
    if not running.cancelled():
        running.exception()

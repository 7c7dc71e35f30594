"""Readiness: one shared check for all concurrent requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool

from callback_sdk.errors import CallbackSDKError

CHECK_TIMEOUT = 10.0
"""Timeout of a request for readiness, in seconds: probes and load balancers have timeouts of their own."""


class Readiness:
    """Runs one check at a time: a check that hangs blocks one thread, not all threads that serve requests.

    Args:
        check: Raises an error if the service is not ready.
        timeout: Maximum seconds that a request waits for it.
    """

    def __init__(self, check: Callable[[], None], *, timeout: float = CHECK_TIMEOUT) -> None:
        self._check = check
        self._timeout = timeout
        self._running: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        """Wait for the running check, or start one.

        Raises:
            CallbackSDKError: The check failed, or did not end in time.
        """
        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(run_in_threadpool(self._check))
            self._running.add_done_callback(_retrieve_exception)
        # Shielded: the first client may disconnect, which must not cancel the check for the others.
        try:
            await asyncio.wait_for(asyncio.shield(self._running), self._timeout)
        except asyncio.TimeoutError:
            raise CallbackSDKError(
                f"The check of database, blob storage and broker has not ended within {self._timeout:g} s.",
                hint="At least one of them does not respond. See the service's log.",
            ) from None


def _retrieve_exception(running: asyncio.Future[None]) -> None:
    # Even if all clients have disconnected.
    if not running.cancelled():
        running.exception()

"""Long polls: requests for a task that are answered when it has ended, or when its result is delivered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from callback_sdk.service.api.waiters import Waiters
from callback_sdk.service.api.watches import Watches, is_set_within

if TYPE_CHECKING:
    from starlette.types import Receive

MAX_WAIT = 50.0
"""Maximum seconds of a wait: many proxies, nginx among them, give up after 60 s without a response."""


class LongPolls:
    """The long polls of this process. It runs in the event loop; a waiting request holds no thread.

    Args:
        watches: Tells which tasks have changed.
        waiters: Counts the long polls, among other waiting clients.
    """

    def __init__(self, watches: Watches, waiters: Waiters) -> None:
        self._watches = watches
        self._waiters = waiters

    async def wait(self, job_id: str, user_id: str, seconds: float, receive: Receive, *, for_deliveries: bool) -> bool:
        """Wait for a task, and return whether this was possible: a user may have too many waiting clients.

        Args:
            job_id: The task.
            user_id: The user who asks.
            seconds: Maximum time to wait.
            receive: The ASGI callable of the request.
            for_deliveries: Whether to wait until no delivery is pending, as opposed to the end of the task.

        Raises:
            ClientDisconnect: The client is gone.
            HTTPException: 503 if the server is stopping.
        """
        try:
            self._waiters.check(user_id)
        except HTTPException:
            return False
        clock = asyncio.get_running_loop().time
        end = clock() + min(seconds, MAX_WAIT)
        with self._waiters.counted(user_id, "poll"), self._watches.of_task(job_id) as watch:
            gone = asyncio.create_task(_disconnection(receive))
            gone.add_done_callback(lambda _: watch.changed.set())
            try:
                while await is_set_within(watch.changed, end - clock()):
                    watch.changed.clear()
                    if gone.done():
                        raise ClientDisconnect
                    if self._watches.is_stopping:
                        # Without the task: reading all of them would hold up the end of the server.
                        raise HTTPException(503, "The service is stopping. Ask again.", {"Retry-After": "1"})
                    state = watch.state
                    if state is None or (state.has_ended and not (for_deliveries and state.pending_deliveries)):
                        break
            finally:
                gone.cancel()
        return True


async def _disconnection(receive: Receive) -> None:
    """Return when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass

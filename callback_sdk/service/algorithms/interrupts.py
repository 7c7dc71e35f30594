"""RunInterrupt: raised in an algorithm when its run is stopped."""

from __future__ import annotations

import signal


class RunInterrupt(SystemExit):
    """Raised in the main thread of an algorithm when its run is stopped: SIGTERM, as an exception.

    Catch it to clean up within the service's stop timeout, 5 s by default, and raise it again; then the process is
    killed. Whatever the algorithm returns after it is discarded.

    It is a `SystemExit`, so that `except Exception` doesn't catch it, an event loop of asyncio ends with it, and a
    process that doesn't catch it exits with 143, as after SIGTERM.

    Args:
        reason: Why the run is stopped: `"cancel"`, `"timeout"` or `"shutdown"`. After a shutdown the task runs again.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = 128 + signal.SIGTERM

"""A deadline for all requests of a call, such as the submission of a command: logins, retries and pauses included."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from contextvars import ContextVar

_deadline: ContextVar[float] = ContextVar("deadline", default=math.inf)


@contextlib.contextmanager
def requests_end_by(deadline: float) -> Iterator[None]:
    """Apply a deadline to all requests of this thread inside the block.

    Args:
        deadline: Time in seconds of the monotonic clock.
    """
    token = _deadline.set(min(deadline, _deadline.get()))
    try:
        yield
    finally:
        _deadline.reset(token)


def earliest(deadline: float | None) -> float:
    """Return the earlier of a request's own deadline and that of the block; infinity if there is neither."""
    return _deadline.get() if deadline is None else min(deadline, _deadline.get())

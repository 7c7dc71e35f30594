"""Interrupts of a writer that waits for its connections."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from callback_sdk.transport.polling import Poller


def interrupt_wait(monkeypatch: pytest.MonkeyPatch, arrived: threading.Semaphore, count: int) -> None:
    """Raise KeyboardInterrupt where a writer waits, when as many requests have arrived at the server."""
    wait, seen = Poller.wait, [0]

    def interrupted(poller: Poller, seconds: float) -> Any:
        while arrived.acquire(blocking=False):
            seen[0] += 1
        if seen[0] == count:
            raise KeyboardInterrupt
        return wait(poller, min(seconds, 0.01))

    monkeypatch.setattr(Poller, "wait", interrupted)

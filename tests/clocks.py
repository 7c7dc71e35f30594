"""Moved clocks: sign at a given time, and let timeouts run out at an event."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from types import SimpleNamespace
from typing import Any
from unittest import mock

import botocore.auth
import botocore.signers

from callback_sdk import S3Signer


def hour_passes_when(condition: Callable[[], object]) -> Any:
    """Return a substitute for `time`, by which an hour passes when a condition has become true.

    So what has a timeout gets as far as a test wants, however busy the machine is.
    """
    return SimpleNamespace(monotonic=lambda: time.monotonic() + 3600 * bool(condition()), sleep=time.sleep)


def stopped(module: Any, now: datetime) -> Any:
    """Stop the clock of one of botocore's modules."""
    if hasattr(module, "get_current_datetime"):
        return mock.patch.object(module, "get_current_datetime", return_value=now)
    # The oldest botocore that is supported reads it here.
    clocks = mock.Mock(wraps=module.datetime)
    clocks.datetime.utcnow.return_value = now.replace(tzinfo=None)
    return mock.patch.object(module, "datetime", clocks)


@contextmanager
def clock(signer: S3Signer, now: datetime) -> Iterator[None]:
    """Stop the clock of a signer and of botocore."""
    with (
        stopped(botocore.auth, now),
        stopped(botocore.signers, now),
        mock.patch.object(signer, "_clock", return_value=now.timestamp()),
    ):
        yield

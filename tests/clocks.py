"""Sign at a given time, with this package and with botocore."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from unittest import mock

import botocore.auth
import botocore.signers

from callback_sdk import S3Signer


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

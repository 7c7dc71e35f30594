"""An outbox that lasts as long as a process and the delivery of its last results."""

from __future__ import annotations

from datetime import timedelta

from callback_sdk.outbox.outbox import Outbox
from callback_sdk.outbox.state import Profile

_DELAYS = tuple(timedelta(seconds=seconds) for seconds in (0.5, 1, 2, 4, 8, 16, 20, 20, 20, 20))
"""Delays between attempts: two minutes in all, as long as `ResultsWriter` tries by default."""


class TemporaryOutbox(Outbox):
    """An outbox whose `write` waits for the end of all attempts. It outlives its process, but no power failure."""

    _profile = Profile(durable=False, delays=_DELAYS, waits=True)

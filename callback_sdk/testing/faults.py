"""What may go wrong with a request on purpose, for tests of code that has to bear it."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from datetime import timedelta
from enum import Enum

from attrs import define, field

from callback_sdk.errors import ConfigurationError


class Fault(Enum):
    """One thing that goes wrong with one request.

    Attributes:
        ERROR: 500. Nothing was done.
        SLOW_DOWN: 503; from an object store with its code `SlowDown`. Nothing was done.
        THROTTLED: 429 with a `Retry-After`. Nothing was done.
        RESET: The connection is reset before the body is read. Nothing was done.
        LOST_ANSWER: All was done, and the connection is reset before the answer: the sender can't know.
        SLOW: All is done, and the answer takes its time.
        EARLY_ANSWER: 503 while the body is still coming. Nothing was done.
        REDIRECT: 307 to another port of the same server, before the body is read; followed, it goes well.
    """

    ERROR = "error"
    SLOW_DOWN = "slow-down"
    THROTTLED = "throttled"
    RESET = "reset"
    LOST_ANSWER = "lost-answer"
    SLOW = "slow"
    EARLY_ANSWER = "early-answer"
    REDIRECT = "redirect"


BEFORE_BODY = frozenset({Fault.RESET, Fault.EARLY_ANSWER, Fault.REDIRECT})
"""The faults that come before the body is read."""


@define(frozen=True, kw_only=True)
class FaultResponse:
    """What is answered.

    Attributes:
        status: HTTP status.
        headers: Names and values.
        body: The bytes.
    """

    status: int = 200
    headers: dict[str, str] = field(factory=dict)
    body: bytes = b""


@define(frozen=True, kw_only=True)
class Step:
    """What happens to one request.

    Attributes:
        fault: What goes wrong; None when nothing does.
        answer: What to answer instead of doing what was asked.
        delay: How long the answer waits; without an answer of its own and without `Fault.SLOW` it doesn't.
        retry_after: What `Fault.THROTTLED` asks for, in whole seconds.
    """

    fault: Fault | None = None
    answer: FaultResponse | None = None
    delay: timedelta = timedelta()
    retry_after: timedelta = timedelta(seconds=1)


def _tuple(kinds: Iterable[Fault] | None) -> tuple[Fault, ...] | None:
    return None if kinds is None else tuple(kinds)


@define(frozen=True, kw_only=True)
class Faults:
    """How often something goes wrong by itself, and what.

    The same seed gives the same line of faults, one step for each request in the order of arrival.

    Attributes:
        rate: Share of the requests, from 0 to 1.
        seed: What the line begins with.
        kinds: Which faults, each as likely as another; None for all that a sender can overcome.
        delay: How long `Fault.SLOW` waits.
        retry_after: What `Fault.THROTTLED` asks for, in whole seconds.
    """

    rate: float = 0.3
    seed: int = 0
    kinds: tuple[Fault, ...] | None = field(default=None, converter=_tuple)
    delay: timedelta = timedelta(milliseconds=100)
    retry_after: timedelta = timedelta(seconds=1)

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ConfigurationError(f"The rate of faults is {self.rate}.", hint="Give a share from 0 to 1.")

    def line(self, usual: Iterable[Fault]) -> FaultLine:
        """Return what happens to one request after another.

        Args:
            usual: The kinds when none were named.
        """
        return FaultLine(self, tuple(usual) if self.kinds is None else self.kinds)


class FaultLine:
    """One step after another, drawn by chance. Not for threads without a lock.

    Args:
        faults: How often and how.
        kinds: Which.
    """

    def __init__(self, faults: Faults, kinds: tuple[Fault, ...]) -> None:
        self._faults = faults
        self._kinds = kinds
        self._random = random.Random(faults.seed)  # noqa: S311 (repeatable, that is the point)

    def next(self) -> Step:
        """Draw what happens to the next request."""
        faults = self._faults
        chance, kind = self._random.random(), self._random.random()
        if chance >= faults.rate or not self._kinds:
            return Step()
        fault = self._kinds[int(kind * len(self._kinds))]
        return Step(fault=fault, delay=faults.delay, retry_after=faults.retry_after)


def whole_seconds(duration: timedelta) -> str:
    """Return a duration as `Retry-After` has it (RFC 9110, section 10.2.3), rounded up."""
    return str(math.ceil(duration.total_seconds()))

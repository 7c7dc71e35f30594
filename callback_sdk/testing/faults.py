"""Faults that the local servers inject into requests, to test how code handles them."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from datetime import timedelta
from enum import Enum

from attrs import define, field

from callback_sdk.errors import ConfigurationError


class Fault(Enum):
    """A fault injected into one request.

    Attributes:
        ERROR: 500. The request is not carried out.
        SLOW_DOWN: 503; from an object store with its code `SlowDown`. The request is not carried out.
        THROTTLED: 429 with a `Retry-After`. The request is not carried out.
        RESET: The connection is reset before the body is read. The request is not carried out.
        LOST_RESPONSE: The request is carried out, and the connection is reset before the response.
        SLOW: The request is carried out, and the response is delayed.
        EARLY_RESPONSE: 503 while the body is still being sent. The request is not carried out.
        REDIRECT: 307 to another port of the same server, before the body is read. The redirected request succeeds.
    """

    ERROR = "error"
    SLOW_DOWN = "slow-down"
    THROTTLED = "throttled"
    RESET = "reset"
    LOST_RESPONSE = "lost-response"
    SLOW = "slow"
    EARLY_RESPONSE = "early-response"
    REDIRECT = "redirect"


BEFORE_BODY = frozenset({Fault.RESET, Fault.EARLY_RESPONSE, Fault.REDIRECT})
"""Faults injected before the body is read."""


@define(frozen=True, kw_only=True)
class FaultResponse:
    """A prepared response.

    Attributes:
        status: HTTP status.
        headers: Names and values.
        body: The bytes of the body.
    """

    status: int = 200
    headers: dict[str, str] = field(factory=dict)
    body: bytes = b""


@define(frozen=True, kw_only=True)
class Step:
    """Handling of one request by the server.

    Attributes:
        fault: The fault to inject; None for none.
        response: The response to send instead of carrying out the request.
        delay: Delay before `response`, or before the response of `Fault.SLOW`; ignored otherwise.
        retry_after: Value of `Retry-After` with `Fault.THROTTLED`, in whole seconds.
    """

    fault: Fault | None = None
    response: FaultResponse | None = None
    delay: timedelta = timedelta()
    retry_after: timedelta = timedelta(seconds=1)


def _tuple(kinds: Iterable[Fault] | None) -> tuple[Fault, ...] | None:
    return None if kinds is None else tuple(kinds)


@define(frozen=True, kw_only=True)
class Faults:
    """Random faults for a share of all requests.

    The same seed gives the same schedule of faults: one step for each request, in the order of arrival.

    Attributes:
        rate: Share of the requests, from 0 to 1.
        seed: Seed of the schedule.
        kinds: The faults to choose from, each as likely as another; None for all that a sender can recover from.
        delay: Delay of the response with `Fault.SLOW`.
        retry_after: Value of `Retry-After` with `Fault.THROTTLED`, in whole seconds.
    """

    rate: float = 0.3
    seed: int = 0
    kinds: tuple[Fault, ...] | None = field(default=None, converter=_tuple)
    delay: timedelta = timedelta(milliseconds=100)
    retry_after: timedelta = timedelta(seconds=1)

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ConfigurationError(f"The rate of faults is {self.rate}.", hint="Give a share from 0 to 1.")

    def schedule(self, default: Iterable[Fault]) -> FaultSchedule:
        """Return the steps for one request after another.

        Args:
            default: The kinds to choose from unless `kinds` is set.
        """
        return FaultSchedule(self, tuple(default) if self.kinds is None else self.kinds)


class FaultSchedule:
    """Random steps for one request after another. Not thread-safe.

    Args:
        faults: The rate, seed and delays.
        kinds: The faults to choose from.
    """

    def __init__(self, faults: Faults, kinds: tuple[Fault, ...]) -> None:
        self._faults = faults
        self._kinds = kinds
        self._random = random.Random(faults.seed)  # noqa: S311 (repeatable, that is the point)

    def next(self) -> Step:
        """Draw the step for the next request."""
        faults = self._faults
        chance, kind = self._random.random(), self._random.random()
        if chance >= faults.rate or not self._kinds:
            return Step()
        fault = self._kinds[int(kind * len(self._kinds))]
        return Step(fault=fault, delay=faults.delay, retry_after=faults.retry_after)


def whole_seconds(duration: timedelta) -> str:
    """Format a duration for `Retry-After` (RFC 9110, section 10.2.3): whole seconds, rounded up."""
    return str(math.ceil(duration.total_seconds()))

"""Failed log-ins, and how long whoever guesses passwords has to wait for the next one."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable

from attrs import define

_PER_PAIR = 5
"""Failures at one account from one address before the first wait."""

_PER_PAIR_UNDER_ATTACK = 1
"""The same while the account is being guessed at from many addresses."""

_PER_ADDRESS = 20
"""Failures from one address, whatever the account, before the first wait."""

_ATTACK = 30
"""Failures at one account, wherever they come from, that count as an attack on it."""

_LONGEST_WAIT = 900.0

_MEMORY = 3600.0
"""Seconds after the last failure until all are forgotten."""

_MOST = 20_000
"""Accounts, addresses and pairs that are remembered; beyond, the ones without a failure for longest are forgotten."""


@define
class _Tally:
    count: int = 0
    last: float = 0.0


class Guesses:
    """Counts failed log-ins, and doubles the wait with each one too many.

    An account is never locked: whoever guesses waits, and its owner logs in from another address. Only this process
    counts, so that of several services each allows as many guesses.

    Args:
        clock: Seconds, never put back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tallies: OrderedDict[tuple[str, ...], _Tally] = OrderedDict()

    def wait(self, name: str, address: str) -> float:
        """Return how many seconds the next attempt has to wait; 0 for none.

        Args:
            name: The account, which need not exist.
            address: Where the attempt comes from.
        """
        account = _digest(name)
        under_attack = self._count(("account", account)) >= _ATTACK
        free = _PER_PAIR_UNDER_ATTACK if under_attack else _PER_PAIR
        waits = (self._wait(("pair", account, address), free), self._wait(("address", address), _PER_ADDRESS))
        return max(waits)

    def failed(self, name: str, address: str) -> None:
        """Count a failure."""
        account = _digest(name)
        for key in (("account", account), ("pair", account, address), ("address", address)):
            tally = self._tallies.setdefault(key, _Tally())
            tally.count, tally.last = self._count(key) + 1, self._clock()
            self._tallies.move_to_end(key)
        while len(self._tallies) > _MOST:
            self._tallies.popitem(last=False)

    def succeeded(self, name: str, address: str) -> None:
        """Forget the failures at an account from the address that has logged in to it now.

        Those of the address stay: a guesser may have an account too.
        """
        self._tallies.pop(("pair", _digest(name), address), None)

    def _count(self, key: tuple[str, ...]) -> int:
        tally = self._tallies.get(key)
        return 0 if tally is None or self._clock() - tally.last > _MEMORY else tally.count

    def _wait(self, key: tuple[str, ...], free: int) -> float:
        excess = self._count(key) - free
        if excess < 0:
            return 0.0
        # The exponent is bounded before it is used: a count may be large.
        wait = min(_LONGEST_WAIT, 2.0 ** min(excess, 16))
        return max(0.0, self._tallies[key].last + wait - self._clock())


def _digest(name: str) -> str:
    """Return what stands for a name, which may be long, or a password in the wrong field."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()

"""Failed log-ins, and how long whoever guesses passwords has to wait for the next one."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections import OrderedDict
from collections.abc import Callable

from attrs import define

from callback_sdk.redaction import Secret

_PER_PAIR = 5
"""Failures at one account from one address before the first wait."""

_PER_PAIR_UNDER_ATTACK = 1
"""The same while the account is being guessed at from many addresses."""

_PER_ADDRESS = 20
"""Failures from one address, whatever the account, before the first wait."""

_PER_GUESS = 5
"""Failures with one password at one account from one address before the first wait of this password."""

_ATTACK = 30
"""Failures at one account, wherever they come from, that count as an attack on it."""

_LONGEST_WAIT = 900.0

_MEMORY = 3600.0
"""Seconds after the last failure until all are forgotten."""

_HALF_LIVES = {"address": 600.0, "guess": 600.0, "account": 3600.0, "pair": math.inf}
"""Seconds in which a count halves.

Behind one address may be many people: a few failures of theirs every hour must never add up to a wait for all of them.
"""

_MOST = 20_000
"""Accounts, addresses and pairs that are remembered; beyond, the ones without a failure for longest are forgotten."""


@define
class _FailureCount:
    count: float = 0.0
    last: float = 0.0


class LoginLimiter:
    """Counts failed log-ins, and doubles the wait with each one too many.

    An account is never locked: whoever guesses waits, and its owner logs in from another address. A wrong password that
    comes again is no further guess: a program with an old password makes nobody wait but itself. Only this process
    counts, so that of several services each allows as many limiter.

    Args:
        clock: Seconds, never put back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tallies: OrderedDict[tuple[str, ...], _FailureCount] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        # Without it, a copy of the digests tells whether a password was among the guesses, which may be nearly right.
        self._key = os.urandom(32)

    def wait(self, name: str, address: str, password: Secret[str]) -> float:
        """Return how many seconds the next attempt has to wait; 0 for none.

        Args:
            name: The account, which need not exist.
            address: Where the attempt comes from.
            password: The one that it is made with.
        """
        guess, pair, account, origin = self._keys(name, address, password)
        under_attack = self._count(account) >= _ATTACK
        waits = [
            self._wait(guess, _PER_GUESS),
            self._wait(pair, _PER_PAIR_UNDER_ATTACK if under_attack else _PER_PAIR),
        ]
        if pair[1:] not in self._known:
            waits.append(self._wait(origin, _PER_ADDRESS))
        return max(waits)

    def failed(self, name: str, address: str, password: Secret[str]) -> None:
        """Count a failure; one with the same password as before counts for this password only."""
        guess, *others = self._keys(name, address, password)
        for key in [guess] if self._count(guess) else [guess, *others]:
            tally = self._tallies.setdefault(key, _FailureCount())
            tally.count, tally.last = self._count(key) + 1, self._clock()
            self._tallies.move_to_end(key)
        while len(self._tallies) > _MOST:
            self._tallies.popitem(last=False)

    def succeeded(self, name: str, address: str) -> None:
        """Forget the failures at an account from the address that has logged in to it now, and know the two together.

        Those of the address stay: a guesser may have an account too. They keep its other users waiting no longer.
        """
        pair = (_digest(name), address)
        self._tallies.pop(("pair", *pair), None)
        self._known[pair] = None
        self._known.move_to_end(pair)
        while len(self._known) > _MOST:
            self._known.popitem(last=False)

    def _keys(self, name: str, address: str, password: Secret[str]) -> tuple[tuple[str, ...], ...]:
        """Return what is counted: the guess, the account from this address, the account, and the address."""
        account = _digest(name)
        guess = hashlib.blake2b(password.reveal().encode("utf-8", "surrogatepass"), key=self._key).hexdigest()
        return (
            ("guess", account, address, guess),
            ("pair", account, address),
            ("account", account),
            ("address", address),
        )

    def _count(self, key: tuple[str, ...]) -> float:
        """Return how many failures count now."""
        tally = self._tallies.get(key)
        if tally is None or (age := self._clock() - tally.last) > _MEMORY:
            return 0.0
        return float(tally.count * 0.5 ** (age / _HALF_LIVES[key[0]]))

    def _wait(self, key: tuple[str, ...], free: int) -> float:
        """Return what is left of the wait after the last failure."""
        if not self._count(key):
            return 0.0
        tally = self._tallies[key]
        # Rounded, as the failures of one moment have lost a little of their weight.
        excess = round(tally.count) - free
        if excess < 0:
            return 0.0
        # The exponent is bounded before it is used: a count may be large.
        wait = min(_LONGEST_WAIT, 2.0 ** min(excess, 16))
        return max(0.0, tally.last + wait - self._clock())


def _digest(name: str) -> str:
    """Return what stands for a name, which may be long, or a password in the wrong field."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()

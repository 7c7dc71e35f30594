"""Rate limits of logins: delays that grow with the number of failures."""

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
"""Failures for one account from one address before the first delay."""

_PER_PAIR_UNDER_ATTACK = 1
"""Failures for one account from one address before the first delay, while the account is attacked from many."""

_PER_ADDRESS = 20
"""Failures from one address, for any accounts, before the first delay."""

_PER_GUESS = 5
"""Failures with one password for one account from one address before the first delay of this password."""

_ATTACK = 30
"""Failures for one account, from any addresses, that count as an attack on it."""

_MAX_WAIT = 900.0

_COUNT_LIFETIME = 3600.0
"""Seconds after the last failure until the counts are deleted."""

_HALF_LIVES = {"address": 600.0, "guess": 600.0, "account": 3600.0, "pair": math.inf}
"""Half-life of a count, in seconds.

Many people may share one address: a few failures per hour must not add up to a delay for all of them.
"""

_MAX_COUNTS = 20_000
"""Maximum number of counts; beyond it, those with the oldest last failure are evicted."""


@define
class _FailureCount:
    count: float = 0.0
    last: float = 0.0


class LoginLimiter:
    """Counts failed logins, and doubles the delay with each failure beyond a limit.

    An account is never locked: only the attacker's address is delayed, and the owner can log in from another one. A
    repeated wrong password is not counted as another guess: a program with an outdated password delays only itself. The
    counts are in this process's memory, so each of several services has limits of its own.

    Args:
        clock: A monotonic clock, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failure_counts: OrderedDict[tuple[str, ...], _FailureCount] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        # The digests are keyed: from a copy of plain digests, guesses, which may be almost correct, could be recovered.
        self._key = os.urandom(32)

    def wait(self, name: str, address: str, password: Secret[str]) -> float:
        """Return the delay of the next attempt, in seconds; 0 for none.

        Args:
            name: The account, which may not exist.
            address: The client's address.
            password: The password of the attempt.
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

    def record_failure(self, name: str, address: str, password: Secret[str]) -> None:
        """Count a failure; a repeated password counts for this password only."""
        guess, *others = self._keys(name, address, password)
        for key in [guess] if self._count(guess) else [guess, *others]:
            failures = self._failure_counts.setdefault(key, _FailureCount())
            failures.count, failures.last = self._count(key) + 1, self._clock()
            self._failure_counts.move_to_end(key)
        while len(self._failure_counts) > _MAX_COUNTS:
            self._failure_counts.popitem(last=False)

    def record_success(self, name: str, address: str) -> None:
        """Reset the failures of an account from the address of a successful login, and remember the pair.

        The address's own count stays, as an attacker may have an account too, but no longer delays this account.
        """
        pair = (_digest(name), address)
        self._failure_counts.pop(("pair", *pair), None)
        self._known[pair] = None
        self._known.move_to_end(pair)
        while len(self._known) > _MAX_COUNTS:
            self._known.popitem(last=False)

    def _keys(self, name: str, address: str, password: Secret[str]) -> tuple[tuple[str, ...], ...]:
        """Return the counted keys: the guess, the account from this address, the account, and the address."""
        account = _digest(name)
        guess = hashlib.blake2b(password.reveal().encode("utf-8", "surrogatepass"), key=self._key).hexdigest()
        return (
            ("guess", account, address, guess),
            ("pair", account, address),
            ("account", account),
            ("address", address),
        )

    def _count(self, key: tuple[str, ...]) -> float:
        """Return the decayed number of failures."""
        failures = self._failure_counts.get(key)
        if failures is None or (age := self._clock() - failures.last) > _COUNT_LIFETIME:
            return 0.0
        return float(failures.count * 0.5 ** (age / _HALF_LIVES[key[0]]))

    def _wait(self, key: tuple[str, ...], free: int) -> float:
        """Return the remaining delay after the last failure, in seconds."""
        if not self._count(key):
            return 0.0
        failures = self._failure_counts[key]
        # Rounded, as failures that were counted a moment ago have already decayed slightly.
        excess = round(failures.count) - free
        if excess < 0:
            return 0.0
        # The exponent is bounded, as a count may be large.
        wait = min(_MAX_WAIT, 2.0 ** min(excess, 16))
        return max(0.0, failures.last + wait - self._clock())


def _digest(name: str) -> str:
    """Return the digest of a name, which may be long, or a password typed into the wrong field."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()

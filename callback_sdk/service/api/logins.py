"""Password logins: concurrency limits, rate limits and audit records."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from attrs import define, field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from callback_sdk.redaction import Secret
from callback_sdk.service.access.audit import AuditLog
from callback_sdk.service.access.login_limits import LoginLimiter
from callback_sdk.service.access.tokens import TokenError
from callback_sdk.service.access.users import Authenticator
from callback_sdk.service.api.client_addresses import network_of

T = TypeVar("T")

_MAX_CONCURRENT = 2
"""Concurrent password checks; by design of Argon2, each takes 64 MiB and a CPU core for a moment."""

_MAX_WAITING = 100
"""Maximum number of waiting logins per address."""


@define
class _Line:
    """The logins of one address: one at a time, so that a failure counts before the next one starts."""

    turn: asyncio.Lock = field(factory=asyncio.Lock)
    length: int = 0


class LoginQueue:
    """Checks passwords. Its methods run in the event loop, the checks in other threads.

    Args:
        authenticator: Authenticates users.
        audit: The audit log.
        guesses: Counts failures per account and address.
    """

    def __init__(self, authenticator: Authenticator, audit: AuditLog, guesses: LoginLimiter | None = None) -> None:
        self._authenticator = authenticator
        self._audit = audit
        self._limiter = guesses or LoginLimiter()
        self._checking = asyncio.Semaphore(_MAX_CONCURRENT)
        self._lines: dict[str, _Line] = {}

    async def run(self, check: Callable[[], T], *, name: str, password: Secret[str], address: str, via: str) -> T:
        """Log a user in.

        Args:
            check: Checks the password, and opens the session.
            name: Name of the account.
            password: The password, to recognize a repeated failure.
            address: The client's address.
            via: The interface, for the audit log.

        Raises:
            HTTPException: 429 if there were too many failures, or too many logins wait.
            TokenError: The name or the password is wrong.
        """
        origin = network_of(address)
        # Before waiting, so that a rate-limited client takes no slot; and after, as others may have failed meanwhile.
        self._refuse(name, origin, password)
        async with self._slot(origin):
            self._refuse(name, origin, password)
            try:
                found = await run_in_threadpool(check)
            except TokenError:
                self._limiter.record_failure(name, origin, password)
                account = await run_in_threadpool(self._authenticator.account, name)
                wait = math.ceil(self._limiter.wait(name, origin, password))
                self._audit.record("login-failed", account, address=address, via=via, wait=wait)
                raise
        self._limiter.record_success(name, origin)
        await run_in_threadpool(self._audit.record, "login", name, address=address, via=via)
        return found

    def _refuse(self, name: str, origin: str, password: Secret[str]) -> None:
        wait = self._limiter.wait(name, origin, password)
        if wait > 0:
            raise _too_many(f"Too many failed logins. Try again in {math.ceil(wait)} s", math.ceil(wait))

    @asynccontextmanager
    async def _slot(self, origin: str) -> AsyncIterator[None]:
        line = self._lines.setdefault(origin, _Line())
        if line.length >= _MAX_WAITING:
            raise _too_many("Too many concurrent logins from your address. Try again in a few seconds", 2)
        line.length += 1
        try:
            # At most one login per address waits here, so that many logins from one address don't delay others.
            async with line.turn, self._checking:
                yield
        finally:
            line.length -= 1
            if not line.length:
                del self._lines[origin]


def _too_many(text: str, seconds: int) -> HTTPException:
    return HTTPException(
        429, f"{text}. Existing sessions and tokens still work.", headers={"Retry-After": str(seconds)}
    )

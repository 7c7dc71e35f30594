"""callback_sdk.service.api.readiness"""

from __future__ import annotations

import asyncio
import threading

import pytest

from callback_sdk.errors import CallbackSDKError
from callback_sdk.service.api.readiness import Readiness
from callback_sdk.service.engines.errors import EngineError


def test_concurrent_requests_share_one_check() -> None:
    """During a hanging check they take one thread; a disconnected client doesn't interrupt it."""
    go, checks = threading.Event(), []

    def check() -> None:
        checks.append(threading.current_thread())
        assert go.wait(120)

    async def wait() -> None:
        readiness = Readiness(check)
        impatient = asyncio.ensure_future(readiness.wait())
        others = [asyncio.ensure_future(readiness.wait()) for _ in range(100)]
        await asyncio.sleep(0)
        impatient.cancel()
        while not checks:
            await asyncio.sleep(0.001)
        go.set()
        assert await asyncio.gather(*others) == [None] * 100
        assert impatient.cancelled()
        assert len(checks) == 1
        await readiness.wait()

    asyncio.run(wait())
    assert len(checks) == 2


def test_a_hanging_check_is_reported_after_a_timeout() -> None:
    """All requests get the response, while the check itself continues."""
    go = threading.Event()

    async def wait() -> None:
        readiness = Readiness(lambda: go.wait(120) and None, timeout=0.01)
        for _ in range(2):
            with pytest.raises(CallbackSDKError, match="has not ended within"):
                await readiness.wait()
        go.set()

    asyncio.run(wait())


def test_all_concurrent_requests_get_the_error() -> None:
    """The next request starts a new check."""
    failures = [EngineError("The broker is away."), None]

    def check() -> None:
        failure = failures.pop(0)
        if failure is not None:
            raise failure

    async def wait() -> None:
        readiness = Readiness(check)
        found = await asyncio.gather(*(readiness.wait() for _ in range(3)), return_exceptions=True)
        assert [str(error) for error in found] == ["The broker is away."] * 3
        await readiness.wait()

    asyncio.run(wait())
    assert not failures


def test_the_error_is_raised_for_one_who_asks_alone() -> None:
    """As it came."""

    def check() -> None:
        raise EngineError("The broker is away.")

    with pytest.raises(EngineError, match="away"):
        asyncio.run(Readiness(check).wait())

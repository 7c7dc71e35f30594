"""callback_sdk.service.api.long_polls"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from callback_sdk.receipt import Receipt
from callback_sdk.service.api import long_polls
from callback_sdk.service.api.long_polls import LongPolls
from callback_sdk.service.api.waiters import Waiters
from callback_sdk.service.api.watches import Watches
from callback_sdk.service.metrics import exposition
from callback_sdk.service.store import DeliveringWorker, RunOutcome, Store, Submission, TaskRow
from callback_sdk.targets.callbacks import parse_callbacks

LONG = 3000.0


@pytest.fixture
def attempt(store: Store) -> int:
    """Claim a task with one target, and return the number of its run."""
    task = TaskRow(job_id="1", owner="anna", algorithm="a", version="1", features_format="json")
    submission = Submission(task=task, features=b"[]", targets=parse_callbacks("https://example.com/done"))
    store.tasks.submit([submission])
    return store.tasks.claim("1", "w").attempt


class Client:
    """A client of one long poll.

    Attributes:
        gone: Set to disconnect.
    """

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self._asked = False

    async def receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}


class Polls:
    """The long polls of one process, with what they depend on."""

    def __init__(self, store: Store, waiters: Waiters | None = None) -> None:
        self.watches = Watches(store)
        self.waiters = waiters or Waiters()
        self._polls = LongPolls(self.watches, self.waiters)

    def begin(self, seconds: float = LONG, client: Client | None = None, **options: Any) -> asyncio.Task[bool]:
        """Begin to wait for the task."""
        given = {"for_deliveries": False, **options}
        return asyncio.create_task(self._polls.wait("1", "anna", seconds, (client or Client()).receive, **given))

    async def until_idle(self, count: int) -> None:
        """Wait until this number of polls know the state of the task."""
        for _ in range(6000):
            known = [watch.state for watches in self.watches._of_task.values() for watch in watches]
            if len(known) == count and all(known):
                return
            await asyncio.sleep(0.005)
        pytest.fail("the polls don't wait")


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await work()
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))

    asyncio.run(whole())


def test_a_wait_ends_with_the_task(store: Store, attempt: int) -> None:
    """And another one when no delivery is pending any more."""

    async def work() -> None:
        polls = Polls(store)
        waiting = polls.begin()
        await polls.until_idle(1)
        store.tasks.heartbeat("w", {"1": {"fraction": 0.5, "message": ""}})
        store.output.write("1", attempt, 0, b"one\n")
        await asyncio.sleep(0.1)
        assert not waiting.done()
        sender = DeliveringWorker(worker="w", free_slots=1)
        due = store.tasks.finish("1", attempt, RunOutcome(success=True, results=b"{}"), sender)
        assert await waiting
        for_deliveries = polls.begin(for_deliveries=True)
        await polls.until_idle(1)
        assert not for_deliveries.done()
        (claim,) = due.claims
        moment = datetime.now(timezone.utc)
        facts: dict[str, Any] = {"size": 1, "sha256": "0" * 64, "started_at": moment, "finished_at": moment}
        receipt = Receipt(target_kind="webhook", url="https://example.com/done", status=200, **facts)
        store.deliveries.record_receipt(claim.delivery_id, claim.attempt, receipt)
        assert await for_deliveries

    run(work)


def test_a_task_that_has_ended_is_not_waited_for(store: Store, attempt: int) -> None:
    """It may have ended between the check of the caller's rights and the wait."""
    store.tasks.cancel("1")

    async def work() -> None:
        assert await Polls(store).begin()

    run(work)


def test_a_wait_has_an_end(store: Store, attempt: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the client's time, or the longest that proxies allow."""
    monkeypatch.setattr(long_polls, "MAX_WAIT", 0.05)

    async def work() -> None:
        polls = Polls(store)
        assert await polls.begin(0.01)
        assert await polls.begin(LONG)

    run(work)


def test_a_client_that_goes_away_occupies_no_place(store: Store, attempt: int) -> None:
    """Neither that of its user, nor a task of the event loop."""

    async def work() -> None:
        polls, client = Polls(store, Waiters(1, per_user=1)), Client()
        waiting = polls.begin(client=client)
        await polls.until_idle(1)
        assert not await polls.begin()
        client.gone.set()
        with pytest.raises(ClientDisconnect):
            await waiting
        again = polls.begin()
        await polls.until_idle(1)
        assert not again.done()
        store.tasks.cancel("1")
        assert await again

    run(work)


def test_a_stopping_server_ends_all_waits(store: Store, attempt: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a query for each of them; clients ask again soon."""

    async def work() -> None:
        polls = Polls(store)
        waiting = [polls.begin() for _ in range(20)]
        await polls.until_idle(20)
        monkeypatch.setattr(store.live, "read", lambda ids: pytest.fail("nothing is read"))
        polls.watches.stop()
        for one in [*waiting, polls.begin()]:
            with pytest.raises(HTTPException) as caught:
                await one
            assert (caught.value.status_code, caught.value.headers) == (503, {"Retry-After": "1"})

    run(work)


def test_a_task_that_was_purged_ends_its_waits(store: Store, attempt: int) -> None:
    """The response is a 404 then."""

    async def work() -> None:
        polls = Polls(store)
        waiting = polls.begin()
        await polls.until_idle(1)
        store.tasks.delete(["1"])
        assert await waiting

    run(work)


def test_many_waits_hold_no_threads(store: Store, attempt: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor do they cost queries while nothing changes, and all of them end with one."""
    asked: list[set[str]] = []
    read = store.live.read
    monkeypatch.setattr(store.live, "read", lambda ids: asked.append(set(ids)) or read(ids))

    async def work() -> None:
        polls = Polls(store, Waiters(4000))
        before = threading.active_count()
        waiting = [polls.begin() for _ in range(1000)]
        await polls.until_idle(1000)
        begun = len(asked)
        assert threading.active_count() <= before + 1
        assert begun < 20
        assert b'callback_sdk_waiting_clients{kind="poll"} 1000.0' in exposition(store)
        await asyncio.sleep(0.3)
        assert len(asked) == begun
        store.tasks.finish("1", attempt, RunOutcome(success=True, results=b"{}"))
        assert all(await asyncio.gather(*waiting))
        assert len(asked) == begun + 1

    run(work)


def test_a_user_leaves_places_for_others() -> None:
    """Half of all, and a service with few connections has one place at least."""
    waiters = Waiters(4)
    with waiters.counted("anna", "poll"), waiters.counted("anna", "stream"):
        with pytest.raises(HTTPException, match="429"):
            waiters.check("anna")
        waiters.check("berta")
        with (
            waiters.counted("berta", "poll"),
            waiters.counted("carla", "poll"),
            pytest.raises(HTTPException, match="503"),
        ):
            waiters.check("dora")
    waiters.check("anna")
    Waiters(1).check("anna")

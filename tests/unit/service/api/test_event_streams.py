"""callback_sdk.service.api.event_streams"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from attrs import define, field
from starlette.exceptions import HTTPException

from callback_sdk.service.api import event_streams
from callback_sdk.service.api.event_streams import EventStreams
from callback_sdk.service.store import RunOutcome, Store, StoreUnavailableError, Submission, TaskRow


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often."""
    monkeypatch.setattr(event_streams, "_INTERVAL", 0.01)


@pytest.fixture
def attempt(store: Store) -> int:
    """Claim a task, and return the number of its run."""
    task = TaskRow(job_id="1", owner="anna", algorithm="a", version="1", features_format="json")
    store.tasks.submit([Submission(task=task, features=b"[]")])
    return store.tasks.claim("1", "w").attempt


@define
class Viewer:
    """A client of one stream.

    Attributes:
        received: What was sent to it.
        gone: Set to disconnect.
    """

    received: bytearray = field(factory=bytearray)
    head: dict[str, Any] = field(factory=dict)
    gone: asyncio.Event = field(factory=asyncio.Event)

    async def watch(self, streams: EventStreams, last: str | None = None, *, user: str = "anna") -> None:
        """Return when the stream has ended."""

        async def receive() -> dict[str, Any]:
            await self.gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self.head = message
            self.received += message.get("body", b"")

        response = streams.respond("1", user, last)
        await response({"type": "http", "asgi": {"spec_version": "2.3"}}, receive, send)

    def events(self, name: str) -> list[Any]:
        """Return the data of the events of this name."""
        found = [dict(line.split(": ", 1) for line in block.split("\n")) for block in self.blocks]
        return [json.loads(event["data"]) for event in found if event.get("event") == name]

    @property
    def blocks(self) -> list[str]:
        return [block for block in self.received.decode().split("\n\n") if block and not block.startswith(":")]

    async def until(self, condition: Callable[[], bool]) -> None:
        async def look() -> None:
            while not condition():
                await asyncio.sleep(0.005)

        await asyncio.wait_for(look(), 30)


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await work()
        # Without streams the last look is followed by no other one; its thread must not use the store any more.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if event_streams._INTERVAL < 1:
            await asyncio.gather(*others)

    asyncio.run(whole())


def test_a_stream_tells_what_changes_and_ends_with_the_task(store: Store, attempt: int) -> None:
    """Status, progress and output, each once, and at last the outcome."""
    streams, viewer = EventStreams(store), Viewer()

    async def work() -> None:
        watching = asyncio.create_task(viewer.watch(streams))
        await viewer.until(lambda: bool(viewer.events("status")))
        store.tasks.heartbeat("w", {"1": {"fraction": 0.5, "message": "a\n\nevent: x"}})
        await viewer.until(lambda: len(viewer.events("status")) == 2)
        store.output.write("1", attempt, 0, b"one\n")
        await viewer.until(lambda: bool(viewer.events("output")))
        store.output.write("1", attempt, 4, "two ☃".encode()[:-1])
        await viewer.until(lambda: len(viewer.events("output")) == 2)
        store.output.write("1", attempt, 10, "☃\n".encode()[2:])
        store.tasks.finish("1", attempt, RunOutcome(success=True, results=b"{}"))
        await watching

    run(work)
    progress = [state["progress"] for state in viewer.events("status")]
    assert progress[:2] == [{"fraction": None, "message": ""}, {"fraction": 0.5, "message": "a\n\nevent: x"}]
    assert "".join(event["text"] for event in viewer.events("output")) == "one\ntwo ☃\n"
    (end,) = viewer.events("end")
    assert (end["status"], end["success"]) == ("Finished", True)
    assert viewer.blocks[0] == "retry: 2000"
    headers = dict(viewer.head["headers"])
    assert headers[b"content-type"].startswith(b"text/event-stream")
    assert headers[b"x-accel-buffering"] == b"no"
    assert b"no-transform" in headers[b"cache-control"]


def test_a_client_that_reconnects_continues(store: Store, attempt: int) -> None:
    """After the last event that it has received; after the last event of all it is told to stop."""
    streams, first, second = EventStreams(store), Viewer(), Viewer()

    async def work() -> None:
        store.output.write("1", attempt, 0, b"one\n")
        watching = asyncio.create_task(first.watch(streams))
        await first.until(lambda: bool(first.events("output")))
        first.gone.set()
        await watching
        store.output.write("1", attempt, 4, b"two\n")
        store.tasks.finish("1", attempt, RunOutcome(success=True, results=b"{}"))
        await second.watch(streams, "1.4")

    run(work)
    assert second.events("output") == [{"text": "two\n"}]
    last = second.blocks[-1].split("\n")[1].removeprefix("id: ")
    assert last == "1.8.end"
    assert streams.respond("1", "anna", last).status_code == 204
    with pytest.raises(HTTPException) as caught:
        streams.respond("1", "anna", "x")
    assert caught.value.status_code == 422


def test_streams_are_limited(store: Store, attempt: int) -> None:
    """Per user and in all; the place of a client that has gone is free again."""
    streams = EventStreams(store, max_streams=2, max_streams_of_user=1)
    viewers = {name: Viewer() for name in ("anna", "berta")}

    async def work() -> None:
        watching = [asyncio.create_task(one.watch(streams, user=name)) for name, one in viewers.items()]
        for viewer in viewers.values():
            await viewer.until(lambda viewer=viewer: bool(viewer.events("status")))
        for name, status in (("anna", 429), ("carla", 503)):
            with pytest.raises(HTTPException) as caught:
                await Viewer().watch(streams, user=name)
            assert (caught.value.status_code, caught.value.headers) == (status, {"Retry-After": "5"})
        viewers["anna"].gone.set()
        await watching[0]
        again = Viewer()
        later = asyncio.create_task(again.watch(streams, user="anna"))
        await again.until(lambda: bool(again.events("status")))
        streams.is_stopping = lambda: True
        await asyncio.gather(watching[1], later)

    run(work)


def test_an_idle_stream_has_heartbeats(store: Store, attempt: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comments, so that no proxy closes it."""
    monkeypatch.setattr(event_streams, "_HEARTBEAT", 0.02)
    streams, viewer = EventStreams(store), Viewer()

    async def work() -> None:
        watching = asyncio.create_task(viewer.watch(streams))
        await viewer.until(lambda: viewer.received.count(b": heartbeat\n\n") == 3)
        viewer.gone.set()
        await watching

    run(work)
    assert len(viewer.events("status")) == 1


def test_a_stream_ends_now_and_then(store: Store, attempt: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client reconnects with the credentials that it has then."""
    monkeypatch.setattr(event_streams, "_LIFETIME", 0.05)
    monkeypatch.setattr(event_streams, "_HEARTBEAT", 0.01)
    viewer = Viewer()
    run(lambda: viewer.watch(EventStreams(store)))
    assert viewer.events("end") == []


def test_a_stream_survives_an_outage(store: Store, attempt: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And tells the rest afterwards; nothing is lost."""
    streams, viewer = EventStreams(store), Viewer()
    read = store.output.read
    failures = iter([StoreUnavailableError("no database")])

    def fail_once(job_id: str) -> Any:
        for error in failures:
            raise error
        return read(job_id)

    monkeypatch.setattr(store.output, "read", fail_once)

    async def work() -> None:
        store.output.write("1", attempt, 0, b"one\n")
        store.tasks.finish("1", attempt, RunOutcome(success=True, results=b"{}"))
        await viewer.watch(streams)

    run(work)
    assert viewer.events("output") == [{"text": "one\n"}]
    assert len(viewer.events("end")) == 1


def test_a_task_that_was_purged_ends_its_streams(store: Store, attempt: int) -> None:
    """There is nothing to tell any more."""
    viewer = Viewer()

    async def work() -> None:
        watching = asyncio.create_task(viewer.watch(EventStreams(store)))
        await viewer.until(lambda: bool(viewer.events("status")))
        store.tasks.delete(["1"])
        await watching

    run(work)
    assert viewer.events("end") == []


def test_one_query_reads_all_watched_tasks(store: Store, attempt: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many streams are open."""
    monkeypatch.setattr(event_streams, "_INTERVAL", 3600)
    asked: list[set[str]] = []
    read = store.live.read
    monkeypatch.setattr(store.live, "read", lambda ids: asked.append(set(ids)) or read(ids))
    streams, viewers = EventStreams(store), [Viewer() for _ in range(15)]

    async def work() -> None:
        watching = [asyncio.create_task(one.watch(streams)) for one in viewers]
        for viewer in viewers:
            await viewer.until(lambda viewer=viewer: bool(viewer.events("status")))
        for viewer in viewers:
            viewer.gone.set()
        await asyncio.gather(*watching)

    run(work)
    assert asked == [{"1"}]

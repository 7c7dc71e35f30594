"""callback_sdk.service.api.event_streams"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from attrs import define, field
from starlette.exceptions import HTTPException

from callback_sdk.service.api import event_streams, watches
from callback_sdk.service.api.event_streams import EventStreams, Viewer
from callback_sdk.service.api.waiters import Waiters
from callback_sdk.service.api.watches import Watches
from callback_sdk.service.store import RunOutcome, Store, StoreUnavailableError, Submission, TaskRow


class Streams:
    """The streams of one process, with what they depend on."""

    def __init__(self, store: Store, waiters: Waiters | None = None) -> None:
        self.watches = Watches(store)
        self.events = EventStreams(store, self.watches, waiters or Waiters())


@pytest.fixture
def attempt(store: Store) -> int:
    """Claim a task, and return the number of its run."""
    task = TaskRow(job_id="1", owner="anna", algorithm="a", version="1", features_format="json")
    store.tasks.submit([Submission(task=task, features=b"[]")])
    return store.tasks.claim("1", "w").attempt


@define
class Reader:
    """A client of one stream.

    Attributes:
        received: What was sent to it.
        gone: Set to disconnect.
    """

    received: bytearray = field(factory=bytearray)
    head: dict[str, Any] = field(factory=dict)
    gone: asyncio.Event = field(factory=asyncio.Event)

    async def watch(
        self,
        streams: Streams,
        last: str | None = None,
        *,
        user: str = "anna",
        may_watch: Callable[[], bool] = lambda: True,
        **options: Any,
    ) -> None:
        """Return when the stream of the task, or of all tasks, has ended."""

        async def receive() -> dict[str, Any]:
            await self.gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self.head = message
            self.received += message.get("body", b"")

        opened = Viewer(user_id=user, may_watch=may_watch)
        if options.pop("all_tasks", False):
            response = streams.events.of_user(opened, last)
        else:
            response = streams.events.of_task("1", opened, last, **options)
        await response({"type": "http", "asgi": {"spec_version": "2.3"}}, receive, send)

    def events(self, name: str) -> list[Any]:
        """Return the data of the events of this name."""
        found = [dict(line.split(": ", 1) for line in block.split("\n")) for block in self.blocks]
        return [json.loads(event["data"]) for event in found if event.get("event") == name]

    @property
    def last_id(self) -> str:
        """The id of the last event."""
        ids = [line for block in self.blocks for line in block.split("\n") if line.startswith("id: ")]
        return ids[-1].removeprefix("id: ")

    @property
    def blocks(self) -> list[str]:
        """What an empty line has ended, without comments."""
        *ended, _ = self.received.decode().split("\n\n")
        return ["\n".join(line for line in block.split("\n") if not line.startswith(":")) for block in ended]

    async def until(self, condition: Callable[[], bool]) -> None:
        async def look() -> None:
            while not condition():
                await asyncio.sleep(0.005)

        await asyncio.wait_for(look(), 30)


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await work()
        # Without streams the last look is followed by no other one; its thread must not use the store any more.
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))

    asyncio.run(whole())


def test_a_stream_tells_what_changes_and_ends_with_the_task(store: Store, attempt: int) -> None:
    """Status, progress and output, each once, and at last the outcome."""
    streams, viewer = Streams(store), Reader()

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
    assert viewer.received.startswith(b"retry: 2000\nevent: status\n")
    assert all("\ndata: " in block for block in viewer.blocks)
    headers = dict(viewer.head["headers"])
    assert headers[b"content-type"].startswith(b"text/event-stream")
    assert headers[b"x-accel-buffering"] == b"no"
    assert b"no-transform" in headers[b"cache-control"]


def test_a_client_that_reconnects_continues(store: Store, attempt: int) -> None:
    """After the last event that it has received; after the last event of all it is told to stop."""
    streams, first, second = Streams(store), Reader(), Reader()

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
    anna = Viewer(user_id="anna", may_watch=lambda: True)
    assert streams.events.of_task("1", anna, last).status_code == 204
    with pytest.raises(HTTPException) as caught:
        streams.events.of_task("1", anna, "x")
    assert caught.value.status_code == 422


def test_streams_are_limited(store: Store, attempt: int) -> None:
    """Per user and in all; the place of a client that has gone is free again."""
    streams = Streams(store, Waiters(2, per_user=1))
    viewers = {name: Reader() for name in ("anna", "berta")}

    async def work() -> None:
        watching = [asyncio.create_task(one.watch(streams, user=name)) for name, one in viewers.items()]
        for viewer in viewers.values():
            await viewer.until(lambda viewer=viewer: bool(viewer.events("status")))
        for name, status in (("anna", 429), ("carla", 503)):
            with pytest.raises(HTTPException) as caught:
                await Reader().watch(streams, user=name)
            assert (caught.value.status_code, caught.value.headers) == (status, {"Retry-After": "5"})
        viewers["anna"].gone.set()
        await watching[0]
        again = Reader()
        later = asyncio.create_task(again.watch(streams, user="anna"))
        await again.until(lambda: bool(again.events("status")))
        streams.watches.stop()
        await asyncio.gather(watching[1], later)

    run(work)


def test_an_idle_stream_has_heartbeats(store: Store, attempt: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comments, so that no proxy closes it."""
    monkeypatch.setattr(event_streams, "HEARTBEAT", 0.02)
    streams, viewer = Streams(store), Reader()

    async def work() -> None:
        watching = asyncio.create_task(viewer.watch(streams))
        await viewer.until(lambda: bool(viewer.events("status")))
        before = viewer.received.count(b": heartbeat\n")
        await viewer.until(lambda: viewer.received.count(b": heartbeat\n") >= before + 3)
        viewer.gone.set()
        await watching

    run(work)
    assert len(viewer.events("status")) == 1
    assert b"\n\n:" in viewer.received
    assert not viewer.received.endswith(b"\n\n")


def test_a_stream_ends_now_and_then(store: Store, attempt: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client reconnects with the credentials that it has then."""
    monkeypatch.setattr(event_streams, "_LIFETIME", 0.05)
    monkeypatch.setattr(event_streams, "HEARTBEAT", 0.01)
    viewer = Reader()
    run(lambda: viewer.watch(Streams(store)))
    assert viewer.events("end") == []


def test_a_stream_survives_an_outage(store: Store, attempt: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And tells the rest afterwards; nothing is lost."""
    streams, viewer = Streams(store), Reader()
    read = store.output.read
    monkeypatch.setattr(watches, "_RETRY", 0.01)
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
    viewer = Reader()

    async def work() -> None:
        watching = asyncio.create_task(viewer.watch(Streams(store)))
        await viewer.until(lambda: bool(viewer.events("status")))
        store.tasks.delete(["1"])
        await watching

    run(work)
    assert viewer.events("end") == []


def test_one_query_reads_all_watched_tasks(store: Store, attempt: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many streams are open, and none while nothing changes."""
    asked: list[set[str]] = []
    read = store.live.read
    monkeypatch.setattr(store.live, "read", lambda ids: asked.append(set(ids)) or read(ids))
    streams, viewers = Streams(store), [Reader() for _ in range(300)]

    async def work() -> None:
        watching = [asyncio.create_task(one.watch(streams)) for one in viewers]
        for viewer in viewers:
            await viewer.until(lambda viewer=viewer: bool(viewer.events("status")))
        begun = len(asked)
        assert begun < 10
        await asyncio.sleep(0.2)
        assert len(asked) == begun
        store.tasks.heartbeat("w", {"1": {"fraction": 0.5, "message": ""}})
        for viewer in viewers:
            await viewer.until(lambda viewer=viewer: len(viewer.events("status")) == 2)
        assert len(asked) == begun + 1
        for viewer in viewers:
            viewer.gone.set()
        await asyncio.gather(*watching)

    run(work)


def test_a_change_that_was_not_announced_is_found(store: Store, attempt: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notification of another process may be lost, so all watched tasks are checked from time to time."""
    monkeypatch.setattr(watches, "CHECK_INTERVAL", 0.05)
    monkeypatch.setattr(store.database.changes, "publish", lambda job_ids: None)
    one, every = Reader(), Reader()
    streams = Streams(store)

    async def work() -> None:
        watching = [asyncio.create_task(one.watch(streams)), asyncio.create_task(every.watch(streams, all_tasks=True))]
        await one.until(lambda: bool(one.events("status")))
        store.tasks.finish("1", attempt, RunOutcome(success=True, results=b"{}"))
        await watching[0]
        await every.until(lambda: any(event["status"] == "Finished" for event in every.events("status")))
        every.gone.set()
        await watching[1]

    run(work)
    assert len(one.events("end")) == 1


def test_a_stream_ends_when_the_caller_loses_access(
    store: Store, attempt: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing more is sent with a token that was revoked."""
    monkeypatch.setattr(event_streams, "_RECHECK", 0.0)
    allowed = [True]
    viewer = Reader()

    async def work() -> None:
        watching = asyncio.create_task(viewer.watch(Streams(store), may_watch=lambda: allowed[0]))
        await viewer.until(lambda: bool(viewer.events("status")))
        allowed[0] = False
        store.tasks.heartbeat("w", {"1": {"fraction": 0.5, "message": "secret"}})
        await watching

    run(work)
    assert b"secret" not in viewer.received


def test_a_stream_without_output(store: Store, attempt: int) -> None:
    """Who waits for the end only needs not receive everything that is printed."""
    viewer = Reader()

    async def work() -> None:
        store.output.write("1", attempt, 0, b"one\n")
        watching = asyncio.create_task(viewer.watch(Streams(store), output=False))
        await viewer.until(lambda: bool(viewer.events("status")))
        store.tasks.finish("1", attempt, RunOutcome(success=True, results=b"{}"))
        await watching

    run(work)
    assert viewer.events("output") == []
    assert len(viewer.events("end")) == 1


def test_a_stream_of_all_tasks(store: Store, attempt: int) -> None:
    """Of the user, not of others; a client that reconnects gets what has changed in the meantime."""
    streams, first, second, other = Streams(store), Reader(), Reader(), Reader()

    def submit(job_id: str, owner: str) -> None:
        task = TaskRow(job_id=job_id, owner=owner, algorithm="a", version="1", features_format="json")
        store.tasks.submit([Submission(task=task, features=b"[]")])

    async def work() -> None:
        watching = asyncio.create_task(first.watch(streams, all_tasks=True))
        watching_other = asyncio.create_task(other.watch(streams, all_tasks=True, user="berta"))
        await first.until(lambda: bool(first.events("begin")))
        await other.until(lambda: bool(other.events("begin")))
        submit("2", "anna")
        submit("3", "berta")
        await first.until(lambda: bool(first.events("status")))
        await other.until(lambda: bool(other.events("status")))
        first.gone.set()
        await watching
        store.tasks.cancel("2")
        again = asyncio.create_task(second.watch(streams, first.last_id, all_tasks=True))
        await second.until(lambda: {event["job_id"] for event in second.events("status")} >= {"1", "2"})
        for reader in (second, other):
            reader.gone.set()
        await asyncio.gather(again, watching_other)

    run(work)
    assert [(event["job_id"], event["status"]) for event in first.events("status")] == [("2", "Pending")]
    assert {event["job_id"]: event["status"] for event in second.events("status")} == {
        "1": "In Progress",
        "2": "Canceled",
    }
    assert {event["job_id"] for event in other.events("status")} == {"3"}
    with pytest.raises(HTTPException) as caught:
        streams.events.of_user(Viewer(user_id="anna", may_watch=lambda: True), "1.8.end")
    assert caught.value.status_code == 422


def test_events_that_are_sent_together_have_one_id(store: Store, attempt: int) -> None:
    """With the last: a client that leaves before it has received all of them begins again where it did before."""
    viewer = Reader()
    for number in range(2, 5):
        task = TaskRow(job_id=str(number), owner="anna", algorithm="a", version="1", features_format="json")
        store.tasks.submit([Submission(task=task, features=b"[]")])

    async def work() -> None:
        watching = asyncio.create_task(viewer.watch(Streams(store), "1000.000", all_tasks=True))
        await viewer.until(lambda: len(viewer.events("status")) == 4)
        viewer.gone.set()
        await watching

    run(work)
    assert [("\nid: " in block) for block in viewer.blocks] == [False, False, False, True]
    assert viewer.events("begin") == []


def test_a_client_that_is_gone_before_the_head_leaves_no_place_occupied(store: Store, attempt: int) -> None:
    """A generator that was never started runs no `finally`, so it must not be what frees the place."""
    waiters = Waiters(1, per_user=1)
    streams, viewer = Streams(store, waiters), Reader()

    async def work() -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            raise OSError("gone")

        response = streams.events.of_task("1", Viewer(user_id="anna", may_watch=lambda: True), None)
        with pytest.raises(BaseException):  # noqa: B017, PT011 - a ClientDisconnect, or a group with an OSError
            await response({"type": "http", "asgi": {"spec_version": "2.4"}}, receive, send)
        watching = asyncio.create_task(viewer.watch(streams))
        await viewer.until(lambda: bool(viewer.events("status")))
        viewer.gone.set()
        await watching

    run(work)


def test_line_separators_are_escaped(store: Store, attempt: int) -> None:
    """Some clients take them for line ends, which cuts the JSON."""
    viewer = Reader()

    async def work() -> None:
        store.output.write("1", attempt, 0, "a\u2028b\x85c\n".encode())
        store.tasks.finish("1", attempt, RunOutcome(success=True, results=b"{}"))
        await viewer.watch(Streams(store))

    run(work)
    assert viewer.events("output") == [{"text": "a\u2028b\x85c\n"}]
    assert all(len(line.splitlines()) == 1 for line in viewer.received.decode().split("\n") if line)

"""Waiting ends on time, regardless of the service."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from callback_sdk.client import Client, Task
from callback_sdk.client.states import TaskSnapshot
from callback_sdk.client.wait_plan import Poll
from callback_sdk.client.waiting import TaskWait
from callback_sdk.errors import ServiceConnectionError, ServiceError, TaskTimeoutError
from tests.rawserver import RawServer, read_request
from tests.unit.client.jobs import TOKEN

SHORT = timedelta(seconds=0.6)
LONG = timedelta(seconds=30)
RUNNING = TaskSnapshot(job_id="42", status="In Progress")
DONE = TaskSnapshot(job_id="42", status="Finished")


def _silence(connection: socket.socket, pause: Callable[[], object]) -> None:
    pause()


def _slow_status_line(connection: socket.socket, pause: Callable[[], object]) -> None:
    for byte in b"HTTP/1.1 200 " + b"a" * 1000:
        connection.sendall(bytes([byte]))
        pause()


def _slow_headers(connection: socket.socket, pause: Callable[[], object]) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    for number in range(1000):
        connection.sendall(b"X-Header-%d: 1\r\n" % number)
        pause()


def _slow_body(connection: socket.socket, pause: Callable[[], object]) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(1000):
        connection.sendall(b" ")
        pause()


def _slow_chunks(connection: socket.socket, pause: Callable[[], object]) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(1000):
        connection.sendall(b"1\r\n \r\n")
        pause()


def _asks_to_wait(connection: socket.socket, pause: Callable[[], object]) -> None:
    connection.sendall(b"HTTP/1.1 503 Busy\r\nRetry-After: 25\r\nContent-Length: 0\r\n\r\n")
    pause()


@pytest.mark.parametrize(
    "behaviour", [_silence, _slow_status_line, _slow_headers, _slow_body, _slow_chunks, _asks_to_wait]
)
@pytest.mark.parametrize("credentials", [{"token": TOKEN}, {"username": "anna", "password": "secret-word"}])
def test_waiting_ends_while_the_service_is_still_responding(
    behaviour: Callable[..., None], credentials: dict[str, Any], clean_environment: Any
) -> None:
    """Silence, slow single bytes, `Retry-After` and logins don't extend a wait."""
    finished = threading.Event()

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        behaviour(connection, lambda: server.wait(0.1 if behaviour not in (_silence, _asks_to_wait) else 25))
        finished.set()

    with RawServer(script) as server, Client(server.url, **credentials, timeout=LONG) as client:
        with pytest.raises(TaskTimeoutError, match="has not ended in time") as caught:
            Task(client._api, RUNNING).wait(SHORT, progress=False)
        assert not finished.is_set()
    assert caught.value.job_id == "42"
    assert isinstance(caught.value.__cause__, ServiceError)


@pytest.mark.parametrize("url", ["https://127.0.0.1:{port}", "https://service.invalid", "http://service.invalid"])
def test_a_handshake_or_a_proxy_that_hangs_is_not_waited_for(url: str, clean_environment: Any) -> None:
    """The time for TLS, and for a proxy to open its tunnel a byte at a time, counts as well."""
    finished = threading.Event()

    def script(connection: socket.socket, number: int) -> None:
        connection.recv(1)
        for byte in b"HTTP/1.1 200 " + b"a" * 250:
            connection.sendall(bytes([byte]) if "invalid" in url else b"")
            server.wait(0.1)
        finished.set()

    with RawServer(script) as server:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
            clean_environment.setenv(name, server.url)
        with Client(url.format(port=server.port), token=TOKEN, timeout=LONG, connect_timeout=LONG) as client:
            with pytest.raises(TaskTimeoutError):
                Task(client._api, RUNNING).wait(SHORT, progress=False)
            assert not finished.is_set()
            assert server.connections >= 1


def test_an_unresponsive_name_server_does_not_extend_a_wait(
    monkeypatch: pytest.MonkeyPatch, clean_environment: Any
) -> None:
    """The system's resolver may take half a minute."""
    release = threading.Event()
    monkeypatch.setattr("callback_sdk.transport.connect.socket.getaddrinfo", lambda *_, **__: release.wait(120) and [])
    with Client("http://service.invalid", token=TOKEN) as client, pytest.raises(TaskTimeoutError):
        Task(client._api, RUNNING).wait(SHORT, progress=False)
    assert not release.is_set()
    release.set()


def test_all_tasks_together_wait_no_longer(clean_environment: Any) -> None:
    """A service that never answers ends `wait_all` at its first task, when the time of all is over."""
    finished = threading.Event()

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        server.wait(25)
        finished.set()

    with RawServer(script) as server, Client(server.url, token=TOKEN, timeout=LONG) as client:
        tasks = [Task(client._api, TaskSnapshot(job_id=str(number))) for number in range(100)]
        with pytest.raises(TaskTimeoutError, match="0 of 100 tasks have ended"):
            client.wait_all(tasks, SHORT, progress=False)
        assert not finished.is_set()
        assert server.connections == 1


class Clock:
    """A clock that is advanced by `sleep`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        monkeypatch.setattr("callback_sdk.client.waiting.time", self)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_the_service_may_request_a_longer_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Retry-After` is honoured between two polls, up to 30 seconds and up to the deadline."""
    clock = Clock(monkeypatch)
    errors = [ServiceError("busy", status=503, retry_after=delay) for delay in (7.0, 1000.0)]

    def ask(poll: Poll) -> TaskSnapshot:
        if errors:
            raise errors.pop(0)
        return DONE

    waiting = TaskWait(end=clock.now + 100)
    assert waiting.until(lambda state: state.ended, ask, RUNNING) == (DONE, None)
    assert clock.slept == [7.0, 30.0]


def test_the_last_question_has_time_for_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses end early enough to learn of a task that ends within the last one; nothing is asked later."""
    clock = Clock(monkeypatch)
    deadlines: list[float] = []

    def ask(poll: Poll) -> TaskSnapshot:
        assert clock.now < poll.deadline
        deadlines.append(poll.deadline - clock.now)
        return DONE if clock.now >= 1099.5 else RUNNING

    waiting = TaskWait(end=clock.now + 100, max_interval=60)
    assert waiting.until(lambda state: state.ended, ask, RUNNING) == (DONE, None)
    assert 0 < deadlines[-1] <= 0.5
    assert clock.now <= 1100


def test_polls_stop_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of polls is bounded, and the last state is returned with the last error."""
    clock = Clock(monkeypatch)
    trouble = ServiceConnectionError("away")
    asked: list[float] = []

    def ask(poll: Poll) -> TaskSnapshot:
        asked.append(poll.deadline)
        raise trouble

    assert TaskWait(end=clock.now + 10).until(lambda state: state.ended, ask, RUNNING) == (RUNNING, trouble)
    assert clock.now <= 1010
    assert len(asked) < 30


def test_a_permanent_error_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as an unknown task."""
    clock = Clock(monkeypatch)

    def ask(poll: Poll) -> TaskSnapshot:
        raise ServiceError("no such task", status=404)

    with pytest.raises(ServiceError, match="no such task"):
        TaskWait(end=clock.now + 10).until(lambda state: state.ended, ask, RUNNING)
    assert clock.slept == []


def test_a_thread_that_waits_for_a_login_ends_on_time(clean_environment: Any) -> None:
    """A short wait ends while another thread logs in with a longer timeout."""
    asked, release = threading.Event(), threading.Event()

    def script(connection: socket.socket, number: int) -> None:
        read_request(connection)
        asked.set()
        release.wait(25)

    with (
        RawServer(script) as server,
        Client(server.url, username="anna", password="secret-word", timeout=LONG, retries=0) as client,
    ):

        def log_in() -> None:
            with pytest.raises(ServiceConnectionError):
                client.get_algorithms()

        other = threading.Thread(target=log_in)
        other.start()
        asked.wait(60)
        with pytest.raises(TaskTimeoutError) as caught:
            Task(client._api, RUNNING).wait(SHORT, progress=False)
        assert "logging in" in str(caught.value.__cause__)
        assert other.is_alive()
        release.set()
        other.join()


def test_a_wait_that_is_over_asks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However short the wait, the first question has the time to be answered."""
    clock = Clock(monkeypatch)
    deadlines: list[float] = []

    def ask(poll: Poll) -> TaskSnapshot:
        deadlines.append(poll.deadline - clock.now)
        return DONE

    assert TaskWait(end=clock.now + 0.001).until(lambda state: state.ended, ask, RUNNING) == (DONE, None)
    assert deadlines == [0.5]

"""ResultsWriter and Outbox in other people's processes: signal handlers, interpreter shutdown, forks, silent hosts."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from callback_sdk import JobResult, Outbox, ResultsWriter
from callback_sdk.errors import OutboxError
from callback_sdk.testing import WebhookReceiver
from callback_sdk.transport.http import Timeouts
from callback_sdk.writer.attempts import DeliveryAttempts

MAKE = """
import atexit, os, signal, sys, threading, time
from callback_sdk import JobResult, Outbox, ResultsWriter
from callback_sdk.errors import OutboxError
kind, path, *urls = sys.argv[1:]
made = Outbox(path) if kind == "outbox" else ResultsWriter()
"""

HANDLER = (
    MAKE
    + """
number = 0
def on_term(*_):
    try:
        made.write(JobResult(job_id="canceled", success=False, error="terminated"), urls)
        print("written", flush=True)
    except OutboxError as error:
        print("refused" if "signal handler" in str(error) else error, flush=True)
    os._exit(0)
signal.signal(signal.SIGTERM, on_term)
def term():
    while number < 5:
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=term, daemon=True).start()
while True:
    number += 1
    made.write(JobResult(job_id=str(number), success=True, results=number), urls)
"""
)

SHUTDOWN = (
    MAKE
    + """
def work():
    written = made.write(JobResult(job_id="1", success=True, results=[1]), urls)
    print(len(written.receipts if kind == "outbox" else written), flush=True)
if "atexit" in path:
    atexit.register(work)
else:
    def later():
        while threading.main_thread().is_alive():
            time.sleep(0.001)
        work()
    threading.Thread(target=later).start()
"""
)

FORKS = (
    MAKE
    + """
def work(name):
    made.write(JobResult(job_id=name, success=True, results=[1]), urls)
for number in range(6):
    threads = [threading.Thread(target=work, args=(f"{number}-{thread}",)) for thread in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(number / 1000)
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        work(f"{number}-child")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, "the child hung"
    for thread in threads:
        thread.join()
"""
)


def run(script: str, kind: str, path: Path, *urls: str) -> str:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, kind, str(path), *urls]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


@pytest.mark.parametrize("kind", ["writer", "outbox"])
def test_signal_handler_can_write_while_the_main_thread_writes(
    tmp_path: Path, webhook: WebhookReceiver, kind: str
) -> None:
    """It never waits for the frame that it interrupted; in the middle of a commit it gets an error that says so."""
    said = {run(HANDLER, kind, tmp_path / f"outbox{number}", webhook.url) for number in range(3)}
    assert said <= ({"written", "refused"} if kind == "outbox" else {"written"})


def test_write_from_a_handler_in_the_middle_of_a_commit_is_an_error(tmp_path: Path, webhook: WebhookReceiver) -> None:
    """The interrupted commit can't end before the handler does, so waiting for it would last for ever."""
    with Outbox(tmp_path / "outbox") as outbox:
        with (
            outbox._process_state().database.transaction(),
            pytest.raises(OutboxError, match="signal handler has interrupted"),
        ):
            outbox.write(JobResult(job_id="1", success=True), webhook.url)
        assert not webhook.requests
        assert len(outbox.write(JobResult(job_id="1", success=True), webhook.url).receipts) == 1


@pytest.mark.parametrize("kind", ["writer", "outbox"])
@pytest.mark.parametrize("when", ["atexit", "thread"])
def test_several_targets_are_delivered_to_while_the_interpreter_shuts_down(
    tmp_path: Path, webhook: WebhookReceiver, kind: str, when: str
) -> None:
    """From an atexit function, and from a thread that outlives the main thread: no new thread is needed."""
    urls = [f"{webhook.url}/{number}" for number in range(3)]
    assert run(SHUTDOWN, kind, tmp_path / f"{when}-outbox", *urls) == "3"
    assert len(webhook.accepted) == 3


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("kind", ["writer", "outbox"])
def test_child_that_is_forked_while_threads_write_can_write(
    tmp_path: Path, webhook: WebhookReceiver, kind: str
) -> None:
    """It has its own locks, threads, connections and database handle; every result arrives once."""
    run(FORKS, kind, tmp_path / "outbox", f"{webhook.url}/1", f"{webhook.url}/2")
    delivered = [(request.document["job_id"], request.path) for request in webhook.accepted]
    assert len(delivered) == len(set(delivered)) == 6 * 4 * 2


def _write(outbox: Outbox, job_id: str) -> None:
    outbox.write(JobResult(job_id=job_id, success=True), f"http://127.0.0.1:9/{job_id}")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_nothing_that_a_child_stored_is_lost_when_its_parent_closes_the_outbox(tmp_path: Path) -> None:
    """SQLite would delete the log of changes that the child still writes to."""
    path = tmp_path / "outbox"
    outbox = Outbox(path)
    _write(outbox, "parent")
    (told, tell), (go, release) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        _write(outbox, "child-before")
        os.write(tell, b"x")
        os.read(go, 1)
        _write(outbox, "child-after")
        os._exit(0)
    os.read(told, 1)
    outbox.close()
    os.write(release, b"x")
    assert os.waitpid(child, 0)[1] == 0
    for descriptor in (told, tell, go, release):
        os.close(descriptor)
    with Outbox(path) as again:
        assert [entry.job_id for entry in again.entries()] == ["parent", "child-before", "child-after"]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_child_that_is_forked_inside_a_transaction_gets_an_error(tmp_path: Path) -> None:
    """SQLite would take the parent's lock for the child's, and wait forever."""
    with Outbox(tmp_path / "outbox") as outbox:
        with outbox._process_state().database.transaction():
            child = os.fork()
            if child == 0:
                signal.alarm(60)
                code = 1
                try:
                    _write(outbox, "child")
                except OutboxError as error:
                    code = 0 if "forked during a transaction" in str(error) else 2
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        _write(outbox, "parent")
        assert [entry.job_id for entry in outbox.entries()] == ["parent"]


@pytest.fixture
def silent() -> Iterator[list[str]]:
    """Give URLs of hosts that accept connections and never respond."""
    listeners = [socket.create_server(("127.0.0.1", 0), backlog=500) for _ in range(6)]
    yield [f"http://127.0.0.1:{listener.getsockname()[1]}/hook" for listener in listeners]
    for listener in listeners:
        listener.close()


def test_silent_hosts_hold_up_no_other(
    tmp_path: Path, webhook: WebhookReceiver, silent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many deliveries are due at them, a delivery for another host is made long before their timeout."""
    monkeypatch.setattr("callback_sdk.outbox.base.SHUTDOWN_TIMEOUT", timedelta(0))
    hour = timedelta(hours=1)
    patient = ResultsWriter(attempt_timeouts=Timeouts(read=hour, attempt=hour))
    with Outbox(tmp_path / "outbox", writer=patient) as outbox:
        with monkeypatch.context() as patch:
            # As after a crash: everything is stored and nothing was tried.
            patch.setattr(DeliveryAttempts, "attempt", lambda *args, **kwargs: 1 / 0)
            for number in range(8):
                for url in silent:
                    outbox.write(JobResult(job_id=f"{number}", success=True), f"{url}/{number}")
            outbox.write(JobResult(job_id="good", success=True), webhook.url)
        outbox.redeliver()
        stop = threading.Event()
        thread = threading.Thread(target=outbox.run, kwargs={"stop": stop})
        thread.start()
        webhook.wait_for(1, timeout=timedelta(minutes=1))
        stop.set()
        thread.join()
    patient.close()

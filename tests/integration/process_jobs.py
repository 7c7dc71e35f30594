"""Algorithms that use or change their process in the ways of ordinary Python code."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from callback_sdk.service import Registry, RunInterrupt

registry = Registry()


def note(parameters, text: str) -> None:
    """Append a line to the file that a test reads."""
    with Path(parameters["notes"]).open("a") as file:
        file.write(f"{text}\n")


@registry.algorithm("answer")
def answer(features, parameters, context):
    """Return the pid of the process."""
    return os.getpid()


@registry.algorithm("cleaning")
def cleaning(features, parameters, context):
    """Clean up when it is stopped."""
    note(parameters, "started")
    try:
        time.sleep(600)
    except RunInterrupt as interrupt:
        note(parameters, f"{interrupt.reason} {context.stopping}")
        raise


@registry.algorithm("retrying")
def retrying(features, parameters, context):
    """Go on after every error."""
    note(parameters, "started")
    while True:
        try:
            time.sleep(600)
        except Exception:  # noqa: BLE001, PERF203
            note(parameters, "retried")
        finally:
            note(parameters, "cleaned up")


@registry.algorithm("partial")
def partial(features, parameters, context):
    """Return what there is when it is stopped."""
    note(parameters, "started")
    try:
        time.sleep(600)
    except RunInterrupt:
        return "partial"


@registry.algorithm("stubborn")
def stubborn(features, parameters, context):
    """Never end, with a child process."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    note(parameters, "started")
    note(parameters, f"{os.getpid()} {child.pid}")
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(600)


@registry.algorithm("polling")
def polling(features, parameters, context):
    """Poll in a thread, with a main thread that handles no signals."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def poll():
        note(parameters, "started")
        while not context.stopping:
            time.sleep(0.01)
        note(parameters, "stopping")

    thread = threading.Thread(target=poll)
    thread.start()
    thread.join()


@registry.algorithm("asynchronous")
def asynchronous(features, parameters, context):
    """Clean up in a coroutine, while a callback of the event loop runs all the time."""

    async def work():
        loop = asyncio.get_running_loop()

        def busy():
            time.sleep(0.01)
            loop.call_soon(busy)

        busy()
        try:
            note(parameters, "started")
            await asyncio.sleep(600)
        finally:
            note(parameters, "cleaned up")

    asyncio.run(work())


@registry.algorithm("coroutine")
async def coroutine(features, parameters, context):
    """Clean up in a coroutine, while the event loop is busy."""
    loop = asyncio.get_running_loop()

    def busy():
        time.sleep(0.01)
        loop.call_soon(busy)

    busy()
    try:
        note(parameters, "started")
        await asyncio.sleep(600)
    finally:
        await asyncio.sleep(0.01)
        note(parameters, "cleaned up")


@registry.algorithm("pooling")
def pooling(features, parameters, context):
    """Wait for processes of a pool."""
    with multiprocessing.get_context("fork").Pool(2) as pool:
        job = pool.map_async(time.sleep, [600, 600])
        pids = [process.pid for process in multiprocessing.active_children()]
        note(parameters, f"started\n{' '.join(map(str, pids))}")
        try:
            job.get()
        finally:
            note(parameters, "cleaned up")
    note(parameters, "left")


@registry.algorithm("pools")
def pools(features, parameters, context):
    """Start and terminate many pools, whose processes wait for a semaphore."""
    for _ in range(30):
        with multiprocessing.get_context("fork").Pool(4) as pool:
            pool.map(int, range(8), chunksize=1)
    return "done"


@registry.algorithm("suicidal")
def suicidal(features, parameters, context):
    """Send SIGTERM to its own process."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(600)


@registry.algorithm("temporary")
def temporary(features, parameters, context):
    """Leave files in the temporary directory, also one that its owner must not change."""
    import tempfile

    note(parameters, str(context.directory))
    file, path = tempfile.mkstemp()
    os.close(file)
    locked = context.directory / "locked"
    locked.mkdir()
    (locked / "file").touch()
    locked.chmod(0o500)
    child = subprocess.run(
        [sys.executable, "-c", "import tempfile; print(tempfile.gettempdir())"], stdout=subprocess.PIPE, check=True
    )
    if "forever" in parameters:
        note(parameters, "started")
        time.sleep(600)
    return {"file": path, "directory": str(context.directory), "child": child.stdout.decode().strip()}


@registry.algorithm("twice")
def twice(features, parameters, context):
    """Return in a forked process too, or end there in another way."""
    pid = os.fork()
    if pid == 0:
        how = parameters.get("how")
        if how == "exit":
            sys.exit(3)
        if how == "raise":
            raise ValueError("in the fork")
        return "of the fork"
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

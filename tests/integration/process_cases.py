"""What an algorithm may do to its process: the cases of the table in docs/processes.md.

The docstring of a case is its row in the table.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import decimal
import gc
import io
import locale
import logging
import multiprocessing
import os
import queue
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import reduction, shared_memory
from pathlib import Path
from typing import Any

import numpy as np
from attrs import define

from callback_sdk.service import Registry

registry = Registry()

LIMIT = 300_000_000
SUCCEEDS = "succeeds"
FAILS = "fails"
CRASHES = "runs again"
SAME = "same process"
NEW = "new process"

Algorithm = Callable[[Any, Any, Any], Any]


@define(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        name: Name of the algorithm.
        text: What it does.
        task: What happens to its task.
        process: Whether the next task gets the same process.
    """

    name: str
    text: str
    task: str
    process: str


CASES: list[Case] = []


def case(*, task: str = SUCCEEDS, process: str = SAME, **options: Any) -> Callable[[Algorithm], Algorithm]:
    """Register an algorithm as a case."""

    def register(function: Algorithm) -> Algorithm:
        text = " ".join((function.__doc__ or "").split()).removesuffix(".")
        CASES.append(Case(function.__name__, text, task, process))
        registry.algorithm(function.__name__, **options)(function)
        return function

    return register


@registry.algorithm("probe")
def probe(features, parameters, context):
    """Return all that a case may have changed, and the pid."""
    sys.stdout.write("printed")
    found = {
        "working directory": str(Path.cwd()),
        "environment": {name: text for name, text in os.environ.items() if name != "TMPDIR"},
        "umask": os.umask(0o022),
        "handlers": [repr(signal.getsignal(number)) for number in signal.valid_signals() if number != signal.SIGTERM],
        "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "timers": [signal.getitimer(timer)[0] for timer in (signal.ITIMER_REAL, signal.ITIMER_PROF)],
        "locale": locale.setlocale(locale.LC_ALL),
        "limits": [resource.getrlimit(number) for number in (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE)],
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "recursion": sys.getrecursionlimit(),
        "gc": gc.isenabled(),
        "filters": [str(each) for each in warnings.filters],
        "logging": logging_configuration(),
        "streams": [(stream.fileno(), stream.isatty(), stream.closed) for stream in (sys.stdout, sys.stderr)],
        "stdin": (sys.stdin.read(), os.read(0, 1).decode()),
        "threads": [thread.name for thread in threading.enumerate() if thread.name[:10] != "ThreadPool"],
        "children": Path(f"/proc/self/task/{os.getpid()}/children").read_text(),
        "temporary": (tempfile.gettempdir() == str(context.directory), list(context.directory.iterdir())),
        "stopping": context.stopping,
    }
    os.umask(found["umask"])
    return {"state": found, "pid": os.getpid(), "random": [random.random(), float(np.random.rand())]}


def logging_configuration():
    loggers = {name: logging.getLogger(name) for name in ("", "case", "asyncio")}
    return {name: [str(each.handlers), each.level, each.propagate, each.disabled] for name, each in loggers.items()}


# State of the process.


@case()
def chdir(features, parameters, context):
    """Changes the working directory, even to one that it removes."""
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    Path(folder).rmdir()


@case()
def environ(features, parameters, context):
    """Sets and deletes environment variables."""
    os.environ["AWS_SECRET_ACCESS_KEY"] = "secret"
    del os.environ["PATH"]


@case()
def umask(features, parameters, context):
    """Changes the umask."""
    os.umask(0o777)


@case()
def handlers(features, parameters, context):
    """Installs signal handlers, or ignores signals."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda *_: None)


@case()
def mask(features, parameters, context):
    """Blocks signals."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})


@case()
def timer(features, parameters, context):
    """Leaves a timer running (`signal.alarm`)."""
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.alarm(1)


@case()
def language(features, parameters, context):
    """Changes the locale."""
    locale.setlocale(locale.LC_ALL, "C")
    locale.setlocale(locale.LC_NUMERIC, "C.UTF-8")


@case()
def seeds(features, parameters, context):
    """Seeds `random` and `numpy.random`."""
    random.seed(1)
    np.random.seed(1)


@case()
def log_handlers(features, parameters, context):
    """Adds logging handlers, sets levels, or disables logging."""
    logging.basicConfig(force=True, level=logging.DEBUG)
    logging.getLogger("case").addHandler(logging.FileHandler(context.directory / "log"))
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    logging.disable()


@case()
def warning_filters(features, parameters, context):
    """Turns warnings into errors."""
    warnings.simplefilter("error")


@case()
def interpreter(features, parameters, context):
    """Changes the recursion limit, or disables the garbage collector."""
    sys.setrecursionlimit(200)
    gc.disable()


@case()
def soft_limit(features, parameters, context):
    """Lowers soft resource limits, such as the number of open files."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


# Standard streams.


@case()
def replaces_streams(features, parameters, context):
    """Replaces `sys.stdout` and `sys.stderr`, for example by `io.StringIO`."""
    sys.stdout.write("incomplete line")
    sys.stdout = sys.stderr = io.StringIO()
    sys.__stdout__ = None


@case()
def closes_streams(features, parameters, context):
    """Closes `sys.stdin`, `sys.stdout` and `sys.stderr`."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        stream.close()


@case()
def detaches_streams(features, parameters, context):
    """Detaches the buffer of `sys.stdout`."""
    sys.stdout.detach()


@case()
def closes_descriptors(features, parameters, context):
    """Closes the file descriptors 0, 1 and 2."""
    for number in range(3):
        os.close(number)


@case()
def reads_stdin(features, parameters, context):
    """Reads standard input, which is empty."""
    assert sys.stdin.read() == ""
    assert subprocess.run(["cat"], stdout=subprocess.PIPE, check=True).stdout == b""


@case()
def prints_anything(features, parameters, context):
    """Prints bytes, lone surrogates, or incomplete lines, in Python and in C."""
    sys.stdout.write("\ud800\n")
    sys.stdout.buffer.write(b"\xff\x00")
    ctypes.CDLL(None).printf(b"of C")
    sys.stdout.write("incomplete")


@case()
def passes_streams(features, parameters, context):
    """Passes `sys.stdout` and `sys.stderr` to programs."""
    assert not sys.stdout.isatty()
    subprocess.run("echo out; echo err >&2", shell=True, stdout=sys.stdout, stderr=sys.stderr, check=True)


# Threads.


@case(process=NEW)
def leaves_thread(features, parameters, context):
    """Leaves a thread running."""
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()


@case()
def keeps_pool(features, parameters, context):
    """Keeps an idle `ThreadPoolExecutor`."""
    global POOL
    POOL = ThreadPoolExecutor(1)
    POOL.submit(int).result()


@case()
def exits_in_thread(features, parameters, context):
    """Calls `sys.exit` or raises an exception in a thread."""
    for target in (sys.exit, int):
        thread = threading.Thread(target=target, args=("not a number",))
        thread.start()
        thread.join()


@case()
def event_loop(features, parameters, context):
    """Calls `asyncio.run`, with subprocesses."""

    async def work():
        process = await asyncio.create_subprocess_exec("true")
        return await process.wait()

    return asyncio.run(work())


# Processes.


@case()
def starts_program(features, parameters, context):
    """Starts programs with `subprocess` and waits for them."""
    return subprocess.run("exit 3", shell=True).returncode


@case(process=NEW)
def leaves_child(features, parameters, context):
    """Leaves a child process running."""
    return subprocess.Popen(["sleep", "600"]).pid


@case(process=NEW)
def leaves_daemon(features, parameters, context):
    """Leaves a daemon running, which has detached itself from its parent and its session."""
    subprocess.run("setsid sleep 600 >/dev/null 2>&1 &", shell=True, check=True)
    time.sleep(0.1)


@case(process=NEW)
def leaves_zombie(features, parameters, context):
    """Doesn't wait for a child process that ends."""
    if os.fork() == 0:
        os._exit(0)


@case()
def forks(features, parameters, context):
    """Returns or raises in a process that it forked (`os.fork`)."""
    if (pid := os.fork()) == 0:
        raise ValueError("in the fork")
    return os.waitpid(pid, 0)[1]


def square(number):
    return number * number


@case()
def fork_pool(features, parameters, context):
    """Uses a `multiprocessing.Pool` that forks."""
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(square, range(4))


@case()
def spawn_pool(features, parameters, context):
    """Uses a `multiprocessing.Pool` that spawns."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        return pool.map(square, range(4))


@case(process=NEW)
def forkserver_pool(features, parameters, context):
    """Uses a `multiprocessing.Pool` with a fork server, which stays."""
    with multiprocessing.get_context("forkserver").Pool(2) as pool:
        return pool.map(square, range(4))


@case()
def executor(features, parameters, context):
    """Uses a `ProcessPoolExecutor`."""
    with ProcessPoolExecutor(2) as pool:
        return list(pool.map(square, range(4)))


@case()
def manager(features, parameters, context):
    """Uses a `multiprocessing.Manager`."""
    with multiprocessing.Manager() as shared:
        values = shared.list([1])
        values.append(2)
        return list(values)


@case()
def impatient_pool(features, parameters, context):
    """Leaves the block of a `multiprocessing.Pool` that still works."""
    with multiprocessing.get_context("fork").Pool(2) as pool:
        job = pool.map_async(time.sleep, [600, 600])
        with contextlib.suppress(multiprocessing.TimeoutError):
            job.get(timeout=0.2)


def load(dataset, batches):
    """Load data in a worker process, and send them as a file descriptor, like tensors in shared memory."""
    for number in iter(dataset.get, None):
        with tempfile.TemporaryFile() as file:
            file.write(bytes([number]) * 1_000_000)
            file.flush()
            batches.put((number, reduction.DupFd(file.fileno())))


@case()
def data_loader(features, parameters, context):
    """Loads data in daemonic processes and a thread, as PyTorch's `DataLoader` does."""

    def failed(number, frame):
        # As PyTorch does, for workers that are killed.
        for worker in workers:
            if worker.exitcode not in (None, 0):
                raise RuntimeError(f"DataLoader worker (pid {worker.pid}) exited unexpectedly")

    signal.signal(signal.SIGCHLD, failed)
    processes = multiprocessing.get_context("fork")
    dataset, batches = processes.Queue(), processes.Queue()
    pinned: queue.Queue = queue.Queue()
    workers = [processes.Process(target=load, args=(dataset, batches), daemon=True) for _ in range(2)]

    def pin():
        for _ in range(4):
            number, descriptor = batches.get()
            with os.fdopen(descriptor.detach(), "rb") as file:
                pinned.put((number, file.seek(0, os.SEEK_END)))

    thread = threading.Thread(target=pin, daemon=True)
    for each in (*workers, thread):
        each.start()
    for number in range(4):
        dataset.put(number)
    found = [pinned.get(timeout=60) for _ in range(4)]
    for _ in workers:
        dataset.put(None)
    for each in (*workers, thread):
        each.join()
    return sorted(found)


@case(process=NEW)
def joblib_multiprocessing(features, parameters, context):
    """Uses joblib's backend `multiprocessing`, whose resource tracker stays."""
    from joblib import Parallel, delayed

    return Parallel(n_jobs=2, backend="multiprocessing")(delayed(square)(number) for number in range(4))


@case(process=NEW)
def joblib_parallel(features, parameters, context):
    """Uses joblib's process pool, which stays."""
    from joblib import Parallel, delayed

    return Parallel(n_jobs=2)(delayed(square)(number) for number in range(4))


@case()
def matplotlib_figure(features, parameters, context):
    """Draws with Matplotlib, without a display."""
    from matplotlib import pyplot

    pyplot.plot([1, 2])
    pyplot.savefig(context.directory / "figure.png")
    pyplot.close()
    return (context.directory / "figure.png").stat().st_size > 0


# Files.


@case()
def temporary_files(features, parameters, context):
    """Leaves temporary files, even ones that it may not remove."""
    tempfile.mkstemp()
    locked = Path(tempfile.mkdtemp())
    (locked / "file").touch()
    locked.chmod(0)


@case(process=NEW)
def shared_memory_left(features, parameters, context):
    """Leaves shared memory of `multiprocessing`, which is removed."""
    shared_memory.SharedMemory(create=True, size=1000)


@case()
def open_files(features, parameters, context):
    """Leaves files and sockets open, which stay open."""
    global OPEN
    OPEN = [socket.socket(), os.open(os.devnull, os.O_RDONLY)]


@case()
def library_settings(features, parameters, context):
    """Changes global variables and settings of libraries, which stay."""
    decimal.getcontext().prec = 5


# Ends.


@case(task=FAILS)
def raises(features, parameters, context):
    """Raises an exception."""
    raise ValueError("no")


@case(task=FAILS)
def exits(features, parameters, context):
    """Calls `sys.exit`, with any status."""
    sys.exit(0)


@case(task=FAILS)
def interrupts(features, parameters, context):
    """Raises `KeyboardInterrupt`, or sends SIGINT to itself."""
    os.kill(os.getpid(), signal.SIGINT)


@case(task=FAILS)
def recursion(features, parameters, context):
    """Exceeds the recursion limit."""
    return recursion(features, parameters, context)


@case(task=FAILS)
def unencodable(features, parameters, context):
    """Returns a value that JSON can't represent."""
    return object()


@case(task=FAILS, process=NEW, memory_limit=LIMIT)
def memory(features, parameters, context):
    """Exceeds its memory limit."""
    data = b"x" * 600_000_000
    time.sleep(600)
    return len(data)


@case(task=FAILS, process=NEW, timeout=0.2)
def timeout(features, parameters, context):
    """Exceeds its timeout."""
    with contextlib.suppress(Exception):
        time.sleep(600)


@case(task=CRASHES, process=NEW)
def leaves(features, parameters, context):
    """Calls `os._exit`, with any status."""
    os._exit(0)


@case(task=CRASHES, process=NEW)
def segfault(features, parameters, context):
    """Crashes in a C library."""
    ctypes.string_at(0)


@case(task=CRASHES, process=NEW)
def terminates(features, parameters, context):
    """Sends SIGTERM or SIGKILL to itself."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(600)

"""Algorithms that behave badly on purpose, for the service's tests; imported by the service itself."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from multiprocessing import shared_memory
from pathlib import Path

from callback_sdk.service import Registry

registry = Registry()


@registry.algorithm("sum", version="2.0.0", description="Adds up each column.")
@registry.algorithm("sum", version="1.0.0", description="Adds up each column.")
def add_up(features, parameters, context):
    context.report_progress(0.5, "adding")
    sums = {name: sum(column) for name, column in features.to_dict().items()}
    return {"predictions": sums, "evaluations": {"factor": parameters.get("factor")}}


@registry.algorithm("bare")
def bare(features, parameters, context):
    return [1, 2.5, float("nan"), 2**70]


@registry.algorithm("wait")
def wait(features, parameters, context):
    """Wait until a file is there, and write down each start in another."""
    with Path(parameters["starts"]).open("a") as starts:
        starts.write(f"{os.getpid()}\n")
    context.report_progress(0.25, "waiting")
    while not Path(parameters["go"]).exists():
        time.sleep(0.02)
    return {"predictions": "done"}


@registry.algorithm("busy", timeout=timedelta(minutes=5))
@registry.algorithm("hurried", timeout=timedelta(seconds=0.5))
def busy(features, parameters, context):
    """Compute for ever, with a grandchild that does nothing for ever."""
    if "pids" in parameters:
        other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path(parameters["pids"]).write_text(f"{os.getpid()} {other.pid}\n")
    context.report_progress(None, "busy")
    while True:
        sum(range(10_000))


@registry.algorithm("leaver")
def leaver(features, parameters, context):
    """Leave a daemon process in another session."""
    spawn = (
        "from subprocess import *; import sys; print(Popen([sys.executable, '-c', sys.argv[1]], stdout=DEVNULL).pid)"
    )
    found = subprocess.run(
        [sys.executable, "-c", spawn, "import time; time.sleep(600)"],
        stdout=subprocess.PIPE,
        check=True,
        start_new_session=True,
    )
    return {"predictions": int(found.stdout)}


@registry.algorithm("chatty")
def chatty(features, parameters, context):
    """Leave a thread running that prints."""

    def talk():
        while True:
            sys.stdout.write("of the first run\n")
            time.sleep(0.01)

    threading.Thread(target=talk, name="chatty", daemon=True).start()
    time.sleep(0.1)
    return {"predictions": 1}


_pool = ThreadPoolExecutor(1)


@registry.algorithm("pooled")
def pooled(features, parameters, context):
    """Compute in a pool that the process keeps."""
    return {"predictions": _pool.submit(os.getpid).result()}


@registry.algorithm("suicide")
def suicide(features, parameters, context):
    with Path(parameters["starts"]).open("a") as starts:
        starts.write(f"{os.getpid()}\n")
    if parameters["how"] == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(int(parameters["how"]))


DETACHED = {
    "nohup": ["sh", "-c", "nohup sleep 600 >/dev/null 2>&1 & echo $!"],
    "setsid": ["sh", "-c", "setsid sleep 600 >/dev/null 2>&1 & echo $!"],
    "without environment": ["env", "-i", "sh", "-c", "setsid sleep 600 >/dev/null 2>&1 & echo $!"],
}
"""Commands that leave a program running, and print its pid."""


@registry.algorithm("abandon", timeout=timedelta(minutes=5))
def abandon(features, parameters, context):
    """Leave processes of all kinds running, write their pids, and end in some way, or work for ever."""
    found = {
        name: int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        for name, command in DETACHED.items()
    }
    found["double fork"] = _daemonize()
    found["own"] = os.getpid()
    place = Path(parameters["pids"])
    place.with_suffix(".new").write_text(json.dumps(found))
    place.with_suffix(".new").rename(place)
    if parameters["how"].startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, parameters["how"]))
    if parameters["how"] == "exit":
        os._exit(0)
    while parameters["how"] == "work":
        time.sleep(1)


def _daemonize():
    """Start a daemon as in chapter 13 of Stevens' Advanced Programming in the UNIX Environment."""
    reader, writer = os.pipe()
    if not os.fork():
        os.setsid()
        pid = os.fork()
        if pid:
            os.write(writer, b"%d" % pid)
            os._exit(0)
        os.closerange(0, 1024)
        while True:
            time.sleep(1)
    os.wait()
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        return int(file.read(20))


@registry.algorithm("sharer")
def sharer(features, parameters, context):
    """Create shared memory in this process and in a pool, and leave it, or keep the own one open."""
    global KEPT
    own = shared_memory.SharedMemory(create=True, size=1000)
    if parameters.get("keep"):
        KEPT = own
        return {"predictions": [os.getpid(), own.name]}
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return {"predictions": [os.getpid(), own.name, pool.apply(_share)]}


def _share():
    return shared_memory.SharedMemory(create=True, size=1000).name


@registry.algorithm("raise")
def fail(features, parameters, context):
    if parameters.get("exit"):
        sys.exit("that was it")
    raise ValueError(parameters.get("text", "no such material"))


@registry.algorithm("odd")
def odd(features, parameters, context):
    return {"predictions": [1, 2, {"when": object()}]}


@registry.algorithm("greedy", memory_limit=300_000_000)
def greedy(features, parameters, context):
    """Allocate memory, in this process or in a child process, and keep it for a while."""
    if parameters.get("grandchild"):
        fill = f"kept = [bytearray(b'x' * 1_000_000) for _ in range({parameters['megabytes']})]"
        other = subprocess.Popen([sys.executable, "-c", f"import time; {fill}; time.sleep({parameters['seconds']})"])
        Path(parameters["pids"]).write_text(f"{os.getpid()} {other.pid}\n")
        return other.wait()
    kept = [bytearray(b"x" * 1_000_000) for _ in range(parameters["megabytes"])]
    time.sleep(parameters["seconds"])
    return len(kept)


KEPT = []


@registry.algorithm("keeper")
def keeper(features, parameters, context):
    """Keep a value for the next run, and return the pid of the process."""
    if not KEPT:
        KEPT.append(b"x" * (parameters["megabytes"] * 1_000_000))
    return os.getpid()


@registry.algorithm("sharing")
def sharing(features, parameters, context):
    """Fill some memory, and let forked processes read it for a while."""
    shared = bytearray(b"x" * 1_000_000) * parameters["megabytes"]
    forked = []
    for _ in range(parameters["processes"]):
        pid = os.fork()
        if not pid:
            shared.count(b"y")
            time.sleep(parameters["seconds"])
            os._exit(0)
        forked.append(pid)
    return [os.waitpid(pid, 0)[1] for pid in forked]


@registry.algorithm("score")
def score(features, parameters, context):
    return int(Path("/proc/self/oom_score_adj").read_text())


@registry.fit("sum", version="2.0.0")
def train(features, parameters, context):
    return {"rows": len(features.to_dict()["a"]), "export_new_version": context.export_new_version}

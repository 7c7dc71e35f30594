"""1,000 clients that wait for one task each: CPU of the idle service, and delay from the end of a task to its client.

The service is `callback-sdk serve` in a separate process, on SQLite. The clients share one event loop in this process,
and read the events of their tasks, as `task.wait` does from its second request on. All tasks are queued behind two that
wait for a file. While nothing happens, the CPU of the service's process is measured, comments to the clients included.
Then the file is created, and for each client the time from the end of its task, by the database's clock, to the arrival
of the event is measured. Both clocks are those of this machine.
"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.harness import Report, duration, parser
from callback_sdk import BatchItem, Client
from callback_sdk.service import Registry

IDLE_BAR = 0.02
"""CPU of the idle service, as a part of all cores of the machine."""

DELAY_BAR = 1.0
"""Seconds from the end of a task to its client."""

ALGORITHM = "behind-a-gate"
CONNECTIONS = 4000

registry = Registry()


@registry.algorithm(ALGORITHM, version="1.0.0")
def behind_a_gate(path: str) -> float:
    """Wait for a file, and return the time."""
    while not Path(path).exists():
        time.sleep(0.1)
    return time.time()


async def follow(url: str, token: str, job_id: str, open_streams: asyncio.Semaphore) -> float:
    """Read the events of a task, and return the time at which its end was announced."""
    parts = urlsplit(f"{url}/algorithms/tasks/{job_id}/events?output=false")
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    request = f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    writer.write(request.encode())
    async for line in reader:
        if b'"status":"Pending"' in line or b'"status":"In Progress"' in line:
            open_streams.release()
        if b'"status":"Finished"' in line:
            break
    arrived = time.time()
    writer.close()
    return arrived


def cpu_of(pid: int) -> float:
    """Return the CPU seconds of a process until now (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(
    client: Client, url: str, token: str, pid: int, gate: Path, options: Any
) -> tuple[float, list[float]]:
    """Return the idle CPU as a part of one core, and the delay of each client in seconds."""
    items = [BatchItem(parameters={"path": str(gate)}, callbacks=[]) for _ in range(options.clients)]
    tasks = client.run_algorithm_batch(ALGORITHM, items, progress=False)
    open_streams = asyncio.Semaphore(0)
    waiting = [asyncio.create_task(follow(url, token, task.job_id, open_streams)) for task in tasks]
    for _ in waiting:
        await open_streams.acquire()
    # The requests themselves are over.
    await asyncio.sleep(2)
    began, cpu = time.monotonic(), cpu_of(pid)
    await asyncio.sleep(options.seconds)
    idle = (cpu_of(pid) - cpu) / (time.monotonic() - began)
    gate.touch()
    arrived = await asyncio.gather(*waiting)
    ends = [task.finished_at for task in await asyncio.to_thread(client.wait_all, tasks, progress=False)]
    return idle, [at - end.timestamp() for at, end in zip(arrived, ends, strict=True) if end is not None]


def main() -> None:
    """Print the CPU and the delays."""
    arguments = parser(__doc__, rounds=1)
    arguments.add_argument("--clients", type=int, default=1000, help="waiting clients (1000)")
    arguments.add_argument("--seconds", type=float, default=60.0, help="seconds of idleness (60)")
    options = arguments.parse_args()
    report = Report("waiting", as_json=options.json)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * CONNECTIONS), hard))
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        command = [sys.executable, "-m", "callback_sdk.cli", "serve", "benchmarks.waiting:registry", "--port", "0"]
        places = ["--data-dir", str(data), "--processes", "2", "--max-connections", str(CONNECTIONS)]
        with subprocess.Popen([*command, *places], stderr=subprocess.DEVNULL) as service:
            try:
                while not (data / "address").exists():
                    time.sleep(0.1)
                url, token = f"{(data / 'address').read_text().strip()}/api/v2", (data / "token").read_text().strip()
                with Client(url, token=token) as client:
                    idle, delays = asyncio.run(measure(client, url, token, service.pid, Path(folder) / "gate", options))
            finally:
                service.terminate()
    delays.sort()
    cores = os.cpu_count() or 1
    report.lines(
        f"{options.clients} waiting clients",
        [
            f"CPU while idle        {100 * idle:.2f} % of one core, {100 * idle / cores:.2f} % of {cores}",
            f"delay, median         {duration(delays[len(delays) // 2])}",
            f"delay, maximum        {duration(delays[-1])}",
        ],
    )
    report.bar("CPU while idle, beside all cores", idle / cores, at_most=IDLE_BAR)
    report.bar("longest delay, beside 1 s", delays[-1], at_most=DELAY_BAR)
    report.end()


if __name__ == "__main__":
    main()

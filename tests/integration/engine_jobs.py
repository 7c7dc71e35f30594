"""Algorithms for the contract of engines; imported by services and workers themselves."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

from callback_sdk.service import Registry, RunInterrupt

registry = Registry()


@registry.algorithm("sum")
def add_up(features, parameters, context):
    return {name: sum(column) for name, column in features.to_dict().items()}


@registry.algorithm("large")
def large(features, parameters, context):
    """Return results that are too large for the database."""
    return ["x" * 1000] * (len(features.to_dict()["a"]) // 200)


@registry.algorithm("files")
def files(features, parameters, context):
    """Make a small and a large output file."""
    context.output("small.txt", b"small")
    context.output("large.bin", b"x" * 100_000)
    return 1


@registry.algorithm("many")
def many(features, parameters, context):
    """Return results that are too large for the database, from features that aren't."""
    return ["x" * 1000] * 100


@registry.algorithm("slow", memory_limit=1_000_000_000)
@registry.algorithm("slow-elsewhere")
def slow(features, parameters, context):
    """Write down the start, and wait until a file is there."""
    with Path(parameters["starts"]).open("a") as starts:
        starts.write(f"{context.job_id} {parameters.get('name', '')}\n")
    sys.stdout.write("waiting\n")
    context.report_progress(0.25, "waiting")
    while not Path(parameters["go"]).exists():
        time.sleep(0.01)
    sys.stdout.write("https://example.org/?sig=topsecret\n")
    return "done"


@registry.algorithm("tidy")
def tidy(features, parameters, context):
    """Print something just before a cancellation, and something else after it."""
    sys.stdout.write("before\n")
    Path(parameters["started"]).touch()
    try:
        time.sleep(600)
    except RunInterrupt:
        time.sleep(1)
        sys.stdout.write("after\n")


@registry.algorithm("hoarder", timeout=timedelta(minutes=2))
@registry.algorithm("greedy", memory_limit=300_000_000, timeout=timedelta(minutes=2))
def greedy(features, parameters, context):
    """Allocate more and more memory, in a child process on request."""
    if parameters.get("child"):
        command = "import time; kept = bytearray(600_000_000); time.sleep(100)"
        subprocess.run([sys.executable, "-c", command], check=False)
    kept = []
    while True:
        kept.append(bytearray(20_000_000))
        time.sleep(0.01)


@registry.fit("sum")
def fit(features, parameters, context):
    return {"rows": len(features.to_dict()["a"]), "export": context.export_new_version}

"""Algorithms with output files."""

from __future__ import annotations

import asyncio
import struct
import time
import zlib
from datetime import timedelta
from pathlib import Path

import pyarrow as pa

from callback_sdk.errors import AlgorithmError
from callback_sdk.models import Progress
from callback_sdk.service import Registry

HOSTILE = "<script>alert('x')</script>"

registry = Registry()


def png() -> bytes:
    """Return an image of two by two pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0\x40\xc0" * 2)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@registry.algorithm("all-kinds")
def all_kinds(features, parameters, context):
    """Make a file of each kind, and fail on request."""
    folder = context.directory / "plots"
    (folder / "deep").mkdir(parents=True)
    (folder / "loss.png").write_bytes(png())
    (folder / "deep" / f"{'ä b'}.svg").write_text(f"<svg xmlns='http://www.w3.org/2000/svg'>{HOSTILE}</svg>")
    context.output("plots", folder)
    context.output("model.bin", b"m" * 300_000)
    context.output("table.parquet", pa.table({"x": [1, 2], "text": [HOSTILE, "b"]}))
    context.output("table.csv", f"a,b\n1,{HOSTILE}\n".encode())
    context.output("page.html", f"<html>{HOSTILE}</html>".encode())
    context.output("note.txt", b"first")
    context.output("note.txt", HOSTILE.encode())
    context.output("empty.bin", b"")
    if parameters.get("fail"):
        raise AlgorithmError("It failed on request.")
    return {"rows": 2}


@registry.algorithm("many")
def many(features, parameters, context):
    """Make as many small files as requested."""
    for number in range(parameters["count"]):
        context.output(f"parts/{number:05}.txt", f"{context.job_id} {number}".encode())
    return parameters["count"]


@registry.algorithm("stepwise")
def stepwise(features, parameters, context):
    """A generator that makes a file in each step."""
    for number in range(3):
        context.output(f"step-{number}.txt", str(number).encode())
        yield Progress(number / 3)
    return {"steps": 3}


@registry.algorithm("slow", timeout=timedelta(seconds=3))
def slow(features, parameters, context):
    """Make a file, and exceed the timeout."""
    context.output("checkpoint.bin", b"half")
    time.sleep(60)


@registry.algorithm("asynchronous")
async def asynchronous(features, parameters, context):
    """A coroutine function that makes a file."""
    await asyncio.sleep(0)
    context.output("async.txt", b"async")
    return 1


@registry.algorithm("strict")
def strict(features, parameters, context):
    """Return the error that a bad output raised."""
    try:
        context.output(parameters["name"], b"x" * parameters.get("size", 1))
    except Exception as error:  # noqa: BLE001 - its type is the result
        return f"{type(error).__name__}: {error}"
    return "accepted"


@registry.algorithm("named")
def named(features, parameters, context):
    """Make a file of any name, and fail on request."""
    context.output(parameters["name"], b"x" * parameters.get("size", 1))
    if parameters.get("fail"):
        raise AlgorithmError("It failed on request.")
    return 1


@registry.algorithm("linked")
def linked(features, parameters, context):
    """Make a directory with links to its own file and directory, and one whose link leads out of it on request."""
    folder = context.directory / "run"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "a.txt").write_bytes(b"a")
    (folder / "latest.txt").symlink_to("data/a.txt")
    (folder / "again").symlink_to("data")
    if parameters.get("outside"):
        (folder / "outside.txt").symlink_to(parameters["outside"])
    context.output("run", folder)
    return 1


@registry.algorithm("waiting")
def waiting(features, parameters, context):
    """Make a large file, and wait until a file exists."""
    context.output("large.bin", b"l" * 500_000)
    Path(parameters["started"]).touch()
    while not Path(parameters["go"]).exists():
        time.sleep(0.01)
    return 1

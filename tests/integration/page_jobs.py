"""Algorithms for the pages: one with everything that a page shows, and texts that are markup."""

from __future__ import annotations

import os
import struct
import sys
import time
import zlib
from pathlib import Path

from callback_sdk.errors import AlgorithmError
from callback_sdk.service import Registry

HOSTILE = "<script>alert('x')</script><b>&amp;"

registry = Registry()


def _png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0\x40\xc0" * 2)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


PICTURE = Path(__file__).with_name("__pycache__") / "picture.png"
PICTURE.parent.mkdir(exist_ok=True)
# Several processes import this at the same time, and none may read half a file.
_written = PICTURE.with_name(f"picture-{os.getpid()}.png")
_written.write_bytes(_png())
_written.replace(PICTURE)


@registry.algorithm(
    "shown",
    description=f"Has {HOSTILE}.",
    templates={"input": {"a": [1, HOSTILE]}, "parameters": {"go": "a path"}},
    graphs={"flow": PICTURE},
)
def shown(features, parameters, context):
    """Fail on request, or wait until a file exists."""
    if parameters.get("fail"):
        raise AlgorithmError(HOSTILE + "x" * 10_000)
    if parameters.get("says"):
        sys.stdout.write(f"{parameters['says']}\n")
    if parameters.get("file"):
        context.output("table.csv", b"name,value\n<b>bold</b>,1\n")
    context.report_progress(0.25, HOSTILE)
    while parameters.get("go") and not Path(parameters["go"]).exists():
        time.sleep(0.01)
    return {"predictions": features.to_dict()}


@registry.algorithm(
    "declared",
    description="Has schemas, from which samples are made and pictures are drawn.",
    features={
        "properties": {
            "temperature": {"type": "number", "minimum": -40, "maximum": 60, "description": "In degrees Celsius."},
            "sensor": {"type": "string", "enum": ["inside", "outside"], "description": "Where it was measured."},
        },
        "required": ["temperature"],
    },
    parameters={"properties": {"digits": {"type": "integer", "minimum": 0, "description": "Digits of the mean."}}},
)
def declared(features, parameters):
    """Return nothing of interest."""
    return {"predictions": []}

"""Algorithms that inspect their process and print escape sequences; imported by the service itself."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from pathlib import Path

from callback_sdk.service import Registry

registry = Registry()

HOSTILE = "\x1b]0;owned\x07 \x9b31m \r2026-01-01 00:00:00,000 ERROR forged\n2026-01-01 ERROR forged \u202e \u2028 \x85"


@registry.algorithm("hostile")
def hostile(features, parameters, context):
    sys.stdout.write(f"{HOSTILE}\n")
    context.report_progress(0.5, HOSTILE)
    raise ValueError(HOSTILE)


@registry.algorithm("late")
def late(features, parameters, context):
    """Return where this process can write, and print when the run has ended."""
    descriptors = Path("/proc/self/fd")
    output = (descriptors / "1").readlink()

    def say() -> None:
        while (descriptors / "1").readlink() == output:
            time.sleep(0.01)
        sys.stdout.write(f"late {HOSTILE}\nlate end\n")

    threading.Thread(target=say, daemon=True).start()
    reachable = []
    for descriptor in descriptors.iterdir():
        with contextlib.suppress(OSError):
            reachable.append(str(descriptor.readlink()))
    return reachable


@registry.algorithm("curious")
def curious(features, parameters, context):
    """Return all that its process was given."""
    return {"environment": dict(os.environ), "block": Path("/proc/self/environ").read_text().split("\0")}

"""An algorithm that inspects its process; imported by a child process."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from callback_sdk.service import Registry

registry = Registry()


@registry.algorithm("inherited")
def inherited(features, parameters, context):
    block = Path("/proc/self/environ").read_text().split("\0")
    files = {}
    for path in Path("/proc/self/fd").iterdir():
        # The folder's own descriptor is gone by now.
        with contextlib.suppress(OSError):
            files[path.name] = str(path.readlink())
    return {
        "environment": dict(os.environ),
        "block": dict(pair.partition("=")[::2] for pair in block if pair),
        "files": files,
    }

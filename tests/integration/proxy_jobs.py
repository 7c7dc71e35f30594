"""An algorithm that prints, and waits for a file."""

from __future__ import annotations

import time
from pathlib import Path

from callback_sdk.service import Registry

registry = Registry()


@registry.algorithm("talks")
def talks(features, parameters, context):
    """Print a line, and wait until a file exists."""
    print("hello from the run", flush=True)  # noqa: T201 - its output is streamed
    while parameters.get("go") and not Path(parameters["go"]).exists():
        time.sleep(0.01)
    return {"predictions": 1}

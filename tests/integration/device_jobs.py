"""Algorithms that use devices of the machine."""

from __future__ import annotations

import os
import time
from pathlib import Path

from callback_sdk.service import Registry

registry = Registry()


@registry.algorithm("train", devices=1)
def train(features, parameters, context):
    """Return the visible devices, when there is a file."""
    folder = Path(parameters["folder"])
    visible = os.environ["CUDA_VISIBLE_DEVICES"]
    (folder / f"{context.job_id}.started").write_text(visible)
    while not (folder / "go").exists():
        time.sleep(0.01)
    return visible


@registry.algorithm("plain")
def plain(features, parameters, context):
    """Return the visible devices."""
    return os.environ["CUDA_VISIBLE_DEVICES"]

"""Writes the reference, made of the docstrings, into a folder: `python docs/reference.py build/docs`."""

from __future__ import annotations

import sys
from pathlib import Path

import pdoc

import callback_sdk

MODULES = (
    "callback_sdk",
    "callback_sdk.client.base",
    "callback_sdk.client.catalogue",
    "callback_sdk.client.jobs",
    "callback_sdk.client.tasks",
    "callback_sdk.service",
    "callback_sdk.testing",
    "callback_sdk.testing.fixtures",
)
"""What people use, and the classes that `Client` has its methods from."""


def write(folder: Path) -> None:
    """Write pages of HTML."""
    for name in callback_sdk.__all__:
        # pdoc sees only what has been imported.
        getattr(callback_sdk, name)
    pdoc.render.configure(docformat="google", footer_text=f"callback_sdk {callback_sdk.__version__}")
    pdoc.pdoc(*MODULES, output_directory=folder)


if __name__ == "__main__":
    write(Path(sys.argv[1]))

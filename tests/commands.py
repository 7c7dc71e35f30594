"""Run commands of `callback-sdk` in the process of a test, which has imported already what they need."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from callback_sdk import cli


def run_here(
    arguments: Sequence[str], *, folder: Path | None = None, environment: Mapping[str, str], stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command that ends by itself, and return its exit code and output.

    Args:
        arguments: The arguments after the program's name.
        folder: The current directory; unchanged when None.
        environment: Variables; no other one of this package is set.
        stdin: The input, as from a pipe.
    """
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        if folder is not None:
            patch.chdir(folder)
        for name in [name for name in os.environ if name.startswith("CALLBACK_SDK_")]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr(sys, "stdin", io.StringIO(stdin))
        # Typer sets one of its own.
        patch.setattr(sys, "excepthook", sys.excepthook)
        code = cli.main(list(arguments))
    return subprocess.CompletedProcess(arguments, code, stdout.getvalue(), stderr.getvalue())

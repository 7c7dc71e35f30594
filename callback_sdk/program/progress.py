"""The progress of a program, in a file that `callback-sdk progress` or the program itself writes.

The last line of the file counts: a fraction and a message, or one of them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from callback_sdk.program.files import temporary_directory

PROGRESS = "CALLBACK_SDK_PROGRESS"
"""The variable that names the file. Only a program of whose targets one subscribes to events has it."""

_EXIT_USAGE = 2

_TAIL = 4096
"""Bytes of the file that are read: a program may append to it for days."""


class ProgramProgress(NamedTuple):
    """Progress of a program.

    Attributes:
        fraction: Fraction done, from 0 to 1; None if unknown.
        message: Current step, for people.
    """

    fraction: float | None
    message: str


class ProgressFile:
    """The file of a program.

    Raises:
        ConfigurationError: No temporary directory can be made.
    """

    def __init__(self) -> None:
        self._directory = temporary_directory("progress")
        self.path = Path(self._directory, "progress")
        self._last = b""

    def read(self) -> ProgramProgress | None:
        """Return the progress; None if it is that of the last call."""
        content = b""
        with contextlib.suppress(OSError), self.path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            content = file.read(_TAIL)
        if content == self._last:
            return None
        self._last = content
        return parse(content.decode(errors="replace"))

    def remove(self) -> None:
        """Remove the file with its directory."""
        shutil.rmtree(self._directory, ignore_errors=True)


def parse(text: str) -> ProgramProgress | None:
    """Parse the content of the file; None if it is empty."""
    lines = text.strip().splitlines()
    if not lines:
        return None
    first, _, rest = lines[-1].strip().partition(" ")
    fraction = parse_fraction(first)
    return ProgramProgress(None, lines[-1].strip()) if fraction is None else ProgramProgress(fraction, rest.strip())


def parse_fraction(text: str) -> float | None:
    """Parse a fraction such as `0.5` or `50%`; None if it is not one from 0 to 1."""
    with contextlib.suppress(ValueError):
        number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        if 0 <= number <= 1:
            return number
    return None


def main(arguments: Sequence[str]) -> int:
    """Run `callback-sdk progress`, and return its exit code.

    Args:
        arguments: The fraction, and the words of the message.
    """
    first, *message = arguments or [""]
    fraction = parse_fraction(first)
    if fraction is None:
        sys.stderr.write("Usage: callback-sdk progress FRACTION [MESSAGE], such as 0.5 or 50%\n")
        return _EXIT_USAGE
    if path := os.environ.get(PROGRESS):
        _write(Path(path), f"{fraction} {' '.join(' '.join(message).split())}\n")
    return 0


def _write(path: Path, line: str) -> None:
    # Replaced, so that nobody reads a part of it.
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text(line, encoding="utf-8", errors="replace")
    temporary.replace(path)

"""What exit codes say, those of shells and of processes that a signal has ended; pure, on any operating system."""

from __future__ import annotations

import signal

_SHELL_SIGNALS = 128
"""A shell whose last command ended by signal n exits with 128 + n."""

_NOT_EXECUTABLE, _NOT_FOUND = 126, 127

STOPS = {
    getattr(signal, name)
    for name in ("SIGTERM", "SIGXCPU", "SIGINT", "SIGHUP", "SIGQUIT")
    if hasattr(signal, name)  # Windows has two of them
}
"""Signals that ask the program to end."""

CANCELS = {number for number in STOPS if number != getattr(signal, "SIGXCPU", None)}
"""Those of them that don't stand for a time limit."""


def ended_by(code: int) -> int | None:
    """Return the number of the signal that an exit code stands for, also that of a shell; None without one."""
    number = -code if code < 0 else code - _SHELL_SIGNALS
    return number if number in signal.valid_signals() else None


def ended(code: int) -> str:
    """Return how something ended, as the end of a sentence.

    Args:
        code: Its exit code, or the negative number of its signal.
    """
    number = ended_by(code)
    try:
        name = signal.Signals(number or 0).name
    except ValueError:
        # Real-time signals have no names.
        name = ""
    if code < 0:
        return f"was ended by signal {number}{f' ({name})' if name else ''}"
    if code in (_NOT_EXECUTABLE, _NOT_FOUND):
        problem = "can't be executed" if code == _NOT_EXECUTABLE else "was not found"
        return f"exited with code {code}, with which shells say that a command {problem}"
    return f"exited with code {code}{f', as after signal {number} ({name})' if name else ''}"

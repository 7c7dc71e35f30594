"""What the document says of a program that has ended; pure."""

from __future__ import annotations

import re
import signal
from datetime import timedelta

from callback_sdk.program.execution import ProgramExit
from callback_sdk.program.exit_codes import ended
from callback_sdk.program.scheduler import Scheduler
from callback_sdk.text.escaping import escape

_STYLES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
"""Control sequences of terminals, such as colours (ECMA-48, section 5.4)."""


def failure(ending: ProgramExit, *, timeout: timedelta | None, found: Scheduler | None) -> str | None:
    """Return why a program failed, as the `error` of its document; None if it succeeded.

    Args:
        ending: How it ended.
        timeout: Its time limit.
        found: The scheduler.
    """
    if ending.code == 0 and not ending.timed_out:
        return None
    cause = _cause(ending, timeout, found)
    if ending.memory_kills and not _is_out_of_memory(ending):
        cause += f" Before, the kernel killed {_processes(ending)} because the memory limit was reached."
    tail = _last_lines(ending.error_tail)
    return f"{cause}\n\nThe end of its standard error:\n{tail}" if tail else cause


def warning(ending: ProgramExit) -> str | None:
    """Return what a person should know of a program that exited with 0; None if there is nothing.

    Args:
        ending: How it ended.
    """
    if not ending.memory_kills or ending.code:
        return None
    return (
        f"The program exited with 0, but the kernel killed {_processes(ending)} because the memory limit was reached: "
        "its results may be incomplete."
    )


def is_canceled(ending: ProgramExit, found: Scheduler | None) -> bool:
    """Return whether a program failed because somebody asked it to end, before any time limit."""
    if ending.code == 0 or ending.timed_out or not _is_stopped(ending, found) or _is_out_of_memory(ending):
        return False
    return ending.stopped_by != signal.SIGXCPU and not _at_limit(ending, found)


def _cause(ending: ProgramExit, timeout: timedelta | None, found: Scheduler | None) -> str:
    how = ended(ending.code)
    if ending.timed_out:
        return f"The program was stopped at its time limit of {timeout}: it {how}."
    if _is_out_of_memory(ending):
        return f"The memory limit was reached, and the kernel killed a process of the program: it {how}."
    if not _is_stopped(ending, found):
        return f"The program {how}."
    sent = f" with {signal.Signals(ending.stopped_by).name}" if ending.stopped_by else ""
    if _at_limit(ending, found):
        by = found.name if found else "the system"
        return f"The program was stopped at the time limit of {by}{sent}: it {how}."
    return f"The program was asked to end{sent}{f' by {found.name}' if found else ''}: it {how}."


def _is_stopped(ending: ProgramExit, found: Scheduler | None) -> bool:
    # A scheduler that ends the job may have signaled the program alone.
    return ending.stopped_by is not None or (found is not None and found.at_limit is not None)


def _is_out_of_memory(ending: ProgramExit) -> bool:
    """Return whether a program failed because of its memory limit.

    The kernel's counter is of all processes of the control group. A program may outlive those that were killed, and end
    later for another reason.
    """
    was_asked = ending.stopped_by is not None and ending.stopped_by == ending.ended_by
    return bool(ending.memory_kills and ending.code) and not ending.timed_out and not was_asked


def _processes(ending: ProgramExit) -> str:
    return "a process" if ending.memory_kills == 1 else f"{ending.memory_kills} processes"


def _at_limit(ending: ProgramExit, found: Scheduler | None) -> bool:
    return ending.stopped_by == signal.SIGXCPU or (found is not None and found.reached_limit(ending.stopped_at))


def _last_lines(tail: bytes) -> str:
    text = _STYLES.sub("", tail.decode(errors="replace"))
    # Only what a progress bar wrote last is left of its line on a terminal.
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    return escape("\n".join(lines).strip("\n"), lines=True)

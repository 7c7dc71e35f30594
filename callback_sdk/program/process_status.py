"""How another process ended, which is not a child of this one.

While its parent hasn't waited for it, proc(5) has its exit code. Since Linux 6.15, a descriptor of the process has it
afterwards, too (`PIDFD_GET_INFO` in linux/pidfd.h).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import time

_PIDFD_GET_INFO = 0xC040FF0B
_PIDFD_INFO_EXIT = 1 << 3
_SIZE = 64
"""Bytes of the first version of `struct pidfd_info`; its first member is the mask, its last one the exit code."""

_STATE, _EXIT_CODE = 0, 49
"""Places of fields 3 and 52 of /proc/PID/stat after the name of the program."""

_PATIENCE = 1.0
_TICK = 0.01
"""Seconds. The process is about to end when this is asked."""


class ProcessStatus:
    """The status of a process that still runs.

    Args:
        pid: Its id.
    """

    def __init__(self, pid: int) -> None:
        self._stat = self._descriptor = -1
        with contextlib.suppress(OSError):
            self._stat = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
        # Not every system has it.
        with contextlib.suppress(AttributeError, OSError):
            self._descriptor = os.pidfd_open(pid)

    def exit_code(self) -> int | None:
        """Return the exit code of a process that ends now, or the negative number of its signal; None if unknown."""
        limit = time.monotonic() + _PATIENCE
        while time.monotonic() < limit:
            status = self._of_zombie()
            if status is None:
                status = self._of_descriptor()
            if status is not None:
                return os.waitstatus_to_exitcode(status)
            if self._has_gone() and self._descriptor < 0:
                break
            time.sleep(_TICK)
        return None

    def _of_zombie(self) -> int | None:
        fields = self._fields()
        # A zombie, or dead: of a process that only begins to end, nothing but a signal or a failure is known.
        if fields and (fields[_STATE] in (b"Z", b"X") or fields[_EXIT_CODE] != b"0"):
            return int(fields[_EXIT_CODE])
        return None

    def _has_gone(self) -> bool:
        return not self._fields()

    def _fields(self) -> list[bytes]:
        try:
            # The name of a program may contain anything, parentheses too.
            return os.pread(self._stat, 4096, 0).rpartition(b")")[2].split()
        except OSError:
            return []

    def _of_descriptor(self) -> int | None:
        if self._descriptor < 0:
            return None
        info = bytearray(_SIZE)
        struct.pack_into("=Q", info, 0, _PIDFD_INFO_EXIT)
        try:
            fcntl.ioctl(self._descriptor, _PIDFD_GET_INFO, info)
        except OSError:
            return None
        (mask,) = struct.unpack_from("=Q", info)
        return struct.unpack_from("=i", info, _SIZE - 4)[0] if mask & _PIDFD_INFO_EXIT else None

"""Devices of this machine, such as GPUs: each is leased to one process of algorithms at a time."""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psutil
from attrs import define, field

from callback_sdk.errors import ConfigurationError
from callback_sdk.filesystem.files import PRIVATE, create_directory
from callback_sdk.filesystem.locks import try_lock
from callback_sdk.service.algorithms.versions import AlgorithmVersion
from callback_sdk.service.work.orphans import end_orphans

_log = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Environment variable with the devices that CUDA shows to a process (CUDA C++ Programming Guide)."""

_PAUSE = 0.1
"""Mean seconds between attempts to lease devices that an earlier process still has."""


_WARN_AFTER = 30.0
"""Seconds of waiting after which, and between which, the log names the processes that have the devices."""


@define(frozen=True)
class DeviceLease:
    """Devices that one process and its descendants have.

    The lease is a lock on a file for each device (flock(2)), which belongs to all processes that inherited its
    descriptor. So it outlives a service that was killed, until the last of them has ended. Programs that they start
    don't inherit it, because Python closes descriptors there; the reaper ends them before it ends itself.

    Attributes:
        devices: Ids of the devices.
        descriptors: Descriptors to pass to the process.
    """

    devices: tuple[str, ...] = ()
    descriptors: tuple[int, ...] = field(default=(), repr=False)

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables of the process."""
        return {VISIBLE: ",".join(self.devices)}

    def release(self) -> None:
        """Give the devices back. Processes that inherited the lease keep it until they end."""
        for descriptor in self.descriptors:
            # Closed, not unlocked: an unlock would apply to the other processes too.
            with suppress(OSError):
                os.close(descriptor)


@define(frozen=True, kw_only=True)
class DevicePool:
    """The devices that processes of algorithms may lease.

    Attributes:
        folder: Directory for the locks, shared by the processes that share the devices.
        devices: Ids of all devices.
        count: Number of devices of each process; 0 to hide all devices.
    """

    folder: Path
    devices: Sequence[str]
    count: int

    def lease(self, is_stopped: Callable[[], bool]) -> DeviceLease | None:
        """Lease devices for a process, and wait until there are enough.

        Args:
            is_stopped: Returns whether to stop waiting.

        Returns:
            The lease; None if the wait was stopped.
        """
        warning = time.monotonic() + _WARN_AFTER
        while not is_stopped():
            if (lease := self._try_lease()) is not None:
                return lease
            if time.monotonic() >= warning:
                warning += _WARN_AFTER
                self._warn()
            # Random, so that two processes that each lack the other's device don't repeat that for ever.
            time.sleep(random.uniform(0.5, 1.5) * _PAUSE)  # noqa: S311
        return None

    def _warn(self) -> None:
        files = [str(self._file(device)) for device in self.devices]
        pids = ", ".join(str(process.pid) for process in psutil.process_iter() if _has_open(process, files))
        _log.warning(
            "Runs wait for %d of the devices %s, which the processes with pids %s have. Any that a killed run has left "
            "behind keeps its device until it ends: kill it.",
            self.count,
            ", ".join(self.devices),
            pids or "of other users",
        )

    def _file(self, device: str) -> Path:
        return self.folder.absolute() / quote(device, safe="")

    def _try_lease(self) -> DeviceLease | None:
        leased: dict[str, int] = {}
        if self.count:
            create_directory(self.folder)
        for device in self.devices:
            if len(leased) == self.count:
                break
            descriptor = os.open(self._file(device), os.O_CREAT | os.O_RDWR | PRIVATE, 0o600)
            if try_lock(descriptor):
                leased[device] = descriptor
            else:
                os.close(descriptor)
        lease = DeviceLease(tuple(leased), tuple(leased.values()))
        if len(leased) == self.count:
            if self.count:
                end_orphans()
            return lease
        lease.release()
        return None


def _has_open(process: psutil.Process, files: Sequence[str]) -> bool:
    try:
        return process.pid != os.getpid() and any(found.path in files for found in process.open_files())
    except (psutil.Error, OSError):
        return False


def algorithms_with_devices(registry: Iterable[Sequence[AlgorithmVersion]]) -> dict[str, int]:
    """Return the number of devices of each algorithm of which a version needs some.

    Args:
        registry: The versions of each algorithm.
    """
    needed = {versions[-1].name: max(version.devices for version in versions) for versions in registry}
    return {name: count for name, count in needed.items() if count}


def devices_per_run(needed: dict[str, int], devices: Sequence[str]) -> int:
    """Return the number of devices of each run that needs some; 0 if no algorithm does.

    Args:
        needed: Algorithms with their number of devices.
        devices: Ids of all devices.

    Raises:
        ConfigurationError: There are fewer devices than an algorithm needs, or algorithms need different numbers.
    """
    if not needed:
        return 0
    name, count = max(needed.items(), key=lambda item: item[1])
    if count > len(devices):
        raise ConfigurationError(
            f"The algorithm {name!r} has devices={count}, and --devices names {len(devices)}.",
            hint="Name the devices of this machine, such as --devices 0,1.",
        )
    if len(set(needed.values())) > 1:
        raise ConfigurationError(
            f"The algorithms need different numbers of devices: {needed}.",
            hint="Put them into registries of different services, each with its own --devices.",
        )
    return count

"""callback_sdk.service.work.devices"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from callback_sdk.errors import ConfigurationError
from callback_sdk.service import Registry
from callback_sdk.service.work.devices import DeviceLease, DevicePool, algorithms_with_devices, devices_per_run
from tests.topology import wait_until

Lease = Callable[..., DeviceLease | None]


@pytest.fixture
def lease(tmp_path: Path) -> Iterator[Lease]:
    """Return a function that leases some of two devices, if they are free."""
    leases: list[DeviceLease] = []

    def lease(count: int = 1) -> DeviceLease | None:
        answers = iter([False, True])
        pool = DevicePool(folder=tmp_path / "devices", devices=("0", "GPU-1/2"), count=count)
        found = pool.lease(lambda: next(answers))
        leases.extend([found] if found else [])
        return found

    yield lease
    for one in leases:
        one.release()


def test_each_device_is_leased_once(lease: Lease) -> None:
    """Until it is released."""
    first, second = lease(), lease()
    assert (first.devices, second.devices) == (("0",), ("GPU-1/2",))
    assert second.variables["CUDA_VISIBLE_DEVICES"] == "GPU-1/2"
    assert lease() is None
    first.release()
    assert lease().devices == ("0",)


def test_several_devices_are_leased_together_or_not_at_all(lease: Lease) -> None:
    """One that is free stays free while there are too few."""
    one = lease()
    assert lease(2) is None
    assert lease().devices == ("GPU-1/2",)
    one.release()
    assert lease(2) is None


def test_no_device_is_visible_without_a_lease(lease: Lease, tmp_path: Path) -> None:
    """Other algorithms would use the device of a run."""
    assert lease(0).variables["CUDA_VISIBLE_DEVICES"] == ""
    assert not (tmp_path / "devices").exists()


def test_a_process_keeps_its_devices_until_it_ends(lease: Lease) -> None:
    """Even if the service that started it was killed, which closes its own descriptors."""
    held = lease(2)
    command = [sys.executable, "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=held.descriptors) as process:
        held.release()
        assert lease() is None
        process.kill()
        process.wait()
    wait_until(lambda: lease(2))


def registry(**devices: int) -> Registry:
    found = Registry()
    for name, count in devices.items():
        found.algorithm(name, devices=count)(lambda features, parameters, context: None)
    return found


def needed(found: Registry) -> dict[str, int]:
    return algorithms_with_devices(map(found.versions, found))


def test_algorithms_with_devices_are_known() -> None:
    """Those of which a version needs some."""
    found = registry(a=0, b=2)
    found.algorithm("a", version="2", devices=2)(lambda features, parameters, context: None)
    assert needed(found) == {"a": 2, "b": 2}
    assert devices_per_run(needed(found), ["0", "1"]) == 2
    assert devices_per_run(needed(registry(a=0)), []) == 0


@pytest.mark.parametrize(
    ("found", "words"), [(registry(a=3), "'a' has devices=3, and --devices names 2"), (registry(a=1, b=2), "different")]
)
def test_what_could_never_run_is_an_error(found: Registry, words: str) -> None:
    """When the service starts."""
    with pytest.raises(ConfigurationError, match=words):
        devices_per_run(needed(found), ["0", "1"])


@pytest.mark.parametrize("count", [-1, 1.0, True, "1", 2000])
def test_a_wrong_number_of_devices_is_an_error(count: object) -> None:
    """At registration."""
    with pytest.raises(ConfigurationError, match="devices="):
        Registry().algorithm("a", devices=count)


def test_the_log_names_processes_that_keep_devices(
    lease: Lease, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A process that a killed run left behind would keep its tasks queued for ever, for no visible reason."""
    both = lease(2)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=both.descriptors) as left:
        both.release()
        monkeypatch.setattr("callback_sdk.service.work.devices._WARN_AFTER", 0.0)
        assert lease() is None
        assert f"with pids {left.pid} have" in caplog.text
        left.communicate(b"\n")
    assert lease() is not None

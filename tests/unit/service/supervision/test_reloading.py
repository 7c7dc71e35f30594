"""callback_sdk.service.supervision.reloading; whole services are reloaded in the acceptance tests."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import psutil
import pytest

from callback_sdk.errors import ConfigurationError
from callback_sdk.service.supervision import reloading as module
from callback_sdk.service.supervision.reloading import Reloader
from tests.clocks import hour_passes_when
from tests.topology import wait_until

HANGING = """
import subprocess, sys, time
from pathlib import Path
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
Path(__file__).with_name("new").write_text(str(other.pid))
Path(__file__).with_name("new").rename(Path(__file__).with_name("started"))
time.sleep(600)
"""


@pytest.fixture
def reloader(tmp_path: Path) -> Reloader:
    """Give a reloader of a module whose import doesn't end."""
    (tmp_path / "hanging.py").write_text(HANGING)
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parents[4]}:{tmp_path}"}
    return Reloader("hanging:registry", ["false"], environment=environment)


def assert_nothing_is_left(folder: Path) -> None:
    started = int((folder / "started").read_text())
    wait_until(lambda: not psutil.pid_exists(started) or psutil.Process(started).status() == psutil.STATUS_ZOMBIE)
    commands = [child.as_dict(["cmdline"])["cmdline"] or [] for child in psutil.Process().children()]
    assert not [command for command in commands if "hanging:registry" in command]


def test_an_import_that_does_not_end_is_an_error(
    reloader: Reloader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the module has started ends too."""
    monkeypatch.setattr(module, "time", hour_passes_when((tmp_path / "started").exists))
    with pytest.raises(ConfigurationError, match="Its import took longer than 0:05:00"):
        reloader.run()
    assert_nothing_is_left(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_import(reloader: Reloader, tmp_path: Path, number: signal.Signals) -> None:
    """At once, as the timeout is long."""

    def send() -> None:
        wait_until((tmp_path / "started").exists, what="the import")
        os.kill(os.getpid(), number)

    sending = threading.Thread(target=send)
    sending.start()
    assert reloader.run() == 0
    sending.join()
    assert_nothing_is_left(tmp_path)

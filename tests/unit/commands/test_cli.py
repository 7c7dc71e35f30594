"""callback_sdk.cli"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

import pytest

from callback_sdk import cli


def test_an_interrupt_that_became_another_error_is_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that turns Ctrl-C into an error of its own, as some imports do, gives 130 and no traceback."""

    def run(_: Sequence[str] | None) -> int:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise TypeError("expected a message argument") from None
        return 0

    monkeypatch.setattr(cli, "_run", run)
    before = signal.getsignal(signal.SIGINT)

    assert cli.main([]) == cli.EXIT_INTERRUPTED
    assert signal.getsignal(signal.SIGINT) is before


def test_an_error_without_an_interrupt_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the package is not taken for Ctrl-C."""

    def run(_: Sequence[str] | None) -> int:
        raise TypeError("a fault")

    monkeypatch.setattr(cli, "_run", run)

    with pytest.raises(TypeError, match="a fault"):
        cli.main([])


def test_an_ignored_interrupt_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under nohup, and in the background of a script, a command runs on."""

    def run(_: Sequence[str] | None) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return 0

    monkeypatch.setattr(cli, "_run", run)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert cli.main([]) == 0
    finally:
        signal.signal(signal.SIGINT, before)

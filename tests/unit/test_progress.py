"""How often a progress bar is drawn, and where."""

from __future__ import annotations

import importlib.util
import io
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from callback_sdk import progress
from callback_sdk.progress import ProgressBar


class Clock:
    """A clock that moves by a thousandth of a second each time it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 0.001
        return self.now


class Terminal(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replace the bar's clock by a fake."""
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    return clock


def notebook(monkeypatch: pytest.MonkeyPatch, *, widgets: bool) -> None:
    """Make this process look like the kernel of a notebook."""
    find_spec = importlib.util.find_spec
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: find_spec(name, *rest) if widgets or name != "ipywidgets" else None,
    )


def drawings(text: str) -> list[str]:
    return [line for line in text.replace("\n", "\r").split("\r") if line.strip()]


def test_a_terminal_is_drawn_at_the_rate_of_tqdm(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand states in a second are at most ten drawings and the last one, which has the end."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    with ProgressBar("1000 tasks") as bar:
        for number in range(1000):
            bar.show(number / 1000, f"{number} ended")
        bar.show(1.0, "all ended")
    found = drawings(sys.stderr.getvalue())  # type: ignore[attr-defined]
    assert 5 <= len(found) <= 14
    assert "100%" in found[-1]
    assert "all ended" in found[-1]


def test_the_environment_may_choose_the_rate(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """tqdm's own variables count: how often to draw, and whether to."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    with ProgressBar("Task 42") as bar:
        bar._bar.mininterval = 60.0  # What TQDM_MININTERVAL=60 gives a fresh process.
        for number in range(1000):
            bar.show(number / 1000, "")
    assert len(drawings(sys.stderr.getvalue())) <= 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("stays", ["file", "pipe"])
def test_updates_that_stay_visible_are_few(
    stays: str, clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In a notebook without ipywidgets, and in outputs of papermill and nbconvert, only changes are drawn."""
    output: Any = io.StringIO() if stays == "pipe" else (tmp_path / "log").open("w+")
    monkeypatch.setattr(sys, "stderr", output)
    notebook(monkeypatch, widgets=False)
    with ProgressBar("Task 42") as bar:
        for number in range(10_000):
            bar.show(0.5 if number > 6000 else 0.0, "counting" if number > 6000 else "Pending")
    output.seek(0)
    found = drawings(output.read())
    output.close()
    assert 3 <= len(found) <= 4
    assert "Pending" in found[1]
    assert "50%" in found[-1]


def test_an_interval_passes_between_changes_that_stay(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds of steady progress are a handful of lines, not a hundred."""
    output = io.StringIO()
    monkeypatch.setattr(sys, "stderr", output)
    notebook(monkeypatch, widgets=False)
    with ProgressBar("Task 42") as bar:
        for number in range(10_000):
            bar.show(number / 10_000, f"{number}")
    assert len(drawings(output.getvalue())) <= 8


def test_a_log_has_no_bar(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where stderr is a file of a script, nothing is written."""
    output = io.StringIO()
    monkeypatch.setattr(sys, "stderr", output)
    with ProgressBar("Task 42") as bar:
        bar.show(0.5, "counting")
    assert output.getvalue() == ""


def test_a_disabled_bar_writes_nothing(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """TQDM_DISABLE makes bars without attributes, which are left alone."""
    from functools import partial

    import tqdm

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(tqdm, "tqdm", partial(tqdm.tqdm, disable=True))
    with ProgressBar("Task 42") as bar:
        bar.show(0.5, "counting")
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]

"""A bar that shows how far a task is, where somebody is there to see it."""

from __future__ import annotations

import importlib.util
import sys
import time
from types import TracebackType
from typing import Any

from callback_sdk.text.escaping import escaped

_WHOLE = 100
_FORMAT = "{desc} {percentage:3.0f}%|{bar}| {elapsed}{postfix}"
_FORMAT_WITHOUT_END = "{desc} {elapsed}{postfix}"

_LOG_INTERVAL = 2.0
"""Seconds between two drawings where each of them stays: in the output of a notebook without ipywidgets, in its log."""


class ProgressBar:
    """One line of progress, by tqdm when it is installed, in a terminal or a notebook; else nothing.

    It is drawn no more often than tqdm draws by itself (`mininterval`, or `TQDM_MININTERVAL` of the environment). Where
    drawings stay, only a change is drawn, and less often. The last state is always drawn, at the end.

    Args:
        title: What stands before it.
        wanted: Whether to show one at all.
    """

    def __init__(self, title: str, *, wanted: bool = True) -> None:
        make = _maker() if wanted else None
        bar = make(total=_WHOLE, desc=escaped(title), bar_format=_FORMAT_WITHOUT_END) if make else None
        # TQDM_DISABLE of the environment makes bars that do nothing.
        self._bar: Any = None if bar is None or bar.disable else bar
        self._stays = not (sys.stderr is not None and sys.stderr.isatty()) and not _has_widgets()
        self._drawn: tuple[int, str] | None = None
        self._drawn_at = float("-inf")

    def show(self, fraction: float | None, message: str) -> None:
        """Show a state.

        Args:
            fraction: Done, between 0 and 1; None when nobody knows.
            message: What is being done.
        """
        if self._bar is None:
            return
        self._bar.bar_format = _FORMAT_WITHOUT_END if fraction is None else _FORMAT
        self._bar.n = round(_WHOLE * min(max(fraction or 0.0, 0.0), 1.0))
        self._bar.set_postfix_str(escaped(message), refresh=False)
        if self._is_due((self._bar.n, message)):
            self._bar.refresh()

    def _is_due(self, state: tuple[int, str]) -> bool:
        now, interval = time.monotonic(), self._bar.mininterval
        if self._stays:
            interval = max(interval, _LOG_INTERVAL)
        if now - self._drawn_at < interval or (self._stays and state == self._drawn):
            return False
        self._drawn, self._drawn_at = state, now
        return True

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()


def _maker() -> Any:
    if not _is_notebook() and not (sys.stderr is not None and sys.stderr.isatty()):
        return None
    try:
        # Without ipywidgets tqdm.auto warns, and then shows a line of text as well.
        if _has_widgets():
            from tqdm.auto import tqdm
        else:
            from tqdm import tqdm
    except ImportError:
        return None
    return tqdm


def _is_notebook() -> bool:
    return "ipykernel" in sys.modules


def _has_widgets() -> bool:
    return _is_notebook() and importlib.util.find_spec("ipywidgets") is not None

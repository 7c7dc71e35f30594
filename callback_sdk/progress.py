"""Progress bars in terminals and notebooks."""

from __future__ import annotations

import importlib.util
import sys
import time
from types import TracebackType
from typing import Any

from callback_sdk.text.escaping import escape

_WHOLE = 100
_FORMAT = "{desc} {percentage:3.0f}%|{bar}| {elapsed}{postfix}"
_FORMAT_WITHOUT_END = "{desc} {elapsed}{postfix}"

_LOG_INTERVAL = 2.0
"""Minimum seconds between two updates that don't replace each other, as in a notebook without ipywidgets."""


class ProgressBar:
    """A progress bar by tqdm in a terminal or a notebook. Without tqdm, or elsewhere, it shows nothing.

    Updates are drawn at tqdm's rate (`mininterval`, or the environment variable `TQDM_MININTERVAL`). If updates don't
    replace each other, only changes are drawn, at a lower rate. The last state is always drawn.

    Args:
        title: Text before the bar.
        wanted: Whether to show the bar.
    """

    def __init__(self, title: str, *, wanted: bool = True) -> None:
        make = _maker() if wanted else None
        bar = make(total=_WHOLE, desc=escape(title), bar_format=_FORMAT_WITHOUT_END) if make else None
        # With the environment variable TQDM_DISABLE, tqdm creates bars without output.
        self._bar: Any = None if bar is None or bar.disable else bar
        self._stays = not (sys.stderr is not None and sys.stderr.isatty()) and not _has_widgets()
        self._drawn: tuple[int, str] | None = None
        self._drawn_at = float("-inf")

    @property
    def is_shown(self) -> bool:
        """Whether somebody sees it."""
        return self._bar is not None

    def show(self, fraction: float | None, message: str) -> None:
        """Show a state.

        Args:
            fraction: Fraction done, between 0 and 1; None if unknown.
            message: The current step.
        """
        if self._bar is None:
            return
        self._bar.bar_format = _FORMAT_WITHOUT_END if fraction is None else _FORMAT
        self._bar.n = round(_WHOLE * min(max(fraction or 0.0, 0.0), 1.0))
        self._bar.set_postfix_str(escape(message), refresh=False)
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
        # Without ipywidgets, tqdm.auto warns and falls back to text.
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

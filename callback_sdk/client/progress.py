"""A bar that shows how far a task is, where somebody is there to see it."""

from __future__ import annotations

import importlib.util
import sys
from types import TracebackType
from typing import Any

_WHOLE = 100
_FORMAT = "{desc} {percentage:3.0f}%|{bar}| {elapsed}{postfix}"
_FORMAT_WITHOUT_END = "{desc} {elapsed}{postfix}"


class ProgressBar:
    """One line of progress, by tqdm when it is installed, in a terminal or a notebook; else nothing.

    Args:
        title: What stands before it.
        wanted: Whether to show one at all.
    """

    def __init__(self, title: str, *, wanted: bool = True) -> None:
        make = _maker() if wanted else None
        self._bar = make(total=_WHOLE, desc=title, bar_format=_FORMAT_WITHOUT_END, mininterval=0) if make else None

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
        self._bar.set_postfix_str(message, refresh=False)
        self._bar.refresh()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()


def _maker() -> Any:
    in_notebook = "ipykernel" in sys.modules
    if not in_notebook and not (sys.stderr is not None and sys.stderr.isatty()):
        return None
    try:
        # Without ipywidgets tqdm.auto warns, and then shows a line of text as well.
        if in_notebook and importlib.util.find_spec("ipywidgets"):
            from tqdm.auto import tqdm
        else:
            from tqdm import tqdm
    except ImportError:
        return None
    return tqdm

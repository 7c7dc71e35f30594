"""What an algorithm knows about its own run, and how it says how far it is."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from callback_sdk.service.files import create_private, remove

Report = Callable[[float | None, str], None]


class JobContext:
    """The third argument of every algorithm.

    Args:
        report: Takes each new state of the progress.
        made: Where a new model goes.

    Attributes:
        job_id: The task's id.
        attempt: Which run of this task it is, from 1.
        evaluate: Whether evaluations were asked for.
        model: What the training of this version made; None for a version that was registered.
        asked: For an evaluation: what `evaluate` of the task has under its name; else empty.
        export_new_version: Whether training is to give a new version; only the function that trains has a use for it.
    """

    def __init__(
        self,
        *,
        job_id: str,
        attempt: int,
        evaluate: bool,
        report: Report,
        export_new_version: bool = False,
        model: Path | None = None,
        made: Path | None = None,
    ) -> None:
        self.job_id = job_id
        self.attempt = attempt
        self.evaluate = evaluate
        self.model = model
        self._made = made
        self.asked: dict[str, Any] = {}
        self.export_new_version = export_new_version
        self._report = report
        self._last: tuple[float | None, str] = (None, "")

    def export(self, model: bytes | Path) -> None:
        """Make a new version of what was learnt, which is there when the training has succeeded.

        It runs with the same functions, for which `context.model` is then a file with these bytes. Nothing comes of it
        unless `export_new_version` is set.

        Args:
            model: The bytes, or the path of a file with them.
        """
        if self._made is None or not self.export_new_version:
            return
        remove(self._made)
        with create_private(self._made) as file:
            if isinstance(model, Path):
                with model.open("rb") as source:
                    shutil.copyfileobj(source, file)
            else:
                file.write(model)

    def progress(self, fraction: float | None, message: str = "") -> None:
        """Say how far the computation is. It costs a file write when something changed, so call it freely.

        Args:
            fraction: From 0 to 1; what is outside is cut. None (or NaN) when nobody knows.
            message: What is being done, for people.
        """
        if fraction is not None:
            fraction = None if math.isnan(fraction) else round(min(max(float(fraction), 0.0), 1.0), 3)
        state = (fraction, str(message)[:500])
        if state != self._last:
            self._last = state
            self._report(*state)

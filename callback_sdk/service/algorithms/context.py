"""JobContext: passed to algorithms for information about the run, progress reports, and trained models."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from callback_sdk.errors import AlgorithmError, ConfigurationError
from callback_sdk.filesystem.files import create_file, remove
from callback_sdk.models import FRACTION_HINT, clip, fraction_of, is_fraction
from callback_sdk.parsing import path_of
from callback_sdk.service.algorithms.output_folder import OutputFolder
from callback_sdk.text.descriptions import short_repr, type_name

_log = logging.getLogger(__name__)

Report = Callable[[float | None, str], None]


class JobContext:
    """Information about a run, progress reports and model output; the third argument of every algorithm.

    Args:
        report: Called with fraction and message of each new progress report.
        model_output: Path for the model that `save_model` writes.
        outputs: Receives the output files.
        directory: Temporary directory of the run; the system's if None.
        stop_file: Path of the file that exists once the run is requested to stop; see `stopping`.

    Attributes:
        job_id: Id of the task.
        attempt: Number of the run of this task, from 1.
        evaluate: Whether evaluations were requested.
        model_path: Model file of a trained version; None for a registered version.
        evaluation_options: In an evaluation, the options that the task's `evaluate` has under its name; else empty.
        export_new_version: Whether the task asks the training to save a new version.
        directory: Temporary directory of the run, which `tempfile` uses too. It is removed after the run, however it
            ends.
        state: What the setup of the algorithm or of the registry returned in this process; None without one.
    """

    def __init__(
        self,
        *,
        job_id: str,
        attempt: int,
        evaluate: bool,
        report: Report,
        export_new_version: bool = False,
        model_path: Path | None = None,
        model_output: Path | None = None,
        outputs: OutputFolder | None = None,
        directory: Path | None = None,
        stop_file: Path | None = None,
        state: Any = None,
    ) -> None:
        self.job_id = job_id
        self.state = state
        self.attempt = attempt
        self.evaluate = evaluate
        self.model_path = model_path
        self._model_output = model_output
        self._outputs = outputs
        self.evaluation_options: dict[str, Any] = {}
        self.export_new_version = export_new_version
        self.directory = Path(tempfile.gettempdir()) if directory is None else directory
        self._stop_file = stop_file
        self._report = report
        self._warned = False
        self._last: tuple[float | None, str] = (None, "")

    @property
    def stopping(self) -> bool:
        """Whether the run is requested to stop, because of a cancellation, its timeout or a shutdown.

        For loops in other threads and in child processes, and in code that catches every exception: the main thread
        gets a `RunInterrupt`. After the stop timeout, 5 s by default, the process is killed.
        """
        return self._stop_file is not None and self._stop_file.exists()

    def save_model(self, model: bytes | Path) -> None:
        """Save the trained model as a new version of the algorithm, which exists once the training has succeeded.

        The new version runs with the same functions; `context.model_path` is then a file with these bytes. Does nothing
        unless `export_new_version` is set.

        Args:
            model: The bytes of the model, or the path of a file with them. The file is copied.

        Raises:
            ConfigurationError: The model is of another type, or its path can't be one.
            OSError: The file can't be read.
        """
        if not isinstance(model, (bytes, bytearray, memoryview, Path)):
            raise ConfigurationError(
                f"The model is of type {type_name(model)}.",
                hint="Give bytes, such as pickle.dumps(model), or the pathlib.Path of a file.",
            )
        if self._model_output is None or not self.export_new_version:
            return
        if isinstance(model, Path):
            model = path_of("model", model)
        remove(self._model_output)
        with create_file(self._model_output) as file:
            if isinstance(model, Path):
                with model.open("rb") as source:
                    shutil.copyfileobj(source, file)
            else:
                file.write(model)

    def output(self, name: str, value: Any) -> None:
        """Save an output file of the task, which is stored and delivered with the results.

        The value is copied at once, so that it may be changed or removed afterwards. A second call with the same name
        replaces the first one. The files of a run that fails or times out are kept too; not so those of a run that was
        canceled, or whose process died.

        Args:
            name: Name of the file, such as `"model.bin"` or `"plots/loss.png"`. Of a directory, its files are saved
                below that name. A table is saved in the format of the name's extension: `.parquet`, `.csv`,
                `.arrow` or `.feather`.
            value: Bytes, a path of a file or a directory, a figure or a table.

        Raises:
            OutputError: The name is invalid, the value can't be saved in such a file, or a limit is exceeded.
        """
        if self._outputs is None:
            raise AlgorithmError("This run can't store output files.", hint="Run it in a service.")
        self._outputs.add(name, value)

    def report_progress(self, fraction: float | None, message: str = "") -> None:
        """Report the progress of the run. Cheap: it writes a small file, and only when something has changed.

        Args:
            fraction: From 0 to 1; numbers outside are clipped, with a warning in the task's log, because hours of
                computing must not be lost by them. None or NaN if unknown.
            message: The current step, for people; the first 500 characters are kept.

        Raises:
            ConfigurationError: The fraction is not a number.
        """
        number = fraction_of(fraction)
        if not is_fraction(number) and not self._warned:
            self._warned = True
            _log.warning("The fraction of the progress is %s. %s", short_repr(fraction), FRACTION_HINT)
        near = clip(number)
        state = (None if near is None else round(near, 3), str(message)[:500])
        if state != self._last:
            self._last = state
            self._report(*state)

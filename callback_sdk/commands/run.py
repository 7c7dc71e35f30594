"""The command `run`: runs an algorithm without a service."""

from __future__ import annotations

import contextlib
import logging
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from callback_sdk.commands.client_options import Parameters, read_parameters
from callback_sdk.commands.options import AlwaysJSON, RegistryName, takes_settings
from callback_sdk.commands.printing import print_document, print_error, print_line, print_text
from callback_sdk.config.settings import (
    MAX_OUTPUT_BYTES,
    MAX_OUTPUT_FILE_BYTES,
    MAX_OUTPUT_FILES,
    MEMORY_LIMIT,
    PASS_ENV,
)
from callback_sdk.text.escaping import LogFormatter

if TYPE_CHECKING:
    from callback_sdk.config.service import ServiceConfig
    from callback_sdk.service.algorithms.output_folder import RunFile
    from callback_sdk.service.algorithms.versions import AlgorithmVersion

EXIT_FAILED = 3
"""Exit code if the algorithm failed."""

_POLL_INTERVAL = 0.2
"""Seconds between updates of the progress bar."""


@takes_settings(PASS_ENV, MEMORY_LIMIT, MAX_OUTPUT_FILES, MAX_OUTPUT_FILE_BYTES, MAX_OUTPUT_BYTES)
def run(
    registry: RegistryName,
    algorithm: Annotated[str, typer.Argument(metavar="ALGORITHM", help="Name of the algorithm.", show_default=False)],
    *,
    features: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Parquet or JSON file with the features. Omit it for an algorithm that takes only parameters.",
            show_default=False,
        ),
    ] = None,
    parameters: Parameters = None,
    version: Annotated[str | None, typer.Option(help="Version of the algorithm.", show_default="the newest")] = None,
    no_evaluate: Annotated[bool, typer.Option("--no-evaluate", help="Don't evaluate the predictions.")] = False,
    fit: Annotated[bool, typer.Option("--fit", help="Train the algorithm.")] = False,
    export: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --fit: file for the trained model.", show_default=False)
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Model file written by --export, to continue from.", show_default=False),
    ] = None,
    outputs: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Directory for the output files; created if it is missing.", show_default=False
        ),
    ] = None,
    config: ServiceConfig,
    as_json: AlwaysJSON = True,
) -> None:
    """Run an algorithm once, as the service does, and print its results as JSON.

    The output and log of the algorithm go to standard error. It runs in a child process with its timeout, its memory
    limit, and the environment variables that a service passes on; nothing is stored or delivered. Output files are
    listed on standard error, and written to --outputs, also those of a run that failed. Exit codes: 0
    success; 1 an error, such as invalid features; 2 wrong usage; 3 the algorithm failed; 130 Ctrl-C, which stops it: it
    can clean up, and a second Ctrl-C kills it.
    """
    # Imported here, so that --help is fast.
    from callback_sdk.service.algorithms import features as tables
    from callback_sdk.service.algorithms.output_folder import OutputLimits, read_files
    from callback_sdk.service.algorithms.versions import Algorithms
    from callback_sdk.service.files import Scratch
    from callback_sdk.service.server import default_processes
    from callback_sdk.service.supervision.memory import default_limit, limit_of
    from callback_sdk.service.work.child import RunSpec
    from callback_sdk.service.work.outcome import CANCEL, StopSignal
    from callback_sdk.service.work.output_capture import read_tail
    from callback_sdk.service.work.process import ChildProcess

    if export is not None and not fit:
        raise typer.BadParameter("Give --fit too.", param_hint="--export")
    if model is not None:
        # Checked now, so that a wrong path fails before the training.
        model.open("rb").close()
    format_ = tables.NONE
    if features is not None:
        format_ = tables.sniff(features)
        tables.check(features, format_)
    given = read_parameters(parameters) or {}
    with contextlib.ExitStack() as stack:
        stack.enter_context(_print_log())
        scratch = Scratch(Path(tempfile.gettempdir()), prefix="callback-sdk-run-")
        stack.callback(scratch.close)
        child = ChildProcess(
            registry, algorithms=(algorithm,), pass_env=config.pass_env, stop_timeout=config.stop_timeout
        )
        stack.callback(child.close)
        found = Algorithms(child.describe().versions).get(algorithm, version)
        default = default_limit(config.memory_limit, config.processes or default_processes())
        limit = limit_of(found.memory_limit, default)
        if not fit:
            # As the service does when a task is submitted: invalid input is not a failure of the algorithm.
            if found.parameters is not None:
                found.parameters.check(given)
            if found.features is not None:
                found.features.check(tables.Features(features or b"", format_, max_bytes=limit.size))
        folder = scratch.folder
        spec = RunSpec(
            registry=registry,
            kind="fit" if fit else "predict",
            algorithm=found.name,
            version=found.version,
            job_id="local",
            attempt=1,
            evaluate=not no_evaluate,
            parameters=given,
            features=(features or folder / "features").absolute(),
            features_format=format_,
            results=folder / "results",
            progress=folder / "progress",
            output=folder / "output",
            outputs=folder / "outputs",
            output_limits=OutputLimits.of(config),
            stop=folder / "stop",
            directory=folder / "directory",
            export_new_version=export is not None,
            model_path=model.absolute() if model is not None else None,
            model_output=folder / "model",
            memory_limit=limit.size,
        )
        spec.directory.mkdir()
        stop = StopSignal()
        with _show_progress(found, spec.progress), _stopped_by_ctrl_c(partial(stop.request, CANCEL)):
            outcome = child.run(spec, timeout=found.timeout, stop=stop)
        if outcome.stop_reason is not None:
            raise KeyboardInterrupt
        failure = outcome.failure(timeout=found.timeout, memory_limit=limit)
        # The output includes the traceback.
        print_text(read_tail(spec.output).decode(errors="replace"), err=True)
        _show_outputs(read_files(spec.outputs), outputs)
        if failure is not None:
            print_error(failure)
            raise typer.Exit(EXIT_FAILED)
        if export is not None:
            _export(folder / "model", export)
        print_document(spec.results.read_bytes())


def _show_outputs(files: Sequence[RunFile], directory: Path | None) -> None:
    """List output files on standard error, and move them to a directory."""
    from callback_sdk.outputs.directories import path_below

    targets = [path_below(directory, file.name) if directory is not None else None for file in files]
    for file, target in zip(files, targets, strict=True):
        place = file.name
        if target is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            # A move to another file system, or onto a link to a directory, would follow it.
            if target.is_symlink():
                target.unlink()
            shutil.move(file.path, target)
            place = str(target)
        print_line(f"{place}: {file.size} bytes, {file.media_type}, SHA-256 {file.sha256}", err=True)


def _export(model: Path, export: Path) -> None:
    from callback_sdk.errors import AlgorithmError

    if not model.exists():
        raise AlgorithmError("The training saved no model.", hint="Call context.save_model(...) in the training.")
    shutil.copyfile(model, export)


@contextlib.contextmanager
def _print_log() -> Iterator[None]:
    """Print log records to standard error: warnings, tracebacks of a setup, and what is printed before the run."""
    from callback_sdk.service.work import output_capture

    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter("%(message)s"))
    logger = logging.getLogger("callback_sdk")
    logger.addHandler(handler)
    logging.getLogger(output_capture.__name__).setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextlib.contextmanager
def _stopped_by_ctrl_c(stop: Callable[[], None]) -> Iterator[None]:
    """Let the first Ctrl-C in the block stop the run, which can clean up; a second one interrupts the block."""

    def handle(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        # Not in a signal handler: the interrupted code may hold the locks that this needs.
        threading.Thread(target=stop, name="stop").start()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _show_progress(algorithm: AlgorithmVersion, path: Path) -> Iterator[None]:
    """Show a progress bar while the block runs, if standard error is a terminal."""
    from callback_sdk.progress import ProgressBar
    from callback_sdk.service.files import read_progress

    ended = threading.Event()

    def follow(bar: ProgressBar) -> None:
        while not ended.wait(_POLL_INTERVAL):
            state = read_progress(path)
            if state is not None:
                bar.show(state["fraction"], state["message"])

    with ProgressBar(algorithm.name) as bar:
        thread = threading.Thread(target=follow, args=(bar,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

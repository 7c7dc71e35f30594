"""The child process: calls one algorithm, and writes its return value to a JSON file.

Only numbers and strings of this package go to the parent. No object of the algorithm is pickled, so none can fail to be
pickled, and none can run code in the parent when it is unpickled.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import orjson
from attrs import define, evolve, field

from callback_sdk.concurrency import reaper
from callback_sdk.documents import output_list
from callback_sdk.documents.document import EncodedValue, encode
from callback_sdk.documents.error_text import clean, describe
from callback_sdk.documents.values.keys import key_text
from callback_sdk.documents.values.paths import member
from callback_sdk.errors import EncodingError, OutputError
from callback_sdk.filesystem.files import write_whole
from callback_sdk.service.algorithms import event_loop
from callback_sdk.service.algorithms.context import JobContext
from callback_sdk.service.algorithms.features import Features
from callback_sdk.service.algorithms.output_folder import DEFAULT_LIMITS, OutputFolder, OutputLimits, read_files
from callback_sdk.service.files import is_full
from callback_sdk.service.work import (
    interrupts,
    invocation,
    leftover_threads,
    output_capture,
    shared_memory,
    stack_dump,
    startup,
)
from callback_sdk.text.tracebacks import user_traceback

_log = logging.getLogger(__name__)

_OOM_SCORE = 500
"""The process's oom_score_adj, from 0 to 1000, by which the kernel's OOM killer chooses a process; see proc(5)."""

_TICK = 1.0
"""Seconds between checks of the parent's pid on systems where no reaper can be told of its end."""

_RETRY = 2.0
"""Seconds between attempts to write results to a full disk."""

SHOWN = ("predictions", "evaluations", "monitors")
"""Members of the results that the REST API returns separately."""


@define(frozen=True, kw_only=True)
class RunSpec:
    """The description of one run for the child process.

    Attributes:
        kind: Function of the algorithm to call: `"predict"` or `"fit"`.
        monitor: Whether its monitors are called.
        features: Path of the features.
        results: Path for the results.
        progress: Path for the progress.
        output: Path for the captured output.
        outputs: Directory for the output files; see `OutputFolder`.
        output_limits: Limits of the output files.
        stop: Path of the request to stop the run; see `interrupts`.
        directory: Temporary directory of the run.
        model_path: Model file of a trained version; None for a registered one.
        model_output: Path for the model that a training saves.
        memory_limit: Bytes that the run may use beyond what the process used before, including its child processes.
    """

    registry: str
    kind: str = "predict"
    algorithm: str
    version: str
    job_id: str
    attempt: int
    evaluate: bool | dict[str, Any]
    monitor: bool = True
    export_new_version: bool = False
    parameters: dict[str, Any] = field(repr=False)
    features: Path
    features_format: str
    results: Path
    progress: Path
    output: Path
    outputs: Path
    output_limits: OutputLimits = DEFAULT_LIMITS
    stop: Path
    directory: Path
    model_path: Path | None = None
    model_output: Path | None = None
    memory_limit: float = math.inf


@define(frozen=True, kw_only=True)
class RunResult:
    """The child's response to the parent.

    Attributes:
        error: The error; None if there are results.
        trace: The algorithm's traceback, for the log.
        spans: Byte offsets of members in the file of results.
        nulls_written: Number of NaN and infinite values that were written as null.
        threads: Names of the threads and asyncio tasks that the algorithm has left running.
        segments: Names of the shared memory that the algorithm has left.
        unrestored: Parts of the process's state that the algorithm has changed for good; see `process_state`.
    """

    error: str | None = None
    trace: str = ""
    spans: dict[str, list[int]] = field(factory=dict)
    nulls_written: int = 0
    threads: list[str] = field(factory=list)
    segments: list[str] = field(factory=list)
    unrestored: list[str] = field(factory=list)


def prepare(parent: int, stack: int) -> None:
    """Prepare this process for algorithms, and let it end together with its parent.

    Args:
        parent: Pid of the service's process.
        stack: Descriptor for the stack of this process; see `stack_dump`.
    """
    if sys.platform == "linux":
        # Below its reaper, with which it ends: what an algorithm leaves running must be noticed before the next run.
        reaper.become_subreaper()
        _prefer_for_oom_kill()
    else:
        threading.Thread(target=watch, args=(parent,), name="parent-watch", daemon=True).start()
    interrupts.prepare()
    output_capture.prepare()
    stack_dump.enable(stack)


def _prefer_for_oom_kill() -> None:
    """Let the kernel's OOM killer choose this process and its children before the service.

    Raising the score needs no privilege, lowering it does, and children inherit it; see proc(5).
    """
    with contextlib.suppress(OSError, ValueError):
        file = Path("/proc/self/oom_score_adj")
        file.write_text(str(max(_OOM_SCORE, int(file.read_text()))))


def watch(parent: int) -> None:
    """Exit within 2 s after the parent's pid has changed."""
    while os.getppid() == parent:
        time.sleep(_TICK)
    os._exit(1)


def run(spec: RunSpec) -> RunResult:
    """Call the algorithm and write its results. Any exception is returned as text."""
    before = set(threading.enumerate())
    with output_capture.capture_output(spec.output) as append, _temporary_directory(spec.directory):
        with interrupts.raise_on_stop(spec.stop):
            result = _run(spec)
        if result.trace:
            # The traceback is a part of the captured output.
            append(result.trace)
    threads = [*leftover_threads.of_run(before), *event_loop.take_unfinished()]
    return evolve(result, threads=threads, segments=shared_memory.left(), unrestored=startup.restore())


@contextlib.contextmanager
def _temporary_directory(path: Path) -> Iterator[None]:
    """Let this process and those that it starts create temporary files in a directory while the block runs."""
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = tempfile.tempdir = str(path)
    try:
        yield
    finally:
        # None: determined again when it is needed.
        tempfile.tempdir = None
        # multiprocessing keeps a directory of its own in it; see multiprocessing.util.get_temp_dir.
        getattr(multiprocessing.current_process(), "_config", {}).pop("tempdir", None)
        if before is None:
            os.environ.pop("TMPDIR", None)
        else:
            os.environ["TMPDIR"] = before


def _run(spec: RunSpec) -> RunResult:
    try:
        return _read_returned(spec, _call_in_this_process(spec))
    except BaseException as error:  # noqa: BLE001 - SystemExit and others of an algorithm are failures like any other
        return RunResult(error=describe(error), trace=clean(user_traceback(error), max_length=None))


def _read_returned(spec: RunSpec, members: dict[Any, Any]) -> RunResult:
    """Write the results of an algorithm that has returned. Another `EncodingError` is one of the algorithm."""
    try:
        spans, nulls_written = _write_results(spec, members)
    except OutputError as error:
        return RunResult(error=describe(error))
    except EncodingError as error:
        return RunResult(error=clean(f"The algorithm returned a result that can't be encoded: {error}"))
    return RunResult(spans={name: spans[name] for name in SHOWN if name in spans}, nulls_written=nulls_written)


def _call_in_this_process(spec: RunSpec) -> dict[Any, Any]:
    """Call the algorithm. In a process that it forked and that returns from it, end there, as at a script's end."""
    pid = os.getpid()
    code = 0
    try:
        return _call(spec)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        raise
    except BaseException as error:
        code = 1
        if os.getpid() != pid:
            sys.stderr.write(user_traceback(error))
        raise
    finally:
        if os.getpid() != pid:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            os._exit(code)


def _call(spec: RunSpec) -> dict[Any, Any]:
    registry = startup.registry(spec.registry)
    algorithm = registry.get(spec.algorithm, spec.version)
    functions = registry.functions(algorithm)
    context = JobContext(
        job_id=spec.job_id,
        attempt=spec.attempt,
        evaluate=bool(spec.evaluate),
        report=functools.partial(_report, spec.progress),
        export_new_version=spec.export_new_version,
        model_path=spec.model_path,
        model_output=spec.model_output,
        outputs=OutputFolder(spec.outputs, spec.output_limits),
        directory=spec.directory,
        stop_file=spec.stop,
        state=registry.state(algorithm),
    )
    features = Features(spec.features, spec.features_format, max_bytes=spec.memory_limit)
    if spec.kind == "fit":
        return invocation.fit(algorithm, functions, features, spec.parameters, context)
    return invocation.predict(
        algorithm, functions, features, spec.parameters, context, evaluate=spec.evaluate, monitor=spec.monitor
    )


def _report(path: Path, fraction: float | None, message: str) -> None:
    # A file written atomically: a kill in the middle of a write to a pipe would block the reader. An algorithm must
    # not fail because its progress can't be written.
    state = {"fraction": fraction, "message": clean(message)}
    with contextlib.suppress(OSError):
        write_whole(path, [orjson.dumps(state)], durable=False)


def _write_results(spec: RunSpec, members: dict[Any, Any]) -> tuple[dict[str, list[int]], int]:
    encoded: dict[str, EncodedValue] = {}
    for key, part in members.items():
        name = _member_name(key, encoded)
        encoded[name] = encode(part, path=member("results", name))
    if output_list.MEMBER in encoded and read_files(spec.outputs):
        raise output_list.taken_member_error()
    spans, parts = _join_members(encoded)
    _write_file(spec, parts)
    return spans, sum(part.nulls_written for part in encoded.values())


def _write_file(spec: RunSpec, parts: list[bytes]) -> None:
    """Write a file. The results may have taken hours, so retry while the disk is full, until the run is stopped."""
    while True:
        try:
            # Not synced here: the parent syncs it where it stores it.
            write_whole(spec.results, parts, durable=False)
        except OSError as error:  # noqa: PERF203 - retries are rare
            if not is_full(error):
                raise
            _log.error(
                "Results of task %s can't be written, retrying: %s",
                spec.job_id,
                error,
                extra={"job_id": spec.job_id},
            )
            time.sleep(_RETRY)
        else:
            return


def _member_name(key: Any, others: Collection[str]) -> str:
    try:
        name = key_text(key)
    except TypeError as error:
        raise EncodingError(f"results has a key of type {type(key).__qualname__}.", hint=str(error)) from None
    if name in others:
        raise EncodingError(
            f"results has two keys that encode to the same string, {name!r} and {key!r:.100}.",
            hint="Make the keys distinct as strings.",
        )
    return name


def _join_members(encoded: dict[str, EncodedValue]) -> tuple[dict[str, list[int]], list[bytes]]:
    spans: dict[str, list[int]] = {}
    parts: list[bytes] = []
    position = 0
    for name, part in encoded.items():
        head = (b"," if parts else b"{") + encode(name).data + b":"
        parts += [head, *part.parts]
        start = position + len(head)
        position = start + sum(map(len, part.parts))
        spans[name] = [start, position]
    return spans, [*parts, b"}"]

"""The child process: calls one algorithm, and writes its return value to a JSON file.

Only numbers and strings of this package go to the parent. No object of the algorithm is pickled, so none can fail to be
pickled, and none can run code in the parent when it is unpickled.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import math
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Collection
from pathlib import Path
from typing import Any

import orjson
from attrs import define, evolve, field

from callback_sdk.documents.document import Encoded, encode
from callback_sdk.documents.values import key_text, member
from callback_sdk.errors import EncodingError
from callback_sdk.service.algorithms.context import JobContext
from callback_sdk.service.algorithms.features import Features
from callback_sdk.service.algorithms.registry import Registry, load
from callback_sdk.service.files import is_full, write_whole
from callback_sdk.service.work import invocation, leftover_threads, output_capture

_log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
"""prctl(2): the signal to get when the parent's thread that started us ends."""

_PR_SET_CHILD_SUBREAPER = 36
"""prctl(2): orphans below this process become its own children, and not those of init."""

_OOM_SCORE = 500
"""Added to the badness of this process, from 0 to 1000, by which the kernel chooses whom to kill; see proc(5)."""

_TICK = 1.0
"""Seconds between looks at who the parent is, where the kernel doesn't tell."""

_RETRY = 2.0
"""Seconds between tries to write results to a full disk."""

SHOWN = ("predictions", "evaluations", "monitors")
"""Members of the results that the REST API shows one by one."""

_LONGEST_ERROR = 2000
"""Characters of an algorithm's error that are kept."""


@define(frozen=True, kw_only=True)
class RunSpec:
    """All that a child process needs to know of one run.

    Attributes:
        kind: Which function of the algorithm is called: `"predict"` or `"fit"`.
        monitor: Whether its monitors are called.
        features: Path of the features.
        results: Where the results go.
        progress: Where the progress goes.
        output: Where goes what is printed and logged.
        model_path: Model file of a trained version; None for a registered one.
        model_output: Path for the model that a training saves.
        memory_limit: Bytes that the run may take beyond what the process held before, its own children included.
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
    model_path: Path | None = None
    model_output: Path | None = None
    memory_limit: float = math.inf


@define(frozen=True, kw_only=True)
class RunResult:
    """What the child tells the parent.

    Attributes:
        error: Why there are no results; None when there are.
        trace: The algorithm's traceback, for the log.
        spans: Where members lie in the file of results.
        nulls_written: Numbers in it that became null.
        threads: Names of threads that the algorithm has left running.
    """

    error: str | None = None
    trace: str = ""
    spans: dict[str, list[int]] = field(factory=dict)
    nulls_written: int = 0
    threads: list[str] = field(factory=list)


def prepare(parent: int) -> None:
    """Let this process and whatever an algorithm starts end together with its parent.

    Args:
        parent: The parent's pid.
    """
    if sys.platform == "linux":
        # Orphans of daemonizing or double-forking algorithms are reparented to this process instead of init
        # (PR_SET_CHILD_SUBREAPER, prctl(2)), so that `ChildProcess.close` still finds and kills them.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1)
        _prefer_for_oom_kill()
    die_with_parent(parent)
    output_capture.prepare()


def _prefer_for_oom_kill() -> None:
    """Let the kernel's OOM killer choose this process and its children before the service.

    Raising the score needs no privilege, lowering it does, and children inherit it; see proc(5).
    """
    with contextlib.suppress(OSError, ValueError):
        file = Path("/proc/self/oom_score_adj")
        file.write_text(str(max(_OOM_SCORE, int(file.read_text()))))


def die_with_parent(parent: int | None = None) -> None:
    """Let this process end when the one that started it does.

    On Linux the kernel kills it when the thread that started it ends, even if the parent's other threads live on (see
    PR_SET_PDEATHSIG in prctl(2)). Elsewhere a thread checks the parent's pid.

    Args:
        parent: The parent's pid; whoever it is now when None.
    """
    parent = parent or os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=watch, args=(parent,), name="parent-watch", daemon=True).start()
    # prctl(2) has no effect for a parent that ended before the call: then the pid has changed already.
    if os.getppid() != parent:
        os._exit(1)


def watch(parent: int) -> None:
    """End this process, within a second or two, when it has another parent than this."""
    while os.getppid() == parent:
        time.sleep(_TICK)
    os._exit(1)


def warm_up(registry: str) -> tuple[int, str]:
    """Import the registry ahead of the first run, so that no run's time-out counts it.

    Returns:
        The pid, and what went wrong, or nothing.
    """
    try:
        _registry(registry)
    except BaseException as error:  # noqa: BLE001 - a class of theirs could fail to be unpickled in the parent
        return os.getpid(), _describe(error)
    return os.getpid(), ""


def run(spec: RunSpec) -> RunResult:
    """Call the algorithm and write its results. Whatever it raises comes back as text."""
    before = set(threading.enumerate())
    with output_capture.capture_output(spec.output):
        result = _run(spec)
        if result.trace:
            # With what it printed, which may say more.
            sys.stderr.write(result.trace)
    return evolve(result, threads=leftover_threads.of_run(before))


def _run(spec: RunSpec) -> RunResult:
    try:
        spans, nulls_written = _write_results(spec, _call(spec))
    except EncodingError as error:
        return RunResult(error=_clean(f"The algorithm returned a result that can't be encoded: {error}"))
    except BaseException as error:  # noqa: BLE001 - SystemExit and others of an algorithm are failures like any other
        return RunResult(error=_describe(error), trace=_clean(traceback.format_exc(), longest=None))
    return RunResult(spans={name: spans[name] for name in SHOWN if name in spans}, nulls_written=nulls_written)


@functools.lru_cache(maxsize=1)
def _registry(name: str) -> Registry:
    return load(name)


def _call(spec: RunSpec) -> dict[Any, Any]:
    algorithm = _registry(spec.registry).get(spec.algorithm, spec.version)
    context = JobContext(
        job_id=spec.job_id,
        attempt=spec.attempt,
        evaluate=bool(spec.evaluate),
        report=functools.partial(_report, spec.progress),
        export_new_version=spec.export_new_version,
        model_path=spec.model_path,
        model_output=spec.model_output,
    )
    features = Features(spec.features, spec.features_format, most=spec.memory_limit)
    if spec.kind == "fit":
        return invocation.fit(algorithm, features, spec.parameters, context)
    return invocation.predict(
        algorithm, features, spec.parameters, context, evaluate=spec.evaluate, monitor=spec.monitor
    )


def _report(path: Path, fraction: float | None, message: str) -> None:
    # Whole or not at all: a kill in the middle of a write to a pipe would leave the reader stuck. And no algorithm
    # fails because its progress can't be shown.
    state = {"fraction": fraction, "message": _clean(message)}
    with contextlib.suppress(OSError):
        write_whole(path, [orjson.dumps(state)], durable=False)


def _write_results(spec: RunSpec, members: dict[Any, Any]) -> tuple[dict[str, list[int]], int]:
    encoded: dict[str, Encoded] = {}
    for key, part in members.items():
        name = _member_name(key, encoded)
        encoded[name] = encode(part, path=member("results", name))
    spans, parts = _join_members(encoded)
    _write_file(spec, parts)
    return spans, sum(part.nulls_written for part in encoded.values())


def _write_file(spec: RunSpec, parts: list[bytes]) -> None:
    """Write a file. As it may have cost hours, a full disk is waited for, until the run is broken off."""
    while True:
        try:
            # Not synced here: the parent syncs it where it stores it.
            write_whole(spec.results, parts, durable=False)
        except OSError as error:  # noqa: PERF203 - one round in a good while
            if not is_full(error):
                raise
            _log.error(
                "Results of task %s can't be written, another try follows: %s",
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
            f"results has two keys that are written alike, {name!r} and {key!r:.100}.",
            hint="Give each key a text of its own.",
        )
    return name


def _join_members(encoded: dict[str, Encoded]) -> tuple[dict[str, list[int]], list[bytes]]:
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


def _describe(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - an error whose text is an error
        text = "(its text can't be made)"
    name = type(error).__name__
    return _clean(f"{name}: {text}" if text else name)


def _clean(text: str, *, longest: int | None = _LONGEST_ERROR) -> str:
    """Cut a text, and replace what UTF-8 can't hold."""
    return text[:longest].replace("\0", "\ufffd").encode(errors="replace").decode()

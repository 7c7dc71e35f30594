"""Runner: claims a task, runs it in a child process, stores its results and starts its deliveries."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from attrs import define, evolve

from callback_sdk import tracing
from callback_sdk.errors import UnknownAlgorithmError
from callback_sdk.filesystem.files import create_file
from callback_sdk.parsing import FALSE_WORDS
from callback_sdk.service.algorithms.catalogue import AlgorithmCatalog, RunnableVersion, new_version
from callback_sdk.service.algorithms.output_folder import DEFAULT_LIMITS, OutputLimits, RunFile, read_files
from callback_sdk.service.algorithms.versions import Algorithms
from callback_sdk.service.blobs import (
    INLINE,
    BlobMissingError,
    BlobStorage,
    BlobStorageError,
    features_name,
    model_name,
    output_name,
    results_name,
)
from callback_sdk.service.files import Scratch, read_progress
from callback_sdk.service.metrics import TASK_RUN_DURATION, TASK_RUNS
from callback_sdk.service.store import (
    Claim,
    DeliveringWorker,
    DueDeliveries,
    RunOutcome,
    Store,
    StoreUnavailableError,
    TaskRow,
)
from callback_sdk.service.store.models import RESERVED_NAMES, NewFile
from callback_sdk.service.supervision.memory import NO_LIMIT, MemoryLimit, limit_of
from callback_sdk.service.work.child import RunResult, RunSpec
from callback_sdk.service.work.child_pair import ChildPair
from callback_sdk.service.work.deliverer import Deliverer
from callback_sdk.service.work.heartbeat import Heartbeat
from callback_sdk.service.work.live_output import LiveOutput
from callback_sdk.service.work.outcome import CANCEL, SHUTDOWN, Outcome, StopSignal
from callback_sdk.service.work.process import SetupError
from callback_sdk.service.work.run_files import RunFiles, run_files
from callback_sdk.service.work.task_events import RunEvents, TaskEvents
from callback_sdk.service.work.uploads import BlobUpload, PendingUploads, UploadInterruptedError
from callback_sdk.text.escaping import TRACEBACK

_log = logging.getLogger(__name__)

_ROWS = 100
"""Number of output files that are inserted into the store in one transaction, with up to 64 KiB each."""


@define(frozen=True, kw_only=True)
class ComputedRun:
    """A run whose child process has finished, and whose outcome is not stored yet.

    Attributes:
        claim: The task.
        files: The run's files.
        output: Its output.
        outcome: The outcome; an exception when the run could not be started.
        stop: Stops the upload of the results.
        events: The run's events; None without targets that subscribe to them.
        resources: Removes the files and releases the claim when it is closed.
    """

    claim: Claim
    files: RunFiles
    output: LiveOutput
    outcome: Outcome | Exception
    stop: StopSignal
    events: RunEvents | None
    resources: ExitStack


class Runner:
    """Runs tasks by their ids. Idempotent: a task that is claimed by another worker, or has ended, is skipped.

    Args:
        store: Claims tasks and stores their outcomes.
        blobs: Storage of large features and results.
        scratch: Directory for the files of runs.
        temporary: Directory for the temporary directories of runs.
        heartbeat: Renews the leases of claimed tasks.
        deliverer: Makes the first attempts at the deliveries.
        events: Sends the events of runs.
        uploads: Uploads large results, and retries while blob storage is unavailable.
        registry: The algorithms.
        registry_name: Module and variable of the registry, which child processes import.
        memory_limit: Memory limit of runs whose algorithm has none.
        output_limits: Limits of the output files of each run.
    """

    def __init__(
        self,
        *,
        store: Store,
        blobs: BlobStorage,
        scratch: Scratch,
        temporary: Scratch,
        heartbeat: Heartbeat,
        deliverer: Deliverer,
        events: TaskEvents,
        uploads: PendingUploads,
        registry: Algorithms,
        registry_name: str,
        memory_limit: MemoryLimit = NO_LIMIT,
        output_limits: OutputLimits = DEFAULT_LIMITS,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._scratch = scratch
        self._temporary = temporary
        self._heartbeat = heartbeat
        self._deliverer = deliverer
        self._events = events
        self._uploads = uploads
        self._catalog = AlgorithmCatalog(registry, store.versions)
        self._registry_name = registry_name
        self._memory_limit = memory_limit
        self._output_limits = output_limits

    def run(self, job_id: str, child: ChildPair, stop: StopSignal) -> None:
        """Run one task if it is due, store its outcome, and start its deliveries.

        Args:
            job_id: Id of the task.
            child: The process to run it in.
            stop: Stops the run.
        """
        run = self.compute(job_id, child, stop)
        if run is not None:
            self.finish(run)

    def compute(self, job_id: str, child: ChildPair, stop: StopSignal) -> ComputedRun | None:
        """Run one task in a child process, if it is still due; see `run`.

        Returns:
            The run, which must be passed to `finish`, in any thread; the child is free for the next task meanwhile.
            None if another worker has claimed the task, or it has ended.
        """
        claim = self._store.tasks.claim(job_id, self._heartbeat.worker)
        if claim is None:
            return None
        extra = {"action": "run_task", "job_id": job_id, "attempt": claim.attempt}
        _log.info("Task %s: running %s, attempt %d.", job_id, claim.task.algorithm, claim.attempt, extra=extra)
        with ExitStack() as stack:
            files = stack.enter_context(run_files(self._scratch))
            output = LiveOutput(files.output, partial(self._store.output.write, job_id, claim.attempt))
            events = self._events.open(claim)
            stack.enter_context(self._heartbeat.running(claim, stop, files.progress, output, events))
            try:
                outcome: Outcome | Exception = self._run_traced(claim, files, child, stop)
            except Exception as error:  # noqa: BLE001 - raised again by `finish`
                outcome = error
            resources = stack.pop_all()
        return ComputedRun(
            claim=claim, files=files, output=output, outcome=outcome, stop=stop, events=events, resources=resources
        )

    def finish(self, run: ComputedRun) -> None:
        """Store a run's results and outcome, and start the deliveries; release the task if that isn't possible.

        The run's files and claim are held until then, which may be after this method has returned; see
        `PendingUploads`.
        """
        claim, files = run.claim, run.files
        if run.events is not None:
            run.events.report(read_progress(files.progress))
        self._store_output(run)
        blobs: list[tuple[Path, str]] = []
        try:
            blobs, finish = self._plan(claim, files, run.outcome)
        except Exception as error:  # noqa: BLE001 - raised again where the task is released
            finish = partial(_raise, error)
        conclude = partial(self._conclude, claim, finish, run.resources, run.events)
        self._uploads.store(BlobUpload(job_id=claim.task.job_id, files=blobs, stop=run.stop, conclude=conclude))

    def _plan(
        self, claim: Claim, files: RunFiles, outcome: Outcome | Exception
    ) -> tuple[list[tuple[Path, str]], Callable[[], DueDeliveries | None]]:
        """Return the files to upload, and the function to call after that."""
        if isinstance(outcome, Exception):
            raise outcome
        if outcome.stop_reason is not None:
            return [], partial(self._release_interrupted, claim, outcome.stop_reason)
        if outcome.crash is not None:
            return [], partial(self._record_child_crash, claim, outcome.crash)
        run_outcome, blobs = self._build_outcome(claim, files, outcome)
        return blobs, partial(self._finish_run, claim, run_outcome)

    def _conclude(
        self,
        claim: Claim,
        finish: Callable[[], DueDeliveries | None],
        resources: ExitStack,
        events: RunEvents | None,
        failure: Exception | None,
    ) -> None:
        """Finish a task, or release it if its files could not be stored, and start its deliveries."""
        ended: DueDeliveries | None = None
        try:
            ended = self._end(claim, finish, resources, failure)
        finally:
            if ended is None and events is not None:
                events.abort()
        if ended is not None:
            # The last event precedes the result, which is stored.
            self._deliverer.start_all(ended, before=None if events is None else events.close)
            self._remove_features(claim)

    def _end(
        self, claim: Claim, finish: Callable[[], DueDeliveries | None], resources: ExitStack, failure: Exception | None
    ) -> DueDeliveries | None:  # fmt: skip
        """Finish a task, or release it if its files could not be stored. Return its deliveries if it has ended."""
        job_id = claim.task.job_id
        try:
            with resources:
                if failure is not None:
                    raise failure
                return finish()
        except UnknownAlgorithmError as error:
            return self._finish_task(claim, RunOutcome(success=False, error=str(error)))
        except UploadInterruptedError:
            # Not postponed: the next process, or one on another machine, may run it at once.
            _log.info("Task %s: stopped before its results were stored, requeueing.", job_id, extra=_log_fields(claim))
            self._release_interrupted(claim, SHUTDOWN)
            return None
        except (BlobStorageError, SetupError, StoreUnavailableError, OSError) as error:
            return self._postpone(claim, error)
        except Exception as error:  # noqa: BLE001 - whatever failed, the task must not stay claimed
            _log.exception("Task %s: run failed unexpectedly.", job_id, extra=_log_fields(claim))
            return self._record_crash(claim, f"the worker failed: {type(error).__name__}")

    def _finish_task(self, claim: Claim, run_outcome: RunOutcome) -> DueDeliveries | None:
        return self._store.tasks.finish(claim.task.job_id, claim.attempt, run_outcome, self._delivering_worker())

    def _record_crash(self, claim: Claim, reason: str) -> DueDeliveries | None:
        return self._store.tasks.record_crash(claim.task.job_id, claim.attempt, reason, self._delivering_worker())

    def _delivering_worker(self) -> DeliveringWorker:
        return DeliveringWorker(worker=self._heartbeat.worker, free_slots=self._deliverer.free_slots_any_host)

    def _remove_features(self, claim: Claim) -> None:
        if claim.features is None:
            # Housekeeping removes files that can't be removed now.
            with suppress(BlobStorageError):
                self._blobs.remove(features_name(claim.task.job_id))

    def _run_traced(self, claim: Claim, files: RunFiles, child: ChildPair, stop: StopSignal) -> Outcome:
        task = claim.task
        facts = {"job_id": task.job_id, "algorithm": task.algorithm, "version": task.version, "attempt": claim.attempt}
        with tracing.span("run", "consumer", parent=task.options.get(tracing.TRACEPARENT), **facts) as span:
            outcome = self._run_in_child(claim, files, child, stop)
            span.set(outcome=_label(outcome))
            if _label(outcome) != "succeeded":
                span.fail(_label(outcome))
        return outcome

    def _run_in_child(self, claim: Claim, files: RunFiles, child: ChildPair, stop: StopSignal) -> Outcome:
        version = self._resolve_algorithm(claim)
        algorithm = version.algorithm
        started = time.monotonic()
        with (
            self._features(claim, files) as features,
            self._model(version) as model,
            self._temporary.directory() as directory,
        ):
            spec = self._build_spec(claim, files, features, version, model, directory)
            outcome = child.run(spec, timeout=algorithm.timeout, stop=stop, max_runs=algorithm.max_runs)
        TASK_RUNS.labels(algorithm.name, _label(outcome)).inc()
        TASK_RUN_DURATION.labels(algorithm.name).observe(time.monotonic() - started)
        return outcome

    def _release_interrupted(self, claim: Claim, reason: str) -> None:
        """Release a task that a shutdown has interrupted; a canceled one has ended already."""
        if reason == SHUTDOWN:
            self._store.tasks.release(claim.task.job_id, claim.attempt)
        else:
            self._store.output.complete(claim.task.job_id, claim.attempt)

    def _record_child_crash(self, claim: Claim, reason: str) -> DueDeliveries | None:
        ended = self._record_crash(claim, reason)
        action = "requeueing" if ended is None else "giving up"
        _log.warning("Task %s: %s; %s.", claim.task.job_id, reason, action, extra=_log_fields(claim))
        return ended

    def _finish_run(self, claim: Claim, run_outcome: RunOutcome) -> DueDeliveries | None:
        job_id = claim.task.job_id
        finished = self._finish_task(claim, run_outcome)
        if finished is None and run_outcome.success and run_outcome.results is None:
            self._blobs.remove(results_name(job_id, claim.attempt))
        if finished is None:
            self._store.output.complete(job_id, claim.attempt)
        _log.info(
            "Task %s %s.",
            job_id,
            "succeeded" if run_outcome.success else f"failed: {run_outcome.error}",
            extra=_log_fields(claim),
        )
        return finished

    @contextmanager
    def _features(self, claim: Claim, files: RunFiles) -> Iterator[Path]:
        if claim.features is None:
            with self._blobs.fetch(features_name(claim.task.job_id), self._scratch.folder) as path:
                yield path
        else:
            with create_file(files.features) as file:
                file.write(claim.features)
            yield files.features

    def _resolve_algorithm(self, claim: Claim) -> RunnableVersion:
        return self._catalog.get(claim.task.owner, claim.task.algorithm, claim.task.version)

    @contextmanager
    def _model(self, version: RunnableVersion) -> Iterator[Path | None]:
        if version.model is None:
            yield None
        else:
            with self._blobs.fetch(version.model, self._scratch.folder) as path:
                yield path

    def _build_spec(
        self,
        claim: Claim,
        files: RunFiles,
        features: Path,
        version: RunnableVersion,
        model: Path | None,
        directory: Path,
    ) -> RunSpec:
        task = claim.task
        return RunSpec(
            registry=self._registry_name,
            kind=task.kind,
            algorithm=task.algorithm,
            version=version.algorithm.version,
            job_id=task.job_id,
            attempt=claim.attempt,
            evaluate=task.evaluate,
            monitor=str(task.options.get("monitor", "true")).lower() not in FALSE_WORDS,
            export_new_version=bool(task.options.get("export_new_version")),
            parameters=task.parameters,
            features=features,
            features_format=task.features_format,
            results=files.results,
            progress=files.progress,
            output=files.output,
            outputs=files.outputs,
            output_limits=self._limits_of(task),
            stop=files.stop,
            directory=directory,
            model_path=model,
            model_output=files.model_output,
            memory_limit=limit_of(version.algorithm.memory_limit, self._memory_limit).size,
        )

    def _limits_of(self, task: TaskRow) -> OutputLimits:
        reserved = task.options.get(RESERVED_NAMES)
        return evolve(self._output_limits, reserved=frozenset(reserved)) if reserved else self._output_limits

    def _postpone(
        self, claim: Claim, error: BlobStorageError | SetupError | StoreUnavailableError | OSError
    ) -> DueDeliveries | None:
        """Release a task that this machine can't run now, and return its deliveries if the task ends here.

        A fault of the machine, such as a full disk, doesn't count towards the task's attempts.
        """
        job_id = claim.task.job_id
        _log.error("Task %s can't run now, requeueing: %s", job_id, error, extra=_log_fields(claim))
        if isinstance(error, BlobMissingError):
            return self._record_crash(claim, f"one of its files could not be read: {error.message}")
        self._store.tasks.release(job_id, claim.attempt, later=True)
        return None

    def _build_outcome(
        self, claim: Claim, files: RunFiles, outcome: Outcome
    ) -> tuple[RunOutcome, list[tuple[Path, str]]]:  # fmt: skip
        """Return the outcome of a run to store, and the files to upload before that."""
        job_id, progress = claim.task.job_id, read_progress(files.progress)
        result = outcome.result or RunResult(error=self._failure(claim, outcome))
        made = read_files(files.outputs)
        outputs: dict[str, Any] = {}
        blobs = self._insert_outputs(claim, made)
        if made:
            outputs = {"output_attempt": claim.attempt, "output_size": sum(file.size for file in made)}
        if result.error is not None:
            if result.trace:
                _log.info(
                    "Task %s: the algorithm raised an error.",
                    job_id,
                    extra={**_log_fields(claim), TRACEBACK: result.trace},
                )
            return RunOutcome(success=False, error=result.error, progress=progress, **outputs), blobs
        trained_version = results = None
        size, model_size = files.results.stat().st_size, 0
        if files.model_output.exists():
            model_size = files.model_output.stat().st_size
            base = self._resolve_algorithm(claim).algorithm.version
            trained_version = new_version(base, job_id), base
            blobs.append((files.model_output, model_name(job_id, claim.attempt)))
        if size <= INLINE:
            results = files.results.read_bytes()
        else:
            blobs.append((files.results, results_name(job_id, claim.attempt)))
        run_outcome = RunOutcome(
            success=True,
            result_offsets=result.spans,
            nulls_written=result.nulls_written,
            progress=_completed_progress(progress),
            trained_version=trained_version,
            results=results,
            size=size,
            model_size=model_size,
            **outputs,
        )
        return run_outcome, blobs

    def _insert_outputs(self, claim: Claim, made: Sequence[RunFile]) -> list[tuple[Path, str]]:
        """Insert a run's output files into the store, and return those to upload."""
        job_id, attempt = claim.task.job_id, claim.attempt
        for first in range(0, len(made), _ROWS):
            new = [
                NewFile(
                    name=file.name,
                    size=file.size,
                    sha256=file.sha256,
                    media_type=file.media_type,
                    data=file.path.read_bytes() if file.size <= INLINE else None,
                )
                for file in made[first : first + _ROWS]
            ]
            self._store.output_files.insert(job_id, attempt, new, first=first)
        return [
            (file.path, output_name(job_id, attempt, position))
            for position, file in enumerate(made)
            if file.size > INLINE
        ]

    def _store_output(self, run: ComputedRun) -> None:
        """Store the rest of the output regardless of the outcome, because it is needed most after a failure."""
        try:
            run.output.update(final=True)
        except Exception as error:  # noqa: BLE001 - the result matters more than the output
            claim = run.claim
            _log.warning("Task %s: output could not be stored: %s", claim.task.job_id, error, extra=_log_fields(claim))

    def _failure(self, claim: Claim, outcome: Outcome) -> str | None:
        algorithm = self._resolve_algorithm(claim).algorithm
        limit = limit_of(algorithm.memory_limit, self._memory_limit)
        return outcome.failure(timeout=algorithm.timeout, memory_limit=limit)


def _log_fields(claim: Claim) -> dict[str, Any]:
    """Return the fields of log records about a run."""
    return {"job_id": claim.task.job_id, "attempt": claim.attempt}


def _raise(error: Exception) -> DueDeliveries | None:
    raise error


def _label(outcome: Outcome) -> str:
    """Return the outcome of a run as a label of metrics and spans."""
    if outcome.stop_reason is not None:
        return "canceled" if outcome.stop_reason == CANCEL else "interrupted"
    if outcome.crash is not None:
        return "crashed"
    return "succeeded" if outcome.result is not None and outcome.result.error is None else "failed"


def _completed_progress(progress: dict[str, Any] | None) -> dict[str, Any]:
    return {"fraction": 1.0, "message": (progress or {}).get("message", "")}

"""What a worker does with one task id: claim, run in a child process, save, deliver."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from attrs import define

from callback_sdk import tracing
from callback_sdk.errors import UnknownAlgorithmError
from callback_sdk.parsing import FALSE_WORDS
from callback_sdk.service.algorithms.catalogue import AlgorithmCatalog, RunnableVersion, new_version
from callback_sdk.service.algorithms.registry import Registry
from callback_sdk.service.blobs import (
    INLINE,
    BlobMissingError,
    BlobStorage,
    BlobStorageError,
    features_name,
    model_name,
    results_name,
)
from callback_sdk.service.files import Scratch, create_private, read_progress, remove
from callback_sdk.service.metrics import TASK_RUN_DURATION, TASK_RUNS
from callback_sdk.service.store import Claim, DeliveringWorker, DueDeliveries, RunOutcome, Store, StoreUnavailableError
from callback_sdk.service.supervision.memory import NO_LIMIT, MemoryLimit, limit_of
from callback_sdk.service.work.child import RunResult, RunSpec
from callback_sdk.service.work.deliverer import Deliverer
from callback_sdk.service.work.heartbeat import Heartbeat
from callback_sdk.service.work.output_capture import kept
from callback_sdk.service.work.process import SHUTDOWN, ChildProcess, Outcome, Stop
from callback_sdk.service.work.uploads import BlobUpload, PendingUploads
from callback_sdk.text.escaping import TRACEBACK

_log = logging.getLogger(__name__)


@define(frozen=True, kw_only=True)
class _Places:
    """Files of one run in the scratch folder."""

    features: Path
    results: Path
    progress: Path
    output: Path
    made: Path


@define(frozen=True, kw_only=True)
class ComputedRun:
    """A run whose child process is done with it, and whose outcome is not stored yet.

    Attributes:
        claim: The task.
        places: The run's files.
        outcome: How it ended; an exception when it could not be started.
        stop: Resolved when the rest has to be stopped, too.
        held: Closes to remove the files and to give up the claim.
    """

    claim: Claim
    places: _Places
    outcome: Outcome | Exception
    stop: Stop
    held: ExitStack


class Runner:
    """Runs tasks by their ids. Calling it twice with one id, or with an old one, does no harm.

    Args:
        store: Where tasks are claimed and ended.
        blobs: Where large features and results are.
        scratch: Where a run has its files.
        claims: Keeps what is claimed.
        deliverer: Makes the first attempts at the deliveries.
        uploads: Keeps large results, and lets them wait for blob storage.
        registry: What can be run.
        registry_name: How a child process finds the same registry.
        memory_limit: How much memory a run may take whose algorithm doesn't say.
    """

    def __init__(
        self,
        *,
        store: Store,
        blobs: BlobStorage,
        scratch: Scratch,
        claims: Heartbeat,
        deliverer: Deliverer,
        uploads: PendingUploads,
        registry: Registry,
        registry_name: str,
        memory_limit: MemoryLimit = NO_LIMIT,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._scratch = scratch
        self._claims = claims
        self._deliverer = deliverer
        self._uploads = uploads
        self._catalogue = AlgorithmCatalog(registry, store.versions)
        self._registry_name = registry_name
        self._memory_limit = memory_limit

    def run(self, job_id: str, child: ChildProcess, stop: Stop) -> None:
        """Run one task, if it still waits for that, and do all that follows.

        Args:
            job_id: The task.
            child: The process to run it in.
            stop: Breaks it off.
        """
        run = self.compute(job_id, child, stop)
        if run is not None:
            self.finish(run)

    def compute(self, job_id: str, child: ChildProcess, stop: Stop) -> ComputedRun | None:
        """Run one task in a child process, if it is still due; see `run`.

        Returns:
            The run, which must be passed to `finish`, in any thread; the child is free for the next task meanwhile.
            None when somebody else has claimed the task, or it has ended.
        """
        claim = self._store.tasks.claim(job_id, self._claims.worker)
        if claim is None:
            return None
        extra = {"action": "run_task", "job_id": job_id, "attempt": claim.attempt}
        _log.info("Task %s runs %s, attempt %d.", job_id, claim.task.algorithm, claim.attempt, extra=extra)
        with ExitStack() as stack:
            places = stack.enter_context(self._places())
            stack.enter_context(self._claims.running(claim, stop, places.progress))
            try:
                outcome: Outcome | Exception = self._traced(claim, places, child, stop)
            except Exception as error:  # noqa: BLE001 - raised again where the rest is done
                outcome = error
            held = stack.pop_all()
        return ComputedRun(claim=claim, places=places, outcome=outcome, stop=stop, held=held)

    def finish(self, run: ComputedRun) -> None:
        """Store a run's results and outcome, and begin the deliveries; or release the task, if that isn't possible.

        Its files and its claim are held until then, which may be later than the return: see `PendingUploads`.
        """
        claim, places = run.claim, run.places
        self._keep_output(claim, places)
        files: list[tuple[Path, str]] = []
        try:
            files, finish = self._next_step(claim, places, run.outcome)
        except Exception as error:  # noqa: BLE001 - raised again where the task is given back
            finish = partial(_raise, error)
        conclude = partial(self._conclude, claim, finish, run.held)
        self._uploads.store(BlobUpload(job_id=claim.task.job_id, files=files, stop=run.stop, conclude=conclude))

    def _next_step(
        self, claim: Claim, places: _Places, outcome: Outcome | Exception
    ) -> tuple[list[tuple[Path, str]], Callable[[], DueDeliveries | None]]:
        """Return the files to keep, and what the outcome calls for after that."""
        if isinstance(outcome, Exception):
            raise outcome
        if outcome.stopped is not None:
            return [], partial(self._release_stopped, claim, outcome.stopped)
        if outcome.died is not None:
            return [], partial(self._lose_died, claim, outcome.died)
        ending, files = self._ending(claim, places, outcome)
        return files, partial(self._finish_run, claim, ending)

    def _conclude(
        self, claim: Claim, finish: Callable[[], DueDeliveries | None], held: ExitStack, failure: Exception | None
    ) -> None:  # fmt: skip
        """End a task, or give it back if its files could not be kept, and begin its deliveries."""
        job_id = claim.task.job_id
        try:
            with held:
                if failure is not None:
                    raise failure
                ended = finish()
        except UnknownAlgorithmError as error:
            ended = self._finish(claim, RunOutcome(success=False, error=str(error)))
        except (BlobStorageError, StoreUnavailableError, OSError) as error:
            ended = self._put_off(claim, error)
        except Exception as error:  # noqa: BLE001 - the task is given back, whatever broke
            _log.exception("Task %s could not be run.", job_id, extra=_facts(claim))
            ended = self._lose(claim, f"the worker failed: {type(error).__name__}")
        if ended is not None:
            self._deliverer.begin(ended)
            self._forget_features(claim)

    def _finish(self, claim: Claim, ending: RunOutcome) -> DueDeliveries | None:
        return self._store.tasks.finish(claim.task.job_id, claim.attempt, ending, self._sender())

    def _lose(self, claim: Claim, reason: str) -> DueDeliveries | None:
        return self._store.tasks.record_crash(claim.task.job_id, claim.attempt, reason, self._sender())

    def _sender(self) -> DeliveringWorker:
        return DeliveringWorker(worker=self._claims.worker, spare=self._deliverer.spare)

    def _forget_features(self, claim: Claim) -> None:
        if claim.features is None:
            # What can't be removed now is cleaned away at the next start.
            with suppress(BlobStorageError):
                self._blobs.remove(features_name(claim.task.job_id))

    def _traced(self, claim: Claim, places: _Places, child: ChildProcess, stop: Stop) -> Outcome:
        task = claim.task
        facts = {"job_id": task.job_id, "algorithm": task.algorithm, "version": task.version, "attempt": claim.attempt}
        with tracing.span("run", "consumer", parent=task.options.get(tracing.TRACEPARENT), **facts) as span:
            outcome = self._computed(claim, places, child, stop)
            span.set(outcome=_word(outcome))
            if _word(outcome) != "succeeded":
                span.fail(_word(outcome))
        return outcome

    def _computed(self, claim: Claim, places: _Places, child: ChildProcess, stop: Stop) -> Outcome:
        found = self._found(claim)
        algorithm = found.algorithm
        started = time.monotonic()
        with self._features(claim, places) as features, self._model(found) as model:
            order = self._order(claim, places, features, found, model)
            outcome = child.run(order, timeout=algorithm.timeout, stop=stop)
        TASK_RUNS.labels(algorithm.name, _word(outcome)).inc()
        TASK_RUN_DURATION.labels(algorithm.name).observe(time.monotonic() - started)
        return outcome

    def _release_stopped(self, claim: Claim, reason: str) -> None:
        """Give a task back that a shutdown broke off; a canceled one has ended."""
        if reason == SHUTDOWN:
            self._store.tasks.release(claim.task.job_id, claim.attempt)

    def _lose_died(self, claim: Claim, reason: str) -> DueDeliveries | None:
        ended = self._lose(claim, reason)
        then = "it runs again" if ended is None else "it has failed"
        _log.warning("Task %s: %s; %s.", claim.task.job_id, reason, then, extra=_facts(claim))
        return ended

    def _finish_run(self, claim: Claim, ending: RunOutcome) -> DueDeliveries | None:
        job_id = claim.task.job_id
        finished = self._finish(claim, ending)
        if finished is None and ending.success and ending.results is None:
            self._blobs.remove(results_name(job_id, claim.attempt))
        _log.info(
            "Task %s has %s.", job_id, "a result" if ending.success else f"failed: {ending.error}", extra=_facts(claim)
        )
        return finished

    @contextmanager
    def _places(self) -> Iterator[_Places]:
        places = _Places(
            **{name: self._scratch.new(name) for name in ("features", "results", "progress", "output", "made")}
        )
        try:
            yield places
        finally:
            for path in (places.features, places.results, places.progress, places.output, places.made):
                remove(path)

    @contextmanager
    def _features(self, claim: Claim, places: _Places) -> Iterator[Path]:
        if claim.features is None:
            with self._blobs.fetch(features_name(claim.task.job_id), self._scratch.folder) as path:
                yield path
        else:
            with create_private(places.features) as file:
                file.write(claim.features)
            yield places.features

    def _found(self, claim: Claim) -> RunnableVersion:
        return self._catalogue.get(claim.task.owner, claim.task.algorithm, claim.task.version)

    @contextmanager
    def _model(self, found: RunnableVersion) -> Iterator[Path | None]:
        if found.model is None:
            yield None
        else:
            with self._blobs.fetch(found.model, self._scratch.folder) as path:
                yield path

    def _order(
        self, claim: Claim, places: _Places, features: Path, found: RunnableVersion, model: Path | None
    ) -> RunSpec:
        task = claim.task
        return RunSpec(
            registry=self._registry_name,
            kind=task.kind,
            algorithm=task.algorithm,
            version=found.algorithm.version,
            job_id=task.job_id,
            attempt=claim.attempt,
            evaluate=task.evaluate,
            monitor=str(task.options.get("monitor", "true")).lower() not in FALSE_WORDS,
            export_new_version=bool(task.options.get("export_new_version")),
            parameters=task.parameters,
            features=features,
            features_format=task.features_format,
            results=places.results,
            progress=places.progress,
            output=places.output,
            model=model,
            made=places.made,
            memory_limit=limit_of(found.algorithm.memory_limit, self._memory_limit).size,
        )

    def _put_off(self, claim: Claim, error: BlobStorageError | StoreUnavailableError | OSError) -> DueDeliveries | None:
        """Give a task back that this machine can't run now, and return what is to be sent when it has ended by that.

        What is wrong with the machine, such as a full disk, costs the task none of its lives.
        """
        job_id = claim.task.job_id
        _log.error("Task %s can't be run now: %s", job_id, error, extra=_facts(claim))
        if isinstance(error, BlobMissingError):
            return self._lose(claim, f"a file of it could not be read: {error.message}")
        self._store.tasks.release(job_id, claim.attempt, later=True)
        return None

    def _ending(
        self, claim: Claim, places: _Places, outcome: Outcome
    ) -> tuple[RunOutcome, list[tuple[Path, str]]]:  # fmt: skip
        """Return how a run ended, and which of its files have to be kept among the blobs for that."""
        job_id, progress = claim.task.job_id, read_progress(places.progress)
        answer = outcome.answer or RunResult(error=self._reason(claim, outcome))
        if answer.error is not None:
            if answer.trace:
                _log.info(
                    "Task %s: the algorithm raised an error.", job_id, extra={**_facts(claim), TRACEBACK: answer.trace}
                )
            return RunOutcome(success=False, error=answer.error, progress=progress), []
        files: list[tuple[Path, str]] = []
        made = results = None
        size, model_size = places.results.stat().st_size, 0
        if places.made.exists():
            model_size = places.made.stat().st_size
            base = self._found(claim).algorithm.version
            made = new_version(base, job_id), base
            files.append((places.made, model_name(job_id, claim.attempt)))
        if size <= INLINE:
            results = places.results.read_bytes()
        else:
            files.append((places.results, results_name(job_id, claim.attempt)))
        ending = RunOutcome(
            success=True,
            result_offsets=answer.spans,
            nulls_written=answer.nulls_written,
            progress=_complete(progress),
            made=made,
            results=results,
            size=size,
            model_size=model_size,
        )
        return ending, files

    def _keep_output(self, claim: Claim, places: _Places) -> None:
        """Keep what the algorithm printed, however it ended: people look at it when it went wrong."""
        try:
            output = kept(places.output)
            if output:
                self._store.tasks.keep_output(claim.task.job_id, claim.attempt, output)
        except Exception as error:  # noqa: BLE001 - no result is lost, or waits, for what was printed beside it
            _log.warning("What task %s printed could not be kept: %s", claim.task.job_id, error, extra=_facts(claim))

    def _reason(self, claim: Claim, outcome: Outcome) -> str | None:
        algorithm = self._found(claim).algorithm
        limit = limit_of(algorithm.memory_limit, self._memory_limit)
        return outcome.failure(timeout=algorithm.timeout, memory_limit=limit)


def _facts(claim: Claim) -> dict[str, Any]:
    """Return the facts about a run that its log lines carry."""
    return {"job_id": claim.task.job_id, "attempt": claim.attempt}


def _raise(error: Exception) -> DueDeliveries | None:
    raise error


def _word(outcome: Outcome) -> str:
    """Return how a run ended, in one word for the metrics."""
    if outcome.stopped is not None:
        return "canceled"
    if outcome.died is not None:
        return "crashed"
    return "succeeded" if outcome.answer is not None and outcome.answer.error is None else "failed"


def _complete(progress: dict[str, Any] | None) -> dict[str, Any]:
    return {"fraction": 1.0, "message": (progress or {}).get("message", "")}

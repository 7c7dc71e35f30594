"""What a worker does with one task id: claim, run in a child process, save."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from callback_sdk.errors import UnknownAlgorithmError
from callback_sdk.service.blobs import Blobs, read_progress, remove
from callback_sdk.service.child import Answer, Run
from callback_sdk.service.process import SHUTDOWN, ChildProcess, Outcome, Stop
from callback_sdk.service.records import Claim, Ending
from callback_sdk.service.registry import Registry
from callback_sdk.service.store import Store

_log = logging.getLogger(__name__)


class Runner:
    """Runs tasks by their ids. Calling it twice with one id, or with an old one, does no harm.

    Args:
        store: Where tasks are claimed and ended.
        blobs: Where their files are.
        registry: For the time-outs.
        registry_name: How a child process finds the same registry.
    """

    def __init__(self, *, store: Store, blobs: Blobs, registry: Registry, registry_name: str) -> None:
        self._store = store
        self._blobs = blobs
        self._registry = registry
        self._registry_name = registry_name

    def run(self, job_id: str, child: ChildProcess, stop: Stop) -> None:
        """Run one task, if it still waits for that.

        Args:
            job_id: The task.
            child: The process to run it in.
            stop: Breaks it off.
        """
        claim = self._store.claim(job_id)
        if claim is None:
            return
        extra = {"action": "run_task", "job_id": job_id, "attempt": claim.attempt}
        _log.info("Task %s runs %s, attempt %d.", job_id, claim.task.algorithm, claim.attempt, extra=extra)
        try:
            self._run(claim, child, stop)
        except Exception as error:  # noqa: BLE001 - the task is given back, whatever broke
            _log.exception("Task %s could not be run.", job_id, extra=extra)
            self._store.lose(job_id, claim.attempt, f"the worker failed: {type(error).__name__}")
        self._tidy(job_id, claim.attempt)

    def _run(self, claim: Claim, child: ChildProcess, stop: Stop) -> None:
        job_id, attempt = claim.task.job_id, claim.attempt
        try:
            timeout = self._registry.get(claim.task.algorithm, claim.task.version).timeout
        except UnknownAlgorithmError as error:
            self._store.finish(job_id, attempt, Ending(success=False, error=str(error)))
            return
        outcome = child.run(self._order(claim), timeout=timeout, stop=stop)
        if outcome.stopped == SHUTDOWN:
            self._store.release(job_id, attempt)
        elif outcome.died is not None:
            again = self._store.lose(job_id, attempt, outcome.died)
            _log.warning("Task %s: %s; %s.", job_id, outcome.died, "it runs again" if again else "it has failed")
        elif outcome.stopped is None:
            ending = self._ending(job_id, outcome, timeout)
            self._store.finish(job_id, attempt, ending)
            _log.info("Task %s has %s.", job_id, "a result" if ending.success else f"failed: {ending.error}")

    def _order(self, claim: Claim) -> Run:
        task = claim.task
        return Run(
            registry=self._registry_name,
            algorithm=task.algorithm,
            version=task.version,
            job_id=task.job_id,
            attempt=claim.attempt,
            evaluate=task.evaluate,
            parameters=task.parameters,
            features=self._blobs.features(task.job_id),
            features_format=task.features_format,
            results=self._blobs.results(task.job_id, claim.attempt),
            progress=self._blobs.progress(task.job_id),
        )

    def _ending(self, job_id: str, outcome: Outcome, timeout: timedelta) -> Ending:
        progress = read_progress(self._blobs.progress(job_id))
        if outcome.timed_out:
            return Ending(success=False, error=f"The algorithm took longer than {timeout}.", progress=progress)
        answer = outcome.answer or Answer(error="The algorithm gave no answer.")
        if answer.error is not None:
            if answer.trace:
                _log.info("Task %s: the algorithm raised\n%s", job_id, answer.trace)
            return Ending(success=False, error=answer.error, progress=progress)
        return Ending(success=True, spans=answer.spans, nulled=answer.nulled, progress=_complete(progress))

    def _tidy(self, job_id: str, attempt: int) -> None:
        task = self._store.task(job_id)
        if task is None or task["finished_at"] is not None:
            self._blobs.forget_run(job_id)
        else:
            remove(self._blobs.progress(job_id))
        if not (task and task["success"] and task["attempt"] == attempt):
            remove(self._blobs.results(job_id, attempt))


def _complete(progress: dict[str, Any] | None) -> dict[str, Any]:
    return {"fraction": 1.0, "message": (progress or {}).get("message", "")}

"""Deliveries of one result to all its targets, concurrently and with retries."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import define, evolve

from callback_sdk import tracing
from callback_sdk.concurrency.forking import no_fork
from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.documents.body import Body
from callback_sdk.errors import CallbackSDKError
from callback_sdk.models import JobResult
from callback_sdk.receipt import Receipt
from callback_sdk.redaction import Secret
from callback_sdk.targets import Target
from callback_sdk.targets.callbacks import Callback
from callback_sdk.text.html import HTMLList
from callback_sdk.transport.driver import Driver
from callback_sdk.writer.attempts import DeliveryAttempts
from callback_sdk.writer.confirmation import with_files
from callback_sdk.writer.delivery import FindURL, PreparedDelivery
from callback_sdk.writer.failures import combined_error, unexpected_error
from callback_sdk.writer.retrying import MayRetry, send_with_retries

if TYPE_CHECKING:
    from callback_sdk.writer.output_plan import OutputPlan
    from callback_sdk.writer.outputs import OutputUpload, SharedUploads, StoredFile

logger = logging.getLogger(__name__)

MAX_PARALLEL = 16
"""Targets of one result that are sent to concurrently."""


class ResultDeliveries:
    """Delivers results to all their targets, with one driver. Thread-safe.

    Args:
        attempts: Makes single attempts.
        timeout: Seconds for retries of one result.
    """

    def __init__(self, attempts: DeliveryAttempts, timeout: float) -> None:
        self._attempts = attempts
        self._timeout = timeout
        self._rounds = attempts.driver.rounds(MAX_PARALLEL)

    @property
    def driver(self) -> Driver:
        """What they wait with."""
        return self._attempts.driver

    def with_driver(self, driver: Driver) -> ResultDeliveries:
        """Return deliveries with another driver over the same connections."""
        return ResultDeliveries(self._attempts.with_driver(driver), self._timeout)

    def close(self) -> None:
        """End idle threads."""
        self._rounds.close()

    async def deliver(self, result: JobResult, given: tuple[Callback, ...], own: Secret[Any]) -> list[Receipt]:
        """Upload a result to all targets concurrently, and retry transient failures; see `ResultsWriter.write`.

        Args:
            result: The job's outcome.
            given: The targets.
            own: Targets of single output files, by their names.
        """
        deadline = time.monotonic() + self._timeout
        with ExitStack() as stack:
            results, nulls_written = await self._attempts.encode(result, stack)
            await self._attempts.end_events(result.job_id)
            given = tuple(callback for callback in given if callback.takes_result(success=result.success))
            targets = [self._plan(callback) for callback in given]
            job = _Job(result, results, nulls_written, _first_object(targets), tracing.current(), deadline)
            if len(targets) > 1 or result.outputs or own.reveal():
                size = None if result.outputs or own.reveal() else 0
                job = await self._attempts.driver.call(self._with_others, job, targets, own, stack, size=size)
            outcomes = await self._deliver_all(job, targets)
        errors = [outcome for outcome in outcomes if isinstance(outcome, CallbackSDKError)]
        receipts = HTMLList(outcome for outcome in outcomes if isinstance(outcome, Receipt))
        if errors:
            raise combined_error(errors, receipts)
        return receipts

    def _plan(self, callback: Callback) -> Target | CallbackSDKError:
        try:
            return self._attempts.plan(callback)
        except CallbackSDKError as error:
            return error
        except uninterrupted(Exception) as error:  # a failure at one target must not lose the others' receipts
            return unexpected_error(callback, error)

    async def _deliver_all(
        self, job: _Job, targets: Sequence[Target | CallbackSDKError]
    ) -> list[Receipt | CallbackSDKError]:  # fmt: skip
        if len(targets) <= 1:
            return [await self._deliver(job, *one) for one in enumerate(targets)]
        return await self._rounds.map(lambda one: self._deliver(job, *one), enumerate(targets))

    async def _deliver(self, job: _Job, index: int, target: Target | CallbackSDKError) -> Receipt | CallbackSDKError:
        """Make attempts until one succeeds, fails permanently, or the timeout is over."""
        try:
            if isinstance(target, CallbackSDKError):
                raise target
            with ExitStack() as stack:
                files = await self._send_outputs(job, target)
                prepare = partial(
                    self._attempts.prepare,
                    results_url=job.results_url,
                    traceparent=job.traceparent,
                    outputs={name: file.entry for name, file in files.items()},
                )
                size = job.results.size
                delivery = await self._attempts.driver.call(prepare, job.result, job.results, target, stack, size=size)
                issued = None if job.uploads is None else job.uploads.issued
                receipt, _ = await send_with_retries(
                    delivery,
                    send=partial(self._attempts.send, issued=issued),
                    may_retry=_until(job.deadline),
                    sleep=self._attempts.driver.sleep,
                    nulls_written=job.nulls_written,
                    on_refresh=lambda fresh: job.on_refresh(index, fresh),
                )
                return with_files(receipt, files)
        except uninterrupted(CallbackSDKError) as error:
            logger.error("delivery failed: %s", error)
            return error
        except uninterrupted(Exception) as error:  # a failure at one target must not lose the others' receipts
            return unexpected_error(target, error)

    async def _send_outputs(self, job: _Job, target: Target) -> dict[str, StoredFile]:
        """Send the output files that the document for a target lists, and return them by name."""
        if job.plan is None or job.uploads is None:
            return {}
        # Imported here, because few results have output files.
        with no_fork:
            from callback_sdk.writer.outputs import send_files

        return await send_files(job.plan.uploads(target), job.uploads.send, self._attempts.rounds)

    def _with_others(
        self, job: _Job, targets: Sequence[Target | CallbackSDKError], own: Secret[Any], stack: ExitStack
    ) -> _Job:
        """Return a job with several targets or output files, of which none replaces another.

        Raises:
            CallbackParamError: Two documents that differ would be one object.
            OutputError: A file is not valid, has no target, or has the place of another file or a document.
            TargetError: A target of a single file is invalid.
        """
        # Imported here, because most results have one target.
        with no_fork:
            from callback_sdk.targets.places import Places, ResultTarget

        places = Places.of_documents(targets)
        if not job.result.outputs and not own.reveal():
            return evolve(
                job, on_refresh=lambda index, fresh: places.replace(index, ResultTarget(target=fresh.target))
            )  # fmt: skip
        with no_fork:
            from callback_sdk.writer.issued import IssuedTargets
            from callback_sdk.writer.output_plan import plan_outputs
            from callback_sdk.writer.outputs import SharedUploads

        plan = plan_outputs(job.result, job.results, own, targets, stack, plan=self._attempts.plan, places=places)
        if plan is None:
            return job

        def on_refresh(index: int, fresh: PreparedDelivery) -> None:
            places.replace(index, plan.sent(fresh.target))

        async def send(upload: OutputUpload) -> StoredFile:
            name = upload.output.name
            return await self._attempts.send_file(
                upload,
                job_id=job.result.job_id,
                may_retry=_until(job.deadline),
                issued=issued,
                on_refresh=lambda fresh: places.replace(name, ResultTarget.of_file(name, fresh.target)),
            )

        given = {id(one.callback.given): index for index, one in enumerate(targets) if isinstance(one, Target)}
        issued = IssuedTargets(
            (one.callback.given for one in targets if isinstance(one, Target) and one.callback.given is not None),
            self._attempts.driver,
            on_refresh=lambda document, fresh: on_refresh(given[id(document)], fresh),
        )
        return evolve(job, on_refresh=on_refresh, plan=plan, uploads=SharedUploads(send, issued, self._attempts.driver))


def _until(deadline: float) -> MayRetry:
    return lambda attempts, pause: time.monotonic() + pause <= deadline


@define(frozen=True, eq=False, repr=False)
class _Job:
    result: JobResult
    results: Body
    nulls_written: int
    results_url: FindURL
    traceparent: str | None
    deadline: float
    on_refresh: Callable[[int, PreparedDelivery], None] = lambda index, fresh: None
    plan: OutputPlan | None = None
    uploads: SharedUploads | None = None


def _first_object(targets: Sequence[Target | CallbackSDKError]) -> FindURL:
    def find() -> str | None:
        for target in targets:
            try:
                # The id only matters for a key with ${filename}, whose final name is not known before the upload.
                url = target.object_url("results") if isinstance(target, Target) else None
            except uninterrupted(Exception):  # it is raised again in the target's own delivery
                continue
            if url is not None:
                return url
        return None

    return find

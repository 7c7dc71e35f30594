"""`callback_sdk.delivering`: a function of any worker as a job whose document is delivered, however it ends."""

from __future__ import annotations

import logging
import os
from types import TracebackType
from typing import Any, Literal, NoReturn

from callback_sdk.concurrency.forking import no_fork
from callback_sdk.config.target_files import split_outputs
from callback_sdk.errors import CallbackSDKError, ConfigurationError, EncodingError, OutboxError
from callback_sdk.models import FRACTION_HINT, JobResult, clip, fraction_of, is_fraction
from callback_sdk.outbox import Outbox, OutboxEntry
from callback_sdk.outbox.open_jobs import JobFailure
from callback_sdk.outputs.names import checked_name, named_targets
from callback_sdk.parsing import Duration, positive_int, total_seconds
from callback_sdk.program.delivery import check, folder_of, with_job_id
from callback_sdk.program.job_report import ends_process, is_retry, of_exception
from callback_sdk.program.supervision import BegunJob
from callback_sdk.receipt import Receipt
from callback_sdk.redaction import Secret, clearing_locals, wrap_secret
from callback_sdk.targets.callbacks import required_callbacks
from callback_sdk.text.descriptions import short_repr
from callback_sdk.types import CallbackParams, CallbackURLs, OutputTargets

logger = logging.getLogger(__name__)


@clearing_locals
def delivering(
    callback_url: CallbackURLs,
    callback_param: CallbackParams | Secret[Any] | None = None,
    *,
    job_id: str,
    outputs: OutputTargets | Secret[Any] | None = None,
    outbox: Outbox | str | os.PathLike[str] | None = None,
    timeout: Duration | None = None,
    run: int = 1,
    error_is_final: bool = True,
    death_is_final: bool = True,
) -> JobDelivery:
    """Run a `with` block as a job, and deliver how it ended: its results, its exception, or the death of its process.

    For functions of task queues, process pools and serverless platforms. In coroutines, `async with` keeps the event
    loop free while the document is sent. A small process watches this one from the first block on: if this one is
    killed, by the OOM killer for example, the other one delivers that.

    Args:
        callback_url: A URL, what `S3Signer` returns, a `(url, param)` pair, or a list of these. In the name of a
            document below a prefix, `{job_id}` is replaced.
        callback_param: A dict for all of them, or a list with one for each; see `ResultsWriter.write`.
        job_id: The job's id. If the queue runs a job again, give the same one.
        outputs: Targets of single output files, by their names; see `ResultsWriter.write`.
        outbox: An `Outbox`, or the path of its file. The block's document is in it before anything is sent, and what
            can't be sent stays there. Without one, transient failures are retried for two minutes.
        timeout: Time after which a failure is delivered, a `timedelta` or seconds. The block is not interrupted.
        run: Number of the job's run, from 1, if the queue runs it again: orders the events of all runs.
        error_is_final: Whether an exception of the block is delivered. Give False if the queue then runs the job again.
        death_is_final: Whether the end of the process is delivered, by SIGKILL or `SystemExit` for example, likewise.

    Returns:
        The job: assign its `results`, and add output files with `output`.

    Raises:
        ConfigurationError: An argument is invalid, or the process that watches this one can't be started.
        CallbackSDKError: A target can't be used; the block does not run.

    Example:
        >>> @app.task(bind=True)
        ... def simulate(self, url, steps):
        ...     with callback_sdk.delivering(url, job_id=self.request.id) as job:
        ...         job.results = run_simulation(steps)
    """
    callback_url, callback_param, own = wrap_secret(callback_url), wrap_secret(callback_param), wrap_secret(outputs)
    del outputs
    # Validates the id.
    job_id = JobResult(job_id=job_id, success=True).job_id
    documents = [Secret(callback.plain()) for callback in required_callbacks(callback_url, callback_param)]
    files = [_output_target(name, target) for name, target in named_targets(own).items()]
    targets = with_job_id([*documents, *files], job_id)
    check(targets)
    return JobDelivery(
        job_id=job_id,
        targets=targets,
        outbox=outbox,
        timeout=None if timeout is None else total_seconds("timeout", timeout),
        run=positive_int("run", run),
        error_is_final=error_is_final,
        death_is_final=death_is_final,
    )


class JobDelivery:
    """A job whose document is delivered at the end of its `with` block; see `delivering`.

    Attributes:
        job_id: The job's id.
        results: Anything that JSON can hold, to be assigned in the block; see `JobResult`.
        receipts: Receipts of the targets that have the document, after the block.
        pending: Deliveries that the outbox still has to make, after the block.
    """

    def __init__(
        self,
        *,
        job_id: str,
        targets: list[Secret[Any]],
        outbox: Outbox | str | os.PathLike[str] | None,
        timeout: float | None,
        run: int,
        error_is_final: bool,
        death_is_final: bool,
    ) -> None:
        self.job_id = job_id
        self.results: Any = None
        self.receipts: tuple[Receipt, ...] = ()
        self.pending: tuple[OutboxEntry, ...] = ()
        self._targets = targets
        self._outbox = outbox
        self._timeout = timeout
        self._run = run
        self._error_is_final, self._death_is_final = error_is_final, death_is_final
        self._outputs: dict[str, Any] = {}
        self._process = 0
        self._warned = False
        self._begun: BegunJob | None = None

    def __repr__(self) -> str:
        return f"JobDelivery(job_id={self.job_id!r})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            "A job is not pickled: it belongs to the process that runs its block. "
            "Return values from other processes, and assign them in the block."
        )

    def progress(self, fraction: float | None, message: str = "") -> None:
        """Report progress to the targets that subscribe to it (`callback_param={"events": ["progress", ...]}`).

        Cheap: the newest is sent in the background, every five seconds at most.

        Args:
            fraction: From 0 to 1; numbers outside are clipped, with a warning, because hours of computing must not be
                lost by them. None or NaN if unknown.
            message: The current step, for people; the first 1,000 characters are sent.

        Raises:
            ConfigurationError: The fraction is not a number.
        """
        number = fraction_of(fraction)
        if not is_fraction(number) and not self._warned:
            self._warned = True
            logger.warning("The fraction of the progress is %s. %s", short_repr(fraction), FRACTION_HINT)
        if self._begun is not None:
            self._begun.progress(clip(number), str(message))

    def output(self, name: str, value: Any) -> None:
        """Add an output file, which is delivered with the results.

        Args:
            name: Its name, such as `"model.bin"`. The files of a directory get names below it.
            value: Its path, bytes, a figure or a table; see `JobResult`. A file must exist until the end of the block.

        Raises:
            OutputError: The name can't be that of an output file.
        """
        self._outputs[checked_name(name)] = value

    def __enter__(self) -> JobDelivery:
        if self._process:
            raise ConfigurationError(
                f"The job {self.job_id} has begun already.", hint="Call delivering() for each run of a job."
            )
        # A signal handler may raise until this returns, and then nobody calls `__exit__`.
        try:
            self._begin()
        except BaseException as problem:
            if self._begun is not None:
                self._give_up(self._begun, None, problem)
            raise
        return self

    @clearing_locals
    def _begin(self) -> None:
        self._process = os.getpid()
        self._begun = BegunJob(
            self._outbox,
            job_id=self.job_id,
            targets=self._targets,
            run=self._run,
            limit=self._timeout,
            reports_loss=self._death_is_final,
        )
        self._begun.begin()

    @clearing_locals
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        # A forked child leaves the block, too. The job is its parent's.
        if self._begun is None or os.getpid() != self._process:
            return False
        try:
            self._end(self._begun, error)
        except BaseException as problem:
            self._give_up(self._begun, error, problem)
            # The exception of the block is what its caller has to know.
            if error is None or not isinstance(problem, CallbackSDKError):
                raise
            logger.error("job %s: its failure was not delivered: %s", self.job_id, problem)
        else:
            self._begun.close()
        return False

    async def __aenter__(self) -> JobDelivery:
        # Imported here, because few jobs are coroutines.
        with no_fork:
            import asyncio

            from callback_sdk.transport.asyncio_driver import ASYNCIO

        try:
            await ASYNCIO.call(self.__enter__)
        except asyncio.CancelledError as problem:
            # The block doesn't run, and nobody calls `__aexit__`.
            if self._begun is not None:
                self._give_up(self._begun, None, problem)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        with no_fork:
            from callback_sdk.transport.asyncio_driver import ASYNCIO

        # If the task is canceled meanwhile, the thread goes on, and if the process ends before that, the other process.
        return await ASYNCIO.detached(self.__exit__, kind, error, trace)

    def _end(self, begun: BegunJob, error: BaseException | None) -> None:
        if error is None:
            self._succeed(begun)
        elif self._is_final(error):
            self._deliver(begun, self._failure_result(of_exception(error)))

    def _give_up(self, begun: BegunJob, error: BaseException | None, problem: BaseException) -> None:
        """Leave the rest to the other process, if this one was interrupted or its outbox has failed.

        A signal handler, such as that of a time limit, may raise an exception anywhere in the delivery.
        """
        if isinstance(problem, CallbackSDKError) and type(problem) is not OutboxError:
            begun.close()
            return
        cause = error or (problem.__cause__ if isinstance(problem, OutboxError) else None) or problem
        begun.hand_over(of_exception(cause) if self._is_final(cause) else None)

    def _is_final(self, error: BaseException) -> bool:
        if is_retry(error):
            return False
        return self._death_is_final if ends_process(error) else self._error_is_final

    def _succeed(self, begun: BegunJob) -> None:
        folder = folder_of(self._targets)
        outputs = {folder + name: value for name, value in self._outputs.items()} or None
        try:
            self._deliver(begun, JobResult(job_id=self.job_id, success=True, results=self.results, outputs=outputs))
        except EncodingError as error:
            if self._error_is_final:
                self._deliver(begun, self._failure_result(JobFailure(f"The results are not valid: {error}")))
            raise

    def _failure_result(self, failure: JobFailure) -> JobResult:
        return JobResult(job_id=self.job_id, success=False, error=failure.error, status=failure.status)

    def _deliver(self, begun: BegunJob, result: JobResult) -> None:
        _, own = split_outputs(self._targets)
        written = begun.end(result, own if result.success else Secret(None))
        self.receipts, self.pending = written.receipts, written.pending
        if written.pending:
            logger.warning(
                "job %s: %d of the deliveries not made yet: callback-sdk outbox run %s --until-empty",
                self.job_id,
                len(written.pending),
                begun.path,
            )


def _output_target(name: str, target: Secret[Any]) -> Secret[Any]:
    """Return the target of an output file as JSON has it; see `split_outputs`."""
    (callback,) = required_callbacks(Secret([target.reveal()]))
    return Secret({**callback.plain(), "output": name})

"""`callback-sdk exec`: run a program, and deliver how it ended."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from callback_sdk.config.target_files import read_targets, targets_of
from callback_sdk.errors import CallbackParamError, CallbackSDKError, ConfigurationError, OutputError
from callback_sdk.program.arguments import CALLBACKS, CALLBACKS_FILE, Arguments, parse
from callback_sdk.program.delivery import check, deliver, folder_of, open_sender, subscribe_to_events, with_job_id
from callback_sdk.program.execution import Execution, ProgramExit, handle_stops
from callback_sdk.program.exit_codes import STOPS
from callback_sdk.program.files import RESULTS, OutputPatterns, ResultsFile
from callback_sdk.program.interruption import Interruption
from callback_sdk.program.progress import PROGRESS, ProgressFile
from callback_sdk.program.report import failure, is_canceled, warning
from callback_sdk.program.scheduler import SLURM, Scheduler, scheduler
from callback_sdk.redaction import Secret
from callback_sdk.text.descriptions import short_repr
from callback_sdk.text.escaping import escape

if TYPE_CHECKING:
    from callback_sdk.models import JobResult
    from callback_sdk.program.program_events import ProgramEvents

EXIT_USAGE = 2
EXIT_INVALID_RESULTS = 65
"""EX_DATAERR of sysexits.h."""
EXIT_UNDELIVERED = 75
"""EX_TEMPFAIL of sysexits.h: the job's results are lost unless it runs again."""
EXIT_TIMEOUT = 124
"""As timeout(1)."""
EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127
"""As env(1) and shells."""

_EARLY_SECONDS, _LATE_SECONDS = 60.0, 5.0
"""How long Slurm is asked while the program runs, and at its end: soon after SIGTERM, Slurm kills everything."""

_CREDENTIALS = (CALLBACKS, CALLBACKS_FILE, "CALLBACK_SDK_WEBHOOK_SECRETS")
"""Variables that the program doesn't need."""


def main(arguments: Sequence[str]) -> int:
    """Run a program, and deliver how it ended.

    Args:
        arguments: The arguments after `exec`.

    Returns:
        The exit code. A program that was ended by a signal ends this process by the same.
    """
    try:
        given = parse(arguments)
    except SystemExit as end:
        # Of argparse: after --help, or wrong usage.
        return EXIT_USAGE if end.code else 0
    try:
        job = ProgramJob(given, scheduler(os.environ))
    except CallbackSDKError as error:
        return _fail(error, EXIT_USAGE)
    try:
        code = job.run()
    except KeyboardInterrupt:
        if job.next_step is not None:
            _print(f"The delivery was interrupted. {job.next_step}")
        if job.interruption.number is None:
            raise
        code = -job.interruption.number
    finally:
        job.remove_files()
    return code if code >= 0 else _end_by(-code)


_RUN_AGAIN = "Run the job again: a target may not have its document."
"""The next step while nothing but this process has the document."""

_SHOWN = 3
"""Files that a message names."""


class ProgramJob:
    """One execution with its targets.

    Args:
        given: The command line.
        found: The scheduler.

    Raises:
        CallbackSDKError: There are no targets, no job id, or no directory for the results.

    Attributes:
        interruption: Handles signals after the end of the program.
        next_step: What to do if this process ends now; None while there is nothing to deliver.
    """

    def __init__(self, given: Arguments, found: Scheduler | None) -> None:
        self._given, self._scheduler = given, found
        self._job_id = _job_id(given, found)
        self._targets = with_job_id(_targets(given), self._job_id)
        self._invalid: CallbackSDKError | None = None
        self._outputs = OutputPatterns(given.outputs, existing=given.include_existing)
        self.interruption = Interruption()
        self.next_step: str | None = None
        self._lock = threading.Lock()
        self._events: ProgramEvents | None = None
        self._has_ended = False
        self._results = ResultsFile(given.results, existing=given.include_existing)
        self._progress = ProgressFile() if subscribe_to_events(self._targets) else None

    def run(self) -> int:
        given = self._given
        try:
            execution = Execution(
                given.command,
                self._environment(),
                timeout=given.timeout.total_seconds() if given.timeout else None,
                grace_period=given.grace_period.total_seconds(),
                tail=given.tail,
            )
        except OSError as error:
            code = EXIT_NOT_FOUND if isinstance(error, FileNotFoundError) else EXIT_NOT_EXECUTABLE
            problem = f"The program {given.command[0]} can't be executed: {error.strerror}."
            handle_stops(self.interruption)
            self.next_step = _RUN_AGAIN
            _print(problem)
            return self._deliver(self._failure_result(problem), code)
        self.next_step = _RUN_AGAIN
        # The program has started: checking the targets imports more than that took.
        threading.Thread(target=self._check, name="check", daemon=True).start()
        ending = execution.wait(lambda: self._invalid is not None, self.interruption)
        self._end_events(has_succeeded=ending.code == 0)
        try:
            return _fail(self._invalid, EXIT_USAGE) if self._invalid is not None else self._report(ending)
        finally:
            execution.flush()

    def _environment(self) -> dict[str, str]:
        inherited = {name: text for name, text in os.environ.items() if name not in (*_CREDENTIALS, PROGRESS)}
        progress = {} if self._progress is None else {PROGRESS: str(self._progress.path)}
        return {**inherited, **progress, RESULTS: str(self._results.path)}

    def remove_files(self) -> None:
        """Remove the files of the program that are temporary."""
        self._results.remove()
        if self._progress is not None:
            self._progress.remove()

    def _check(self) -> None:
        try:
            check(self._targets)
            # Imported while the program runs: at its end there may be few seconds until the scheduler kills everything.
            open_sender(self._given.outbox)
            self._begin_events()
        except CallbackSDKError as error:
            self._invalid = error
            # Wakes up the main thread, which waits for signals.
            os.kill(os.getpid(), signal.SIGCHLD)
        if self._scheduler is not None and self._scheduler.end is None:
            # For the case that there is no answer at the end. Older versions of Slurm don't set SLURM_JOB_END_TIME.
            self._scheduler = self._ask(_EARLY_SECONDS) or self._scheduler

    def _begin_events(self) -> None:
        if self._progress is None:
            return
        # Imported only now: few targets subscribe to events.
        from callback_sdk.program.program_events import ProgramEvents

        with self._lock:
            if not self._has_ended:
                self._events = ProgramEvents(self._job_id, self._targets, self._progress)

    def _end_events(self, *, has_succeeded: bool) -> None:
        with self._lock:
            self._has_ended = True
        if self._events is not None:
            self._events.close(has_succeeded=has_succeeded and not self.interruption.is_requested)

    def _ask(self, seconds: float) -> Scheduler | None:
        """Return the scheduler with what it says of the job; None without an answer, or if it can't be asked."""
        if self._scheduler is None or self._scheduler.name != SLURM:
            return None
        # Imported only now: no other program needs to know.
        from callback_sdk.program.slurm import ask

        return ask(self._scheduler, os.environ, seconds=seconds)

    def _report(self, ending: ProgramExit) -> int:
        is_stopped = ending.code != 0 and (ending.stopped_by is not None or ending.ended_by in STOPS)
        found = (self._ask(_LATE_SECONDS) if is_stopped else None) or self._scheduler
        error = failure(ending, timeout=self._given.timeout, found=found)
        if error is not None:
            result = self._failure_result(error, canceled=is_canceled(ending, found))
            return self._deliver(result, EXIT_TIMEOUT if ending.timed_out else ending.code)
        if (doubt := warning(ending)) is not None:
            _print(doubt)
        try:
            outputs = self._outputs.find()
        except OutputError as problem:
            return self._invalid_results(f"The program exited with 0, but its output files are not valid: {problem}")
        left_out = ""
        if outputs.unchanged:
            left_out = (
                f"Left out, as they were there before: {_list_paths(outputs.unchanged)} (see --include-existing)."
            )
        missing = [*outputs.missing, *([str(self._results.path)] if self._results.is_missing else [])]
        if missing:
            cause = f"The program exited with 0, but did not write {', '.join(missing)}."
            return self._invalid_results(f"{cause} {left_out}".strip())
        if left_out:
            _print(left_out)
        return self._deliver(self._success_result(outputs.files), 0)

    def _success_result(self, outputs: dict[str, Path]) -> JobResult:
        from callback_sdk.models import JobResult

        folder = folder_of(self._targets)
        return JobResult(
            job_id=self._job_id,
            success=True,
            results=self._results.path if self._results.is_written else None,
            outputs={folder + name: path for name, path in outputs.items()} or None,
        )

    def _failure_result(self, error: str, *, canceled: bool = False) -> JobResult:
        from callback_sdk.models import CANCELED, FINISHED, JobResult

        return JobResult(job_id=self._job_id, success=False, error=error, status=CANCELED if canceled else FINISHED)

    def _invalid_results(self, problem: str) -> int:
        _print(problem)
        return self._deliver(self._failure_result(problem), EXIT_INVALID_RESULTS)

    def _deliver(self, result: JobResult, code: int) -> int:
        """Deliver a result, and return the exit code."""
        from callback_sdk.errors import EncodingError

        try:
            remaining = deliver(result, self._targets, self._given.outbox, warn=_warn, sending=self._begin_sending)
        except EncodingError as error:
            if not result.success:
                return _fail(error, code or EXIT_UNDELIVERED)
            return self._invalid_results(f"The program exited with 0, but its results are not valid: {error}")
        except CallbackSDKError as error:
            # A program that failed is run again in any case.
            return _fail(error, code or EXIT_UNDELIVERED)
        self.next_step = None
        if remaining is not None:
            _print(remaining)
        return code

    def _begin_sending(self, is_stored: bool) -> None:
        if is_stored:
            self.next_step = f"Send what the outbox has: callback-sdk outbox run {self._given.outbox} --until-empty"
        self.interruption.is_sending = True


def _list_paths(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return f"{', '.join(map(short_repr, paths[:_SHOWN]))}{more}"


def _job_id(given: Arguments, found: Scheduler | None) -> str:
    job_id = given.job_id or (found.job_id if found else None)
    if not job_id:
        raise ConfigurationError("There is no job id.", hint="Give --job-id ID: no scheduler was found that sets one.")
    return job_id


def _targets(given: Arguments) -> list[Secret[Any]]:
    if given.callbacks_file is not None:
        if "://" in given.callbacks_file:
            raise CallbackParamError(
                "A URL was given as --callbacks-file.",
                hint="Write it to a file: other users of this machine see command lines.",
            )
        try:
            return read_targets(given.callbacks_file)
        except OSError as error:
            raise CallbackParamError(
                f"The file {given.callbacks_file} can't be read: {error.strerror}.", hint="Check --callbacks-file."
            ) from None
    if text := os.environ.get(CALLBACKS, "").strip():
        return targets_of(Secret(text))
    raise CallbackParamError(
        "There are no targets.", hint=f"Give --callbacks-file FILE, or set {CALLBACKS_FILE} or {CALLBACKS}."
    )


def _end_by(number: int) -> NoReturn:
    """End like the program, so that a scheduler records the same end for both."""
    if os.getpid() == 1:
        # The first process of a container isn't ended by signals of its own: pid_namespaces(7).
        os._exit(128 + number)
    # There is nothing to examine in a core dump of this process.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    time.sleep(1)
    os._exit(128 + number)


def _fail(error: CallbackSDKError, code: int) -> int:
    _warn(error)
    return code


def _warn(error: CallbackSDKError) -> None:
    _print(f"{error.message} {error.command_hint}".strip())


def _print(message: str) -> None:
    # Standard error may be closed, on a full disk, or without a reader. None of these may prevent the delivery.
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            sys.stderr.write(f"callback-sdk exec: {escape(message, lines=True)}\n")
            sys.stderr.flush()

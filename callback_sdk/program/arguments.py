"""The command line of `callback-sdk exec`. argparse parses it, as Typer takes too long to import."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from callback_sdk.parsing import DURATION_FORMAT, parse_duration

CALLBACKS = "CALLBACK_SDK_CALLBACKS"
CALLBACKS_FILE = "CALLBACK_SDK_CALLBACKS_FILE"

_DESCRIPTION = """Run a program, and deliver how it ended.

If the program exits with 0, the document has the results that it has written
as JSON to the file named by the environment variable CALLBACK_SDK_RESULTS.
Otherwise it has the cause and the end of standard error. Signals are forwarded
to the process group of the program, and its exit code is passed on."""

_EXIT_CODES = """Exit codes: that of the program, or its signal; 65 if it exited with 0 but its
results or output files can't be delivered; 75 if the document was not delivered
and there is no --outbox; 124 for --timeout; 126 or 127 if the program can't be
executed or found; 2 wrong usage or invalid targets."""


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Begins like the help of the other commands."""

    def add_usage(self, usage: str | None, actions: Any, groups: Any, prefix: str | None = None) -> None:
        super().add_usage(usage, actions, groups, prefix or "Usage: ")


class Arguments(NamedTuple):
    """The arguments.

    Attributes:
        command: The program and its arguments.
        callbacks_file: File with the targets; None for the environment variable.
        job_id: The job's id; None for that of the scheduler.
        results: Where the program writes its results; None for a temporary file.
        outputs: Patterns of output files.
        include_existing: Whether results and output files count that the program has not changed.
        timeout: The time limit.
        grace_period: Time from SIGTERM to SIGKILL.
        outbox: The file of the outbox; None without one.
        tail: Bytes of standard error in the error.
    """

    command: list[str]
    callbacks_file: str | None
    job_id: str | None
    results: Path | None
    outputs: list[str]
    include_existing: bool
    timeout: timedelta | None
    grace_period: timedelta
    outbox: Path | None
    tail: int


def parse(arguments: Sequence[str]) -> Arguments:
    """Parse the arguments after `exec`. Wrong usage exits with code 2."""
    own, command = _split(arguments)
    options = parser()
    found, unknown = options.parse_known_args(own)
    if not command:
        options.error("give the program after --: callback-sdk exec --callbacks-file FILE -- PROGRAM ARG...")
    if unknown:
        options.error(f"unrecognized arguments: {' '.join(unknown)}")
    return Arguments(
        command=command,
        callbacks_file=found.callbacks_file or os.environ.get(CALLBACKS_FILE) or None,
        job_id=found.job_id,
        results=found.results,
        outputs=found.output,
        include_existing=found.include_existing,
        timeout=found.timeout,
        grace_period=found.grace_period,
        outbox=found.outbox,
        tail=found.stderr_tail,
    )


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split at the first --, after which all arguments are the program's."""
    all_of_them = list(arguments)
    if "--" not in all_of_them:
        return all_of_them, []
    place = all_of_them.index("--")
    return all_of_them[:place], all_of_them[place + 1 :]


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    own = argparse.ArgumentParser(
        prog="callback-sdk exec",
        usage="callback-sdk exec [OPTIONS] -- PROGRAM [ARG]...",
        description=_DESCRIPTION,
        epilog=_EXIT_CODES,
        allow_abbrev=False,
        add_help=False,
        formatter_class=_Formatter,
    )
    add = own.add_argument_group("Options").add_argument
    add(
        "--callbacks-file",
        metavar="FILE",
        help='file with a URL, or with JSON: {"url": ..., "param": {...}}, or a list of these. '
        f"[default: {CALLBACKS_FILE}, or the targets themselves in {CALLBACKS}]",
    )
    add("--job-id", metavar="ID", help="id of the job [default: that of Slurm, AWS Batch, LSF, PBS, SGE or Kubernetes]")
    add("--results", metavar="FILE", type=Path, help="JSON file that the program writes; missing, the job has failed")
    add(
        "--output",
        metavar="GLOB",
        action="append",
        default=[],
        help="output files that the program writes, such as 'model/*.bin'; none, the job has failed. Repeatable.",
    )
    add(
        "--include-existing",
        action="store_true",
        help="also deliver results and output files that were there before and that the program has not changed",
    )
    add("--timeout", metavar="DURATION", type=_duration, help="time after which the program is asked to end")
    add(
        "--grace-period",
        metavar="DURATION",
        type=_duration,
        default=timedelta(seconds=20),
        help="time from SIGTERM to SIGKILL [default: 20s, as schedulers kill everything after 30 s]",
    )
    add("--outbox", metavar="PATH", type=Path, help="store the document there first; see callback-sdk outbox run")
    add(
        "--stderr-tail",
        metavar="BYTES",
        type=_size,
        default=4096,
        help="bytes of standard error in the error, 0 to 65536 [default: 4096]; a terminal's is not recorded",
    )
    add("--help", action="help", help="show this message and exit")
    return own


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"give {DURATION_FORMAT}") from None


def _size(text: str) -> int:
    if not text.isdecimal() or int(text) > 65536:
        raise argparse.ArgumentTypeError("give a number of bytes from 0 to 65536")
    return int(text)

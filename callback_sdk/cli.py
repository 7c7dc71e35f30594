"""The entry point `callback-sdk`: runs a command, and prints errors as one message."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130

_EXTRAS = {**dict.fromkeys(("serve", "worker", "run", "users", "db"), "service"), "demo": "demo"}
"""Extras of the commands that need more than `cli`, which these include."""

_OF_THE_EXTRA = {"typer", "rich", "click", "callback_sdk.commands"}
"""Packages without which only `exec` and `outbox run` work. The archive of `make zipapp` has no other commands."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: The arguments after the program's name; those of the process if None.

    Returns:
        The exit code: 0, 1 for an error, 2 for wrong usage, 130 for Ctrl-C.
    """
    interrupts: list[int] = []
    try:
        with _record_interrupts(interrupts):
            return _run_reporting_errors(arguments)
    except KeyboardInterrupt as interrupt:
        _print_interruption(interrupt)
        return EXIT_INTERRUPTED
    except Exception:
        # Interrupted code may convert KeyboardInterrupt to another error. The creation of an enum in `ssl`, for
        # example, raises a TypeError.
        if interrupts:
            return EXIT_INTERRUPTED
        raise


@contextmanager
def _record_interrupts(interrupts: list[int]) -> Iterator[None]:
    """Record each SIGINT, which then raises `KeyboardInterrupt` as usual."""

    def note(number: int, frame: Any) -> None:
        interrupts.append(number)
        signal.default_int_handler(number, frame)

    # Not if SIGINT is ignored (nohup) or has another handler, and not in another thread than the main one, which can't
    # set handlers.
    try:
        is_ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        before = signal.signal(signal.SIGINT, note) if is_ours else None
    except ValueError:
        before = None
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


def _run_reporting_errors(arguments: Sequence[str] | None) -> int:
    """Run a command, and print one line for an error of this package or the operating system."""
    # Imported here, so that Ctrl-C during the imports is handled by `main`.
    import errno

    from callback_sdk.errors import CallbackSDKError

    try:
        return _run(arguments)
    except CallbackSDKError as error:
        return _fail(f"{error.message} {error.command_hint}".strip())
    except OSError as error:
        # Disk full, directory not writable, port in use: a traceback wouldn't help.
        name = f": {error.filename}" if error.filename else ""
        return _fail(f"{error.strerror or error}{name}.") if error.errno != errno.EPIPE else EXIT_ERROR


def _run(arguments: Sequence[str] | None) -> int:
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words[:1] == ["exec"]:
        # Not by Typer, which takes longer to import than most programs to start, and may not be installed.
        from callback_sdk.program.main import main as execute

        return execute(words[1:])
    if words[:1] == ["progress"] and "--help" not in words:
        # Likewise: a program may report its progress often.
        from callback_sdk.program.progress import main as report_progress

        return report_progress(words[1:])
    from callback_sdk.errors import MissingExtraError

    try:
        from callback_sdk.commands.app import app
    except ModuleNotFoundError as error:
        if error.name not in _OF_THE_EXTRA:
            raise
        if words[:2] == ["outbox", "run"]:
            # The next step that `callback-sdk exec` names, which needs no extra either.
            from callback_sdk.program.remaining import main as send

            return send(words[2:])
        raise MissingExtraError("Typer", extra=_extra(words)) from error
    try:
        app(args=words, prog_name="callback-sdk")
    except SystemExit as end:
        if end.code == EXIT_INTERRUPTED:
            _print_interruption(end)
        return end.code if isinstance(end.code, int) else EXIT_ERROR if end.code else 0
    return 0


def _extra(arguments: Sequence[str]) -> str:
    """Return the extra with all that a command imports, so that no second error names another one."""
    command = next((each for each in arguments if not each.startswith("-")), "")
    return _EXTRAS.get(command, "cli")


def _print_interruption(error: BaseException) -> None:
    """Print the message of a KeyboardInterrupt, such as the idempotency key of a task that may have been accepted."""
    cause: BaseException | None = error
    # Typer converts KeyboardInterrupt to Exit, and Exit to SystemExit, so the original error is in the context.
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__ or cause.__context__
    if cause is not None and cause.args:
        from callback_sdk.text.escaping import escape

        text = getattr(cause, "command_hint", None) or str(cause)
        sys.stderr.write(f"Interrupted. {escape(text, lines=True)}\n")


def _fail(message: str) -> int:
    from callback_sdk.text.escaping import escape

    sys.stderr.write(f"Error: {escape(message, lines=True)}\n")
    return EXIT_ERROR


if __name__ == "__main__":
    sys.exit(main())

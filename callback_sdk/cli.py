"""The entry point `callback-sdk`: runs a command and turns each error into one clear message."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: What comes after the program's name; the process's own when None.

    Returns:
        The exit code: 0, 1 for an error, 2 for wrong usage, 130 for Ctrl-C.
    """
    interrupts: list[int] = []
    try:
        with _noted(interrupts):
            return _explained(arguments)
    except KeyboardInterrupt as interrupt:
        _print_interruption(interrupt)
        return EXIT_INTERRUPTED
    except Exception:
        # Code that is interrupted may turn it into another error: an enum that `ssl` makes, for example, into a
        # TypeError.
        if interrupts:
            return EXIT_INTERRUPTED
        raise


@contextmanager
def _noted(interrupts: list[int]) -> Iterator[None]:
    """Note each SIGINT, which then raises `KeyboardInterrupt` as usual."""

    def note(number: int, frame: Any) -> None:
        interrupts.append(number)
        signal.default_int_handler(number, frame)

    # Not where it is ignored, as under nohup, nor where somebody else takes it, nor in a thread, which may not.
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


def _explained(arguments: Sequence[str] | None) -> int:
    """Run a command, and print one line for an error of ours or of the machine."""
    # Here and not above, so that Ctrl-C finds `main` at work as early as possible.
    import errno

    from callback_sdk.errors import CallbackSDKError

    try:
        return _run(arguments)
    except CallbackSDKError as error:
        return _fail(str(error))
    except OSError as error:
        # Disk full, folder not writable, port taken: facts about the machine, where a traceback says nothing.
        name = f": {error.filename}" if error.filename else ""
        return _fail(f"{error.strerror or error}{name}.") if error.errno != errno.EPIPE else EXIT_ERROR


def _run(arguments: Sequence[str] | None) -> int:
    from callback_sdk.errors import MissingExtraError

    try:
        from callback_sdk.commands.app import app
    except ModuleNotFoundError as error:
        if error.name in {"typer", "rich", "click"}:
            raise MissingExtraError("Typer, which the command line is made with,", extra="cli") from error
        raise
    try:
        app(args=None if arguments is None else list(arguments), prog_name="callback-sdk")
    except SystemExit as end:
        if end.code == EXIT_INTERRUPTED:
            _print_interruption(end)
        return end.code if isinstance(end.code, int) else EXIT_ERROR if end.code else 0
    return 0


def _print_interruption(error: BaseException) -> None:
    """Print what a KeyboardInterrupt says, such as the idempotency key of a task that may have been accepted."""
    cause: BaseException | None = error
    # Typer raises an Exit from it, and SystemExit in place of that one.
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__ or cause.__context__
    if cause is not None and cause.args:
        from callback_sdk.text.escaping import escaped

        sys.stderr.write(f"Interrupted. {escaped(str(cause), lines=True)}\n")


def _fail(message: str) -> int:
    from callback_sdk.text.escaping import escaped

    sys.stderr.write(f"Error: {escaped(message, lines=True)}\n")
    return EXIT_ERROR


if __name__ == "__main__":
    sys.exit(main())

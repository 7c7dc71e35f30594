"""The entry point `callback-sdk`: runs a command and turns each error into one clear message."""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence

from callback_sdk.errors import CallbackSDKError, MissingExtraError
from callback_sdk.escaping import escaped

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: What comes after the program's name; the process's own when None.

    Returns:
        The exit code: 0, 1 for an error, 2 for wrong usage, 130 for Ctrl-C.
    """
    try:
        return _run(arguments)
    except CallbackSDKError as error:
        return _fail(str(error))
    except KeyboardInterrupt as interrupt:
        _tell_interrupted(interrupt)
        return EXIT_INTERRUPTED
    except OSError as error:
        # Disk full, folder not writable, port taken: facts about the machine, where a traceback says nothing.
        name = f": {error.filename}" if error.filename else ""
        return _fail(f"{error.strerror or error}{name}.") if error.errno != errno.EPIPE else EXIT_ERROR


def _run(arguments: Sequence[str] | None) -> int:
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
            _tell_interrupted(end)
        return end.code if isinstance(end.code, int) else EXIT_ERROR if end.code else 0
    return 0


def _tell_interrupted(error: BaseException) -> None:
    """Print what a KeyboardInterrupt says, such as the idempotency key of a task that may have been accepted."""
    cause: BaseException | None = error
    # Typer raises an Exit from it, and SystemExit in place of that one.
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__ or cause.__context__
    if cause is not None and cause.args:
        sys.stderr.write(f"Interrupted. {escaped(str(cause), lines=True)}\n")


def _fail(message: str) -> int:
    sys.stderr.write(f"Error: {escaped(message, lines=True)}\n")
    return EXIT_ERROR


if __name__ == "__main__":
    sys.exit(main())

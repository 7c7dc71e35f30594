"""`callback-sdk outbox run`: sends what is in an outbox, such as what `callback-sdk exec` has left in it.

It needs no Typer, as it is the next step that `callback-sdk exec` names.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from callback_sdk.writer import ResultsWriter

EXIT_DEAD = 3
"""Exit code if deliveries are dead."""

EXIT_TERMINATED = 128 + signal.SIGTERM
"""Exit code of shells for a command that SIGTERM has ended."""


def main(arguments: Sequence[str]) -> int:
    """Run an outbox where Typer is not installed.

    Args:
        arguments: The arguments after `outbox run`.

    Returns:
        The exit code.

    Raises:
        CallbackSDKError: The configuration is not valid, or the outbox can't be opened.
    """
    # Not for the Typer command of the same name, which imports this module.
    import argparse

    options = argparse.ArgumentParser(prog="callback-sdk outbox run", description="Send due deliveries.")
    options.add_argument("path", metavar="PATH", type=Path, help="the outbox's file")
    options.add_argument("--until-empty", action="store_true", help="exit when nothing is pending; 3 if one is dead")
    options.add_argument("--create", action="store_true", help="create the outbox if it doesn't exist")
    try:
        given = options.parse_args(arguments)
    except SystemExit as end:
        return 2 if end.code else 0
    from callback_sdk.program.configured import open_writer

    with open_writer() as writer:
        return run_outbox(given.path, writer, until_empty=given.until_empty, create=given.create)


def run_outbox(path: Path, writer: ResultsWriter, *, until_empty: bool, create: bool) -> int:
    """Send due deliveries until SIGTERM or Ctrl-C, and return the exit code.

    Args:
        path: The outbox's file.
        writer: Sends them.
        until_empty: Whether to return when nothing is pending.
        create: Whether to create the file if it doesn't exist.

    Raises:
        KeyboardInterrupt: On Ctrl-C; the second one doesn't wait for running attempts.
    """
    import logging

    from callback_sdk.outbox import DEAD, Outbox
    from callback_sdk.text.escaping import LogFormatter

    log = logging.StreamHandler()
    log.setFormatter(LogFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[log])
    stop, interrupted = threading.Event(), threading.Event()

    def on_signal(number: int, frame: Any) -> None:
        if number == signal.SIGINT:
            if interrupted.is_set():
                raise KeyboardInterrupt
            interrupted.set()
        stop.set()

    with Outbox(path, writer=writer, create=create) as outbox:
        before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            outbox.run(until_empty=until_empty, stop=stop)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if interrupted.is_set():
            raise KeyboardInterrupt
        if until_empty and stop.is_set():
            return EXIT_TERMINATED
        return EXIT_DEAD if until_empty and outbox.entries(status=DEAD) else 0

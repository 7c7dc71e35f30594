"""Interruptions of submissions and waits, and how to come back: with the idempotency key, or with the task's id."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from callback_sdk.errors import CallbackSDKError

logger = logging.getLogger(__name__)


@contextmanager
def naming_key(key: str, describe: Callable[[], tuple[str, str | None]]) -> Iterator[None]:
    """Add the idempotency key to an exception that interrupts a submission.

    Examples are Ctrl-C, `sys.exit` in a handler of SIGTERM, a time limit of Celery, and a timeout of gevent.

    Args:
        key: The idempotency key.
        describe: Describes what was submitted and how to submit the rest: in Python, and on the command line, where
            None stands for the same.
    """
    try:
        yield
    except CallbackSDKError:
        raise
    except BaseException as error:
        text, command_hint = describe()
        setattr(error, "idempotency_key", key)  # noqa: B010 - an error of anybody's
        if type(error) is KeyboardInterrupt:
            error.args, error.command_hint = (text,), command_hint  # type: ignore[attr-defined]
        else:
            # The arguments of other exceptions have a meaning: that of SystemExit is the exit code. Notes are printed
            # since Python 3.11 (PEP 678).
            setattr(error, "__notes__", [*getattr(error, "__notes__", ()), text])  # noqa: B010
            # Logged, because Python prints no traceback for SystemExit.
            logger.warning("%s while submitting. %s", type(error).__name__, text)
        raise


def interruption(text: str, command_hint: str) -> KeyboardInterrupt:
    """Return the error of Ctrl-C during a wait.

    Args:
        text: Message with a hint to wait again in Python.
        command_hint: Hint to wait again on the command line.
    """
    error = KeyboardInterrupt(text)
    error.command_hint = command_hint  # type: ignore[attr-defined]
    return error

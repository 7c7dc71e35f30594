"""What an interrupted submission leaves behind: the key that makes it safe to repeat."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from callback_sdk.errors import CallbackSDKError

logger = logging.getLogger(__name__)


@contextmanager
def naming_key(key: str, describe: Callable[[], str]) -> Iterator[None]:
    """Let whatever interrupts a submission name the idempotency key: Ctrl-C, `sys.exit` in a handler of SIGTERM, a
    time limit of Celery, a time-out of gevent.

    Args:
        key: The idempotency key.
        describe: Returns what is submitted already, and what to do about the rest.
    """
    try:
        yield
    except CallbackSDKError:
        raise
    except BaseException as error:
        text = describe()
        setattr(error, "idempotency_key", key)  # noqa: B010 - an error of anybody's
        if type(error) is KeyboardInterrupt:
            error.args = (text,)
        else:
            # The arguments of others are theirs: that of SystemExit is the exit code. Python 3.11 prints notes.
            setattr(error, "__notes__", [*getattr(error, "__notes__", ()), text])  # noqa: B010
            # Nothing prints a traceback of SystemExit.
            logger.warning("%s while submitting. %s", type(error).__name__, text)
        raise

"""The idempotency key in whatever interrupts a submission, which makes it safe to repeat."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from callback_sdk.errors import CallbackSDKError

logger = logging.getLogger(__name__)


@contextmanager
def naming_key(key: str, describe: Callable[[], str]) -> Iterator[None]:
    """Add the idempotency key to whatever interrupts a submission: Ctrl-C, `sys.exit` in a handler of SIGTERM, a
    time limit of Celery, a timeout of gevent.

    Args:
        key: The idempotency key.
        describe: Describes what was submitted, and how to submit the rest.
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

"""What an engine is made with, and the table of engines."""

from __future__ import annotations

import importlib
import threading
from contextlib import AbstractContextManager
from datetime import timedelta

from attrs import define, field

from callback_sdk.errors import ConfigurationError
from callback_sdk.redaction import Secret
from callback_sdk.service.engines.engine import Engine
from callback_sdk.service.runtime import Runtime

ENGINES = {"embedded": "callback_sdk.service.engines.embedded", "celery": "callback_sdk.service.engines.celery"}
"""Each module has a function `create_engine(parts, options)`, a context manager that gives the engine."""


@define(frozen=True, kw_only=True)
class EngineOptions:
    """What an engine may want to know.

    Attributes:
        instance: Name of this service, the same at every start; nobody else uses it at the same time.
        processes: How many tasks run at once on this machine.
        grace: How long running tasks may go on when the service is stopped.
        broker: URL of the message broker.
        force_stop: Ends the grace at once when it is set.
    """

    instance: str
    processes: int
    grace: timedelta
    broker: Secret[str] | None = None
    force_stop: threading.Event = field(factory=threading.Event)


def open_engine(name: str, runtime: Runtime, options: EngineOptions) -> AbstractContextManager[Engine]:
    """Open an engine by its name.

    Raises:
        ConfigurationError: There is none of this name, or it lacks an option.
        MissingExtraError: What it is made with is not installed.
    """
    if name not in ENGINES:
        raise ConfigurationError(f"There is no engine {name!r}.", hint=f"There are {' and '.join(ENGINES)}.")
    engine: AbstractContextManager[Engine] = importlib.import_module(ENGINES[name]).create_engine(runtime, options)
    return engine

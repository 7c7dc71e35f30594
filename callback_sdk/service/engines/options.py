"""Options of engines, and the table of engines."""

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
from callback_sdk.service.work.process import ChildProcess

ENGINES = {"embedded": "callback_sdk.service.engines.embedded", "celery": "callback_sdk.service.engines.celery"}
"""Modules of the engines. Each has a context manager `create_engine(parts, options)` that yields the engine."""


@define(frozen=True, kw_only=True)
class EngineOptions:
    """Options of an engine.

    Attributes:
        instance: Unique name of this service, the same at every start.
        processes: Number of concurrent runs on this machine.
        shutdown_timeout: Shutdown timeout of running tasks.
        broker: URL of the message broker.
        force_stop: Ends the shutdown timeout at once when it is set.
        child: A child process that has imported the registry. The engine runs tasks in it, or closes it.
    """

    instance: str
    processes: int
    shutdown_timeout: timedelta
    broker: Secret[str] | None = None
    force_stop: threading.Event = field(factory=threading.Event)
    child: ChildProcess | None = None


def open_engine(name: str, runtime: Runtime, options: EngineOptions) -> AbstractContextManager[Engine]:
    """Open an engine by its name.

    Raises:
        ConfigurationError: The engine doesn't exist, or lacks an option.
        MissingExtraError: The engine's dependencies are not installed.
    """
    if name not in ENGINES:
        raise ConfigurationError(f"{name!r} is not an engine.", hint=f"The engines are {' and '.join(ENGINES)}.")
    engine: AbstractContextManager[Engine] = importlib.import_module(ENGINES[name]).create_engine(runtime, options)
    return engine

"""The start of a child process: the import of its registry, and the setups that it calls before its first task."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import TypeVar

from attrs import define, field

from callback_sdk.documents.error_text import clean, describe
from callback_sdk.errors import ConfigurationError, UnknownAlgorithmError
from callback_sdk.redaction import without_credentials
from callback_sdk.service.algorithms.registry import Registry, load
from callback_sdk.service.algorithms.versions import AlgorithmVersion
from callback_sdk.service.work import shared_memory, stack_dump
from callback_sdk.service.work.process_state import ProcessState
from callback_sdk.service.work.random_state import RandomState
from callback_sdk.text.tracebacks import user_traceback

T = TypeVar("T")


@define(frozen=True, kw_only=True)
class StartFailure:
    """A failed step of the start.

    Attributes:
        reason: The error, without a traceback.
        traceback: The traceback of an error of the author's code; empty if there is none, or if `setting` has it.
        setting: Message and hint, which may have a traceback, if the registry itself is wrong; None otherwise.
    """

    reason: str
    traceback: str = field(default="", repr=False)
    setting: tuple[str, str] | None = None


@define(frozen=True, kw_only=True)
class ImportedRegistry:
    """What the parent learns of the registry.

    Attributes:
        versions: The registered versions.
        setups: Name and timeout of each setup that the child has to call.
    """

    versions: tuple[AlgorithmVersion, ...] = field(repr=False)
    setups: tuple[tuple[str, timedelta], ...]


@define
class _States:
    """The states of this process: before the import of the registry, and after the setups."""

    random: RandomState | None = None
    initial: ProcessState | None = None


_states = _States()


@functools.lru_cache(maxsize=1)
def registry(name: str) -> Registry:
    """Import the registry of this process."""
    return load(name)


def import_registry(name: str, algorithms: Collection[str]) -> ImportedRegistry | StartFailure:
    """Import the registry before the first run, so that the import doesn't count towards the run's timeout.

    Args:
        name: Module and variable of the registry.
        algorithms: Names of the algorithms that the process runs; all if empty.
    """
    _states.random = RandomState()

    def imported() -> ImportedRegistry:
        found = registry(name)
        versions = tuple(version for each in found for version in found.versions(each))
        setups = tuple((setup.name, setup.timeout) for setup in found.setups(algorithms))
        return ImportedRegistry(versions=versions, setups=setups)

    return _attempt(imported)


def set_up(name: str, algorithms: Collection[str], number: int) -> StartFailure | None:
    """Call one of the setups.

    Args:
        name: Module and variable of the registry.
        algorithms: Names of the algorithms that the process runs; all if empty.
        number: Index of the setup.
    """
    return _attempt(registry(name).setups(algorithms)[number].run)


def finish() -> None:
    """Record the state of this process, to which each run returns."""
    stack_dump.disable()
    # What setups have created stays.
    shared_memory.prepare()
    if _states.random is not None:
        _states.random.complete()
        _states.initial = ProcessState(_states.random)


def restore() -> list[str]:
    """Restore the recorded state, and return the parts that can't be restored."""
    return [] if _states.initial is None else _states.initial.restore()


def _attempt(step: Callable[[], T]) -> T | StartFailure:
    """Return the value of a step, or its failure: the parent may be unable to unpickle the exception."""
    try:
        return step()
    except (ConfigurationError, UnknownAlgorithmError) as error:
        message, hint = (
            without_credentials(error.message, show_plain_queries=True),
            without_credentials(error.hint, show_plain_queries=True),
        )
        # An error in the module is the cause.
        reason = message if error.__cause__ is None else describe(error.__cause__)
        return StartFailure(reason=reason, setting=(message, hint))
    except BaseException as error:  # noqa: BLE001 - code of the algorithm's author may raise anything
        return StartFailure(reason=describe(error), traceback=clean(user_traceback(error), max_length=None))

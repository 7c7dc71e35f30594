"""callback_sdk.service.work.logging_state"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from callback_sdk.service.work.logging_state import LoggingState


@pytest.fixture
def state() -> Iterator[LoggingState]:
    """Give the configuration at the start, and restore it after the test."""
    state = LoggingState()
    yield state
    state.restore()


def test_handlers_and_levels_are_restored(state: LoggingState, tmp_path: Path) -> None:
    """Of loggers that existed and of new ones; files that handlers have open are closed."""
    new = logging.getLogger("test_logging_state.new")
    root = list(logging.root.handlers), logging.root.level
    handler = logging.FileHandler(tmp_path / "log")
    for logger in (logging.root, new):
        logger.addHandler(handler)
        logger.setLevel(logging.CRITICAL)
    new.propagate, new.disabled = False, True
    logging.disable(logging.ERROR)
    state.restore()
    assert (logging.root.handlers, logging.root.level) == root
    assert (new.handlers, new.level, new.propagate, new.disabled) == ([], logging.NOTSET, True, False)
    assert logging.root.manager.disable == logging.NOTSET
    assert handler.stream is None


def test_packages_that_a_run_imports_keep_their_configuration(
    state: LoggingState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They configure their loggers when they are imported, which happens once."""
    monkeypatch.setitem(sys.modules, "late_package", ModuleType("late_package"))
    logger = logging.getLogger("late_package.part")
    logger.setLevel(logging.WARNING)
    state.restore()
    assert logger.level == logging.WARNING
    logger.setLevel(logging.DEBUG)
    state.restore()
    assert logger.level == logging.WARNING
    logger.setLevel(logging.NOTSET)

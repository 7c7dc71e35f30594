"""The configuration of all loggers between two runs."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import NamedTuple


class _Configuration(NamedTuple):
    """The configuration of one logger."""

    handlers: tuple[logging.Handler, ...] = ()
    filters: tuple[object, ...] = ()
    level: int = logging.NOTSET
    propagate: bool = True
    disabled: bool = False

    @classmethod
    def of(cls, logger: logging.Logger) -> _Configuration:
        return cls(tuple(logger.handlers), tuple(logger.filters), logger.level, logger.propagate, logger.disabled)

    def apply(self, logger: logging.Logger) -> None:
        for handler in logger.handlers:
            if handler not in self.handlers:
                # It may have a file open.
                with contextlib.suppress(Exception):
                    handler.close()
        logger.handlers[:] = self.handlers
        logger.filters[:] = self.filters  # type: ignore[assignment]
        logger.setLevel(self.level)
        logger.propagate, logger.disabled = self.propagate, self.disabled


_DEFAULT = _Configuration()


class LoggingState:
    """The configuration of all loggers at startup.

    A logger that a run creates gets the default configuration, without handlers, unless it belongs to a package that
    the run has imported: packages configure their loggers once.
    """

    def __init__(self) -> None:
        self._configurations = {logger: _Configuration.of(logger) for logger in _loggers()}
        self._disabled = logging.root.manager.disable
        self._modules = set(sys.modules)

    def restore(self) -> None:
        """Restore the configuration of all loggers."""
        logging.disable(self._disabled)
        for logger in _loggers():
            saved, found = self._configurations.get(logger, _DEFAULT), _Configuration.of(logger)
            if found == saved:
                continue
            if logger not in self._configurations and self._is_new(logger.name):
                self._configurations[logger] = found
            else:
                saved.apply(logger)
        if len(self._modules) != len(sys.modules):
            self._modules = set(sys.modules)

    def _is_new(self, name: str) -> bool:
        package = name.partition(".")[0]
        return package in sys.modules and package not in self._modules


def _loggers() -> Iterator[logging.Logger]:
    yield logging.root
    for logger in list(logging.root.manager.loggerDict.values()):
        # A placeholder stands for a logger that has only children.
        if isinstance(logger, logging.Logger):
            yield logger

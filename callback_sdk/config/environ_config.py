"""Import environ-config without boto3.

environ-config imports boto3 where it is installed, for secrets in AWS, which this package doesn't read with it. The
import of boto3 takes about half of the time of `callback-sdk --help`.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


class _DeferredModule(ModuleType):
    """A module that is imported when somebody uses one of its attributes."""

    def __getattr__(self, name: str) -> Any:
        _discard(self)
        return getattr(importlib.import_module(self.__name__), name)


def _discard(module: ModuleType) -> None:
    if sys.modules.get(module.__name__) is module:
        del sys.modules[module.__name__]


def _import_environ() -> Any:
    if "boto3" in sys.modules:
        return importlib.import_module("environ")
    # Another thread that imports boto3 meanwhile gets the real one with the first attribute.
    deferred = sys.modules["boto3"] = _DeferredModule("boto3")
    try:
        return importlib.import_module("environ")
    finally:
        _discard(deferred)


environ = _import_environ()

"""Engines: what brings tasks to workers."""

from callback_sdk.service.engines.engine import Engine, Room
from callback_sdk.service.engines.errors import EngineError
from callback_sdk.service.engines.options import ENGINES, EngineOptions, open_engine

__all__ = ["ENGINES", "Engine", "EngineError", "EngineOptions", "Room", "open_engine"]

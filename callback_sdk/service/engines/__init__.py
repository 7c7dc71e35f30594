"""Engines: what brings tasks to workers."""

from callback_sdk.service.engines.engine import Engine, Room
from callback_sdk.service.engines.errors import BrokerRefusedError, EngineError
from callback_sdk.service.engines.options import ENGINES, EngineOptions, open_engine

__all__ = ["ENGINES", "BrokerRefusedError", "Engine", "EngineError", "EngineOptions", "Room", "open_engine"]

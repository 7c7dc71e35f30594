"""Engines: transports of tasks and deliveries to workers."""

from callback_sdk.service.engines.engine import Capacity, Engine
from callback_sdk.service.engines.errors import BrokerRefusedError, EngineError
from callback_sdk.service.engines.options import ENGINES, EngineOptions, open_engine

__all__ = ["ENGINES", "BrokerRefusedError", "Capacity", "Engine", "EngineError", "EngineOptions", "open_engine"]

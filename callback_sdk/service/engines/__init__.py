"""Engines: what brings tasks to workers."""

from callback_sdk.service.engines.engine import Engine

__all__ = ["Engine"]

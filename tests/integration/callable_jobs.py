"""Algorithms of every shape that can be registered; each adds a number to a column."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pandas as pd

from callback_sdk.service import Progress, Registry

registry = Registry()


@registry.algorithm("position")
def position(features, parameters, context):
    return [value + parameters.get("plus", 1) for value in features.to_dict()["a"]]


@registry.algorithm("typed")
def typed(a: list[int], plus: int = 1):
    return [value + plus for value in a]


@registry.algorithm("array")
def array(a: np.ndarray, plus: int = 1):
    return a + plus


@registry.algorithm("frame")
def frame(table: pd.DataFrame, plus: int = 1):
    return (table["a"] + plus).tolist()


@registry.algorithm("coroutine")
async def coroutine(a: list[int], plus: int = 1):
    await asyncio.sleep(0)
    return [value + plus for value in a]


@registry.algorithm("generator")
def generator(a: list[int], plus: int = 1) -> Iterator[object]:
    for value in a:
        yield Progress(None, f"at {value}")
        yield value + plus


@registry.algorithm("async-generator")
async def async_generator(a: list[int], plus: int = 1) -> AsyncIterator[object]:
    for value in a:
        await asyncio.sleep(0)
        yield Progress(1.0, f"at {value}")
        yield value + plus


@registry.algorithm("class")
class Adder:
    async def setup(self) -> None:
        self.start = 0

    def predict(self, a: list[int], plus: int = 1) -> list[int]:
        return [self.start + value + plus for value in a]


class Service:
    def add(self, a: list[int], plus: int = 1) -> list[int]:
        return [value + plus for value in a]


registry.algorithm("method")(Service().add)

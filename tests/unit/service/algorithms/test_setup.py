"""callback_sdk.service.algorithms.setup"""

from __future__ import annotations

import re
from typing import Any

import pytest

from callback_sdk.errors import ConfigurationError
from callback_sdk.service import Registry


def nothing(features: Any, parameters: Any, context: Any) -> None: ...


def test_an_algorithms_own_setup_takes_the_place_of_the_registrys() -> None:
    """For its `context.state`; both are called."""
    registry = Registry()

    @registry.setup
    def load() -> str:
        return "registry"

    registry.algorithm("plain")(nothing)

    @registry.algorithm("own", setup_timeout=5)
    def own(features: Any, parameters: Any, context: Any) -> None: ...

    @own.setup
    async def prepare() -> str:
        return "own"

    assert load() == "registry"
    for setup in registry.setups():
        setup.run()
    assert {name: registry.state(registry.get(name)) for name in registry} == {"plain": "registry", "own": "own"}
    assert [setup.timeout.total_seconds() for setup in registry.setups()] == [600, 5]
    assert [setup.name for setup in registry.setups(["plain"])] == ["the registry"]
    assert Registry().setups() == []


def test_without_a_setup_the_state_is_none() -> None:
    """As before the setup has run."""
    registry = Registry()
    registry.algorithm("x")(nothing)
    assert registry.state(registry.get("x")) is None


def generator() -> Any:
    yield 1


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda path: None, "can't be called without arguments: missing a required argument: 'path'"),
        (generator, "is not a function that returns a value"),
        ("text", "is not a function that returns a value"),
    ],
)
def test_wrong_setups_are_rejected(function: Any, words: str) -> None:
    """When they are registered."""
    with pytest.raises(ConfigurationError, match=re.escape(words)) as caught:
        Registry().setup(timeout=3)(function)
    assert caught.value.hint


def test_there_is_one_setup() -> None:
    """Of a registry, and of each version; a class has its own."""
    registry = Registry()
    registry.setup(dict)
    with pytest.raises(ConfigurationError, match="already has a setup"):
        registry.setup(dict)
    registered = registry.algorithm("x")(nothing)
    registered.setup(list)
    with pytest.raises(ConfigurationError, match=r"Version '1.0.0' of 'x' already has a setup"):
        registered.setup(list)
    with pytest.raises(ConfigurationError, match="setup_timeout"):
        registry.algorithm("y", setup_timeout=0)

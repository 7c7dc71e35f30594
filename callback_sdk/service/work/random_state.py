"""The state of the random number generators of `random` and NumPy between two runs."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from typing import Any, Protocol

_WORDS = 624
"""Words of the state of a Mersenne Twister, MT19937. The generator makes new ones when it has used them all."""

_MAX_DRAWN = 1000
"""Maximum number of times that it may have done so during the import of the registry."""


class RandomState:
    """Decides with which random numbers each run of a process begins: those of a new process.

    A module that is imported at startup may set a seed. Then each run begins with the state after the import.
    Otherwise each run gets a new seed: with the same state every run would draw the same numbers.

    Create it before the import, and call `complete` after it.
    """

    def __init__(self) -> None:
        self._python = _PythonGenerator()
        self._numpy: _NumpyGenerator | None = None
        self._before = self._python.words()

    def complete(self) -> None:
        """Find out which generators have got a seed."""
        self._numpy = _find_numpy()
        self._states = [_initial_state(self._python, self._before)]
        if self._numpy is not None:
            self._states.append(_initial_state(self._numpy, self._numpy.initial_words()))
        self._last = [generator.state() for generator in self._generators()]

    def reset(self) -> None:
        """Prepare the generators for the next run."""
        if self._numpy is None and (found := _find_numpy()) is not None:
            self._numpy = found
            self._states.append(None)
            self._last.append(None)
        for index, generator in enumerate(self._generators()):
            # Most runs draw no numbers, and a new seed is expensive.
            if generator.state() != self._last[index]:
                generator.reset(self._states[index])
                self._last[index] = generator.state()

    def _generators(self) -> list[_Generator]:
        return [self._python] if self._numpy is None else [self._python, self._numpy]


class _Generator(Protocol):
    """The generator of a library's functions."""

    def state(self) -> Any:
        """Return the state, for comparison and `reset`."""

    def words(self) -> list[int]:
        """Return the words of the state."""

    def reset(self, state: Any) -> None:
        """Set the state; None for a new seed."""


class _PythonGenerator:
    """The generator of `random`."""

    def state(self) -> Any:
        return random.getstate()

    def words(self) -> list[int]:
        return list(random.getstate()[1][:_WORDS])

    def reset(self, state: Any) -> None:
        if state is None:
            random.seed()
        else:
            random.setstate(state)


class _NumpyGenerator:
    """The generator of the functions of `numpy.random`.

    Args:
        module: `numpy.random`.
    """

    def __init__(self, module: Any) -> None:
        self._module = module

    def state(self) -> Any:
        name, words, *rest = self._module.get_state()
        return name, words.tobytes(), *rest

    def words(self) -> list[int]:
        found: list[int] = self._module.get_state()[1].tolist()
        return found

    def initial_words(self) -> list[int]:
        """Return the words that the generator had when NumPy was imported."""
        seed = self._module.get_bit_generator().seed_seq
        found: list[int] = self._module.MT19937(seed).state["state"]["key"].tolist()
        return found

    def reset(self, state: Any) -> None:
        if state is None:
            self._module.seed()
        else:
            name, words, *rest = state
            self._module.set_state((name, memoryview(words).cast("I"), *rest))


def _find_numpy() -> _NumpyGenerator | None:
    """Return NumPy's generator, if something has imported it."""
    module = sys.modules.get("numpy.random")
    # Added in NumPy 1.24 and 1.25.
    known = module is not None and hasattr(getattr(module, "BitGenerator", None), "seed_seq")
    return _NumpyGenerator(module) if known else None


def _initial_state(generator: _Generator, before: Sequence[int]) -> Any:
    """Return the state that each run begins with; None for a new seed.

    Args:
        generator: The generator.
        before: The words of its state before the import of the registry.
    """
    return None if _is_drawn(before, generator.words()) else generator.state()


def _is_drawn(before: Sequence[int], after: Sequence[int]) -> bool:
    """Return whether one state follows from another by drawing numbers."""
    generator = random.Random()  # noqa: S311 - no secret
    generator.setstate((3, (*before, _WORDS), None))
    wanted = tuple(after)
    for _ in range(_MAX_DRAWN):
        if generator.getstate()[1][:_WORDS] == wanted:
            return True
        generator.getrandbits(32 * _WORDS)
    return False

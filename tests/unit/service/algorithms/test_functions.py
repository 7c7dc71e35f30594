"""callback_sdk.service.algorithms.functions"""

from __future__ import annotations

import pickle
import re
from dataclasses import dataclass
from typing import Any

import pytest

from callback_sdk.errors import ConfigurationError, ParametersError
from callback_sdk.service import Features, JobContext, Progress, Registry
from callback_sdk.service.work import invocation

registry = Registry()


@registry.algorithm("model")
class Model:
    """Multiply."""

    loads = 0

    def setup(self) -> None:
        Model.loads += 1
        self.factor = 3

    def predict(self, a: list[int], plus: int = 0) -> Any:
        return [self.factor * one + plus for one in a]


@registry.evaluation("model", "sum")
def total(predictions: list[int]) -> int:
    return sum(predictions)


def call(registry: Registry, name: str, **parameters: Any) -> Any:
    """Call an algorithm as a worker does."""
    algorithm = registry.get(name)
    context = JobContext(job_id="1", attempt=1, evaluate=True, report=lambda *_: None)
    features = Features(b'{"a": [1, 2]}', "json")
    return invocation.predict(
        algorithm, registry.functions(algorithm), features, parameters, context, evaluate=False, monitor=False
    )["predictions"]


def test_a_class_is_set_up_once() -> None:
    """Its schema comes from `predict`, and its description from its docstring."""
    assert call(registry, "model") == [3, 6]
    assert call(registry, "model", plus=1) == [4, 7]
    assert Model.loads == 1
    algorithm = registry.get("model")
    assert (algorithm.description, algorithm.evaluations) == ("Multiply.", ("sum",))
    assert algorithm.features is not None
    assert [one.name for one in algorithm.features.columns()] == ["a"]


def test_a_class_stays_what_it_is() -> None:
    """It has subclasses, and objects that can be pickled."""

    class Other(Model):
        pass

    assert isinstance(Other(), Model)
    assert type(pickle.loads(pickle.dumps(Model()))) is Model


def test_methods_and_objects() -> None:
    """A bound method, an object with `predict`, one that can be called, and static and class methods."""
    own = Registry()

    class Adder:
        plus = 1

        async def __call__(self, a: list[int]) -> Any:
            return [one + self.plus for one in a]

        def add(self, features: Any, parameters: Any, context: Any) -> Any:
            return [one + self.plus for one in features.to_dict()["a"]]

        @classmethod
        def predict(cls, a: list[int]) -> Any:
            return [one + cls.plus for one in a]

        @staticmethod
        def static(a: list[int]) -> Any:
            return [one + 1 for one in a]

    class Ready:
        def predict(self, a: list[int]) -> Any:
            return [one + 1 for one in a]

    own.algorithm("callable")(Adder())
    own.algorithm("method")(Adder().add)
    own.algorithm("class")(Adder)
    own.algorithm("static")(Adder.static)
    own.algorithm("object")(Ready())
    assert [call(own, name) for name in own] == 5 * [[2, 3]]


def test_registered_twice() -> None:
    """Decorators may be stacked."""
    own = Registry()

    @own.algorithm("first")
    @own.algorithm("second")
    def double(a: list[int]) -> Any:
        return [2 * one for one in a]

    assert call(own, "first") == call(own, "second") == double([1, 2]) == [2, 4]


@dataclass(frozen=True)
class FieldInfo:
    """What `Input(...)` of Cog 0.23 returns."""

    default: Any = None
    description: str | None = None
    ge: float | None = None
    le: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    regex: str | None = None
    choices: list[Any] | None = None


FieldInfo.__module__ = "cog.input"
TEXT = FieldInfo(description="Text to repeat.", min_length=1)
TIMES, MODE, SEED = FieldInfo(default=1, ge=1, le=5), FieldInfo(default="a", choices=["a", "b"]), FieldInfo()


class BaseRunner:
    """The base class of Cog's, whose methods call each other."""

    def setup(self, weights: Any = None) -> None: ...

    def run(self, *args: Any, **kwargs: Any) -> Any: ...

    def predict(self, *args: Any, **kwargs: Any) -> Any: ...


BaseRunner.__module__ = "cog.predictor"


def test_predictors_of_cog() -> None:
    """Unchanged, with `predict` or `run`; what `Input` says is part of the schema."""
    own = Registry()

    @own.algorithm("old")
    class Predictor(BaseRunner):
        def predict(self, text: str = TEXT, times: int = TIMES, mode: str = MODE, seed: int | None = SEED) -> Any:
            return [text * times, mode, seed]

    @own.algorithm("new")
    class Runner(BaseRunner):
        def setup(self, weights: Any = None) -> None:
            self.weights = weights

        async def run(self, n: int = TIMES) -> Any:
            for number in range(n):
                yield self.weights, number

    assert call(own, "old", text="ab", times=2) == ["abab", "a", None]
    assert call(own, "new", n=2) == [(None, 0), (None, 1)]
    for parameters, words in [
        ({}, "'text' is a required"),
        ({"text": ""}, "text: "),
        ({"text": "a", "mode": "c"}, "mode: "),
    ]:
        with pytest.raises(ParametersError, match=words):
            call(own, "old", **parameters)
    assert own.get("old").template("parameters") == b'{"text":"text","times":1,"mode":"a","seed":null}'


class NoPredict:
    """No algorithm."""


class Needy:
    def __init__(self, path: str) -> None: ...

    def predict(self, a: list[int]) -> None: ...


class NeedySetup:
    def setup(self, path: str) -> None: ...

    def predict(self, a: list[int]) -> None: ...


@pytest.mark.parametrize(
    ("registered", "words"),
    [
        (NoPredict, "'NoPredict' has no method predict"),
        (NoPredict(), "'NoPredict' has no method predict"),
        (Needy, "can't be called without arguments: missing a required argument: 'path'"),
        (NeedySetup, "NeedySetup.setup can't be called without arguments"),
        (3, "'int' has no method predict"),
    ],
)
def test_other_things_are_rejected_at_registration(registered: Any, words: str) -> None:
    """The error says how to write it, and nothing is registered."""
    own = Registry()
    with pytest.raises(ConfigurationError, match=re.escape(words)) as caught:
        own.algorithm("x")(registered)
    assert caught.value.hint
    assert list(own) == []
    with pytest.raises(ConfigurationError, match="can't be called"):
        registry.monitor("model", "x")(3)  # type: ignore[type-var]


def test_progress_is_reported() -> None:
    """What a generator yields is progress or a row."""
    own, reports = Registry(), []

    @own.algorithm("rows")
    def rows(a: list[int]) -> Any:
        for number, one in enumerate(a):
            yield Progress(number / len(a), f"row {number}")
            yield {"double": 2 * one}

    algorithm = own.get("rows")
    context = JobContext(job_id="1", attempt=1, evaluate=True, report=lambda *state: reports.append(state))
    features = Features(b'{"a": [1, 2]}', "json")
    members = invocation.predict(
        algorithm, own.functions(algorithm), features, {}, context, evaluate=False, monitor=False
    )
    assert members["predictions"] == [{"double": 2}, {"double": 4}]
    assert reports == [(0.0, "row 0"), (0.5, "row 1")]

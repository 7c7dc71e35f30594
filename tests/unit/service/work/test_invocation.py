"""callback_sdk.service.work.invocation: algorithms, evaluations and monitors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from callback_sdk.documents.decoding import decode
from callback_sdk.documents.document import encode
from callback_sdk.errors import AlgorithmError, ConfigurationError, FeaturesError, ParametersError
from callback_sdk.service import JobContext, Registry
from callback_sdk.service.algorithms.features import Features
from callback_sdk.service.work import invocation

registry = Registry()


@registry.algorithm(
    "double",
    features={"properties": {"a": {"type": "number"}}, "required": ["a"]},
    parameters={"properties": {"factor": {"type": "number"}}},
)
def double(features: Any, parameters: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Multiply."""
    return {
        "predictions": [value * parameters.get("factor", 2) for value in features.to_dict()["a"]],
        "evaluations": {"own": 1},
    }


@double.evaluation("sum")
def total(features: Any, parameters: dict[str, Any], predictions: list[float], context: JobContext) -> float:
    return sum(predictions) + context.evaluation_options.get("plus", 0)


@double.evaluation("broken")
def broken(features: Any, parameters: dict[str, Any], predictions: list[float], context: JobContext) -> Any:
    raise ZeroDivisionError("never mind")


@double.evaluation("odd")
def odd(features: Any, parameters: dict[str, Any], predictions: list[float], context: JobContext) -> Any:
    return object()


@double.monitor("largest")
def largest(features: Any, parameters: dict[str, Any], predictions: list[float], context: JobContext) -> float:
    return max(predictions)


@double.fit
def train(features: Any, parameters: dict[str, Any], context: JobContext) -> str:
    return "trained"


@pytest.fixture
def features(tmp_path: Path) -> Features:
    """Give two rows."""
    (tmp_path / "features").write_text('{"a": [1, 2]}')
    return Features(tmp_path / "features", "json")


def context() -> JobContext:
    return JobContext(job_id="1", attempt=1, evaluate=True, report=lambda *_: None)


def predict(features: Features, evaluate: Any = True, *, monitor: bool = True, **parameters: Any) -> dict[str, Any]:
    algorithm = registry.get("double")
    functions = registry.functions(algorithm)
    return invocation.predict(algorithm, functions, features, parameters, context(), evaluate=evaluate, monitor=monitor)


def arriving(value: Any) -> Any:
    """Return a result as a receiver decodes it."""
    return decode(encode(value).data)


def test_requested_functions_are_called(features: Features) -> None:
    """The entry of a failing one, or of one with an invalid return value, holds its error."""
    members = predict(features)
    assert members["predictions"] == [2, 4]
    assert arriving(members["monitors"]) == {"largest": 4}
    evaluations = arriving(members["evaluations"])
    assert list(evaluations) == ["own", "sum", "broken", "odd"]
    assert (evaluations["own"], evaluations["sum"]) == (1, 6)
    assert evaluations["broken"] == {"error": "ZeroDivisionError: never mind"}
    assert "EncodingError" in evaluations["odd"]["error"]


def test_evaluations_can_be_chosen(features: Features) -> None:
    """By name with options, or none."""
    assert arriving(predict(features, {"sum": {"plus": 10}})["evaluations"]) == {"own": 1, "sum": 16}
    members = predict(features, False, monitor=False)
    assert members == {"predictions": [2, 4], "evaluations": None}


def test_an_evaluation_is_read_once(features: Features) -> None:
    """A reader of Arrow's gives its rows only once; its NaN are counted."""
    own = Registry()

    @own.algorithm("reader")
    def seven(features: Any, parameters: dict[str, Any], context: JobContext) -> int:
        return 7

    @seven.evaluation("rows")
    def rows(features: Any, parameters: dict[str, Any], predictions: Any, context: JobContext) -> Any:
        return pa.table({"a": [1.5, float("nan")]}).to_reader()

    algorithm = own.get("reader")
    members = invocation.predict(
        algorithm, own.functions(algorithm), features, {}, context(), evaluate=True, monitor=False
    )
    encoded = encode(members)
    assert decode(encoded.data) == {"predictions": 7, "evaluations": {"rows": {"a": [1.5, None]}}}
    assert encoded.nulls_written == 1


def test_invalid_features_and_parameters_are_not_computed(features: Features, tmp_path: Path) -> None:
    """The algorithm isn't called."""
    with pytest.raises(ParametersError):
        predict(features, factor="two")
    (tmp_path / "features").write_text('{"a": [null, "x"]}')
    with pytest.raises(FeaturesError, match="Row 0, column 'a'"):
        predict(features)


def test_training(features: Features) -> None:
    """Its return value is in the place of the predictions."""
    algorithm = registry.get("double")
    trained = invocation.fit(algorithm, registry.functions(algorithm), features, {}, context())
    assert trained == {"predictions": "trained", "evaluations": None}
    other = Registry()
    other.algorithm("x")(lambda features, parameters, context: None)
    with pytest.raises(AlgorithmError, match="can't be trained"):
        invocation.fit(other.get("x"), other.functions(other.get("x")), features, {}, context())


def test_a_registered_function_is_still_one(features: Features) -> None:
    """For its author's own tests, with its name and its docstring."""
    assert double(features, {"factor": 3}, context())["predictions"] == [3, 6]
    assert (double.__name__, double.__doc__) == ("double", "Multiply.")
    assert repr(double) == "Registered('double', version='1.0.0')"
    assert total(features, {}, [1.0], context()) == 1.0


@pytest.mark.parametrize("name", ["sum", "", "a b"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    """Taken ones too."""
    with pytest.raises(ConfigurationError, match="evaluations of 'double'"):
        double.evaluation(name)(lambda *_: None)

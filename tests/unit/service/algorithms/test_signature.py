"""callback_sdk.service.algorithms.signature, with its arguments, annotations and schemas"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import numpy as np
import numpy.typing as npt
import orjson
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest
from pydantic import BaseModel, Field

from callback_sdk.errors import ConfigurationError, FeaturesError, ParametersError
from callback_sdk.service import Features, JobContext, Registry
from callback_sdk.service.work import invocation

if TYPE_CHECKING:
    from fractions import Fraction


class Method(Enum):
    """How to average."""

    ARITHMETIC = "arithmetic"
    GEOMETRIC = "geometric"


@dataclass
class Window:
    """A range of rows."""

    start: int
    stop: int = 10


class Limits(BaseModel):
    """Limits of values."""

    low: float
    high: float = 1.0


def run(function: Any, columns: dict[str, Any], **parameters: Any) -> Any:
    """Register a function, and call it as a worker does."""
    registry = Registry()
    registry.algorithm("x")(function)
    algorithm = registry.get("x")
    context = JobContext(job_id="1", attempt=1, evaluate=True, report=lambda *_: None)
    features = Features(orjson.dumps(columns), "json")
    return invocation.predict(
        algorithm, registry.functions(algorithm), features, parameters, context, evaluate=False, monitor=False
    )["predictions"]


def schemas(function: Any) -> tuple[Any, Any]:
    """Return the schemas of a function's features and parameters."""
    registry = Registry()
    registry.algorithm("x")(function)
    found = registry.get("x")
    return (found.features and found.features.schema), (found.parameters and found.parameters.schema)


def test_columns_and_parameters_are_given_by_name() -> None:
    """A list is a column, any other type a parameter; a default is Python's."""

    def mean(temperature: list[float], digits: int = 2) -> float:
        return round(sum(temperature) / len(temperature), digits)

    assert run(mean, {"temperature": [1, 2.345], "other": ["x", "y"]}) == 1.67
    assert run(mean, {"temperature": [1, 2.345]}, digits=1) == 1.7
    table, settings = schemas(mean)
    assert table == {"type": "object", "properties": {"temperature": {"type": "number"}}, "required": ["temperature"]}
    assert settings == {
        "type": "object",
        "properties": {"digits": {"type": "integer", "default": 2}},
        "required": [],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("columns", "parameters", "error", "words"),
    [
        ({"humidity": [1]}, {}, FeaturesError, "Column 'temperature' is missing"),
        ({"temperature": [1, None]}, {}, FeaturesError, "Row 1, column 'temperature'"),
        ({"temperature": ["1.5"]}, {}, FeaturesError, "Row 0, column 'temperature'"),
        ({"temperature": [True]}, {}, FeaturesError, "Row 0, column 'temperature'"),
        ({"temperature": [1]}, {"digits": "2"}, ParametersError, "digits: '2' is not of type 'integer'"),
        ({"temperature": [1]}, {"digit": 2}, ParametersError, "'digit' was unexpected"),
    ],
)
def test_wrong_inputs_are_rejected(
    columns: dict[str, Any], parameters: dict[str, Any], error: type[Exception], words: str
) -> None:
    """By the schema of the annotations: text is no number, and a misspelt parameter is an error."""

    def mean(temperature: list[float], digits: int = 2) -> float:
        raise AssertionError

    with pytest.raises(error, match=re.escape(words)):
        run(mean, columns, **parameters)


@pytest.mark.parametrize(
    "function",
    [
        lambda features, parameters, context: sorted([type(features).__name__, type(parameters).__name__]),
        lambda table, options, run: sorted([type(table).__name__, type(options).__name__]),
        lambda *inputs: sorted([type(one).__name__ for one in inputs[:2]]),
        lambda features, parameters, context=None, more=1: sorted([type(features).__name__, type(parameters).__name__]),
        functools.partial(lambda _, table, options, run: sorted([type(table).__name__, type(options).__name__]), 0),
    ],
)
def test_functions_without_annotations_are_called_by_position(function: Any) -> None:
    """With features, parameters and context, whatever their names; there is no schema."""
    assert run(function, {"a": [1]}) == ["Features", "dict"]
    assert schemas(function) == (None, None)


def test_annotated_inputs_are_given_by_position_too() -> None:
    """As most typed code writes them; a type may be imported for type checkers only."""

    def typed(table: Features, options: dict[str, Any], run: JobContext) -> Any:
        return table.to_dict(), options, run.job_id

    def unresolved(features: Unknown.Features, parameters: Any, context: JobContext) -> Any:  # type: ignore[name-defined]  # noqa: F821
        return features.to_dict(), parameters, context.job_id

    assert run(typed, {"a": [1]}, b=2) == run(unresolved, {"a": [1]}, b=2) == ({"a": [1]}, {"b": 2}, "1")
    assert schemas(typed) == (None, None)


def test_inputs_are_given_by_name() -> None:
    """In any order, beside columns and parameters."""

    def named(context, a: list[int], parameters) -> Any:  # type: ignore[no-untyped-def]
        return context.job_id, a, parameters

    def rest(features: Features, b: int = 0, **others: Any) -> Any:
        return features.to_dict(), b, others

    assert run(named, {"a": [1]}, c=3) == ("1", [1], {"c": 3})
    assert run(rest, {"a": [1]}, b=2, c=3) == ({"a": [1]}, 2, {"c": 3})
    assert run(lambda: 7, {"a": [1]}) == 7
    with pytest.raises(ParametersError, match="unexpected"):
        run(lambda: 7, {"a": [1]}, b=1)


NOTHING_ABOVE = Limits(low=0)
MIDNIGHT = datetime(2026, 1, 1)  # noqa: DTZ001 - without a time zone, as in most tables
SINCE, PRICE = date(2026, 1, 1), Decimal(1)
FOR = Field(3, alias="for")
ZEROS = Field(default_factory=lambda: np.zeros(1))


def test_types_of_parameters() -> None:
    """Those of pydantic, with their JSON Schema."""

    def typed(
        mode: Literal["fast", "exact"],
        limit: Optional[float] = None,  # noqa: UP045
        method: Method = Method.ARITHMETIC,
        window: Window | None = None,
        limits: Limits = NOTHING_ABOVE,
        since: date = SINCE,
        rate: Annotated[float, Field(ge=0, le=1, description="Share of rows.")] = 0.5,
        price: Decimal = PRICE,
        pair: tuple[int, int] = (1, 2),
    ) -> Any:
        return [mode, limit, method, window, limits, since, rate, price, pair]

    given = {"mode": "fast", "limit": 2, "method": "geometric", "window": {"start": 1}, "limits": {"low": -1}}
    given |= {"since": "2026-11-30", "rate": 1, "price": "0.10", "pair": [3, 4]}
    assert run(typed, {"a": [1]}, **given) == [
        *("fast", 2.0, Method.GEOMETRIC, Window(1), Limits(low=-1), date(2026, 11, 30), 1.0, Decimal("0.10"), (3, 4)),
    ]
    assert run(typed, {"a": [1]}, mode="exact")[1:4] == [None, Method.ARITHMETIC, None]
    _, schema = schemas(typed)
    assert schema["required"] == ["mode"]
    assert schema["properties"]["mode"] == {"enum": ["fast", "exact"], "type": "string"}
    assert schema["properties"]["rate"] == {
        "type": "number",
        "minimum": 0,
        "maximum": 1,
        "default": 0.5,
        "description": "Share of rows.",
    }
    assert schema["properties"]["limits"]["default"] == {"low": 0.0, "high": 1.0}
    assert schema["$defs"]["Window"]["required"] == ["start"]
    for name, value, words in [
        ("mode", "slow", "mode: 'slow' is not one of ['fast', 'exact']"),
        ("rate", 2, "rate: 2 is greater than the maximum of 1"),
        ("window", {"stop": 1}, "window: "),
        ("since", "soon", "since: "),
    ]:
        with pytest.raises(ParametersError, match=re.escape(words)):
            run(typed, {"a": [1]}, **{"mode": "fast", name: value})


def test_templates_show_the_signature() -> None:
    """Examples are valid: defaults, the first of several values, and the members of objects."""

    def typed(
        a: list[float], b: list[str] | None = None, *, window: Window, mode: Literal["x", "y"], n: int = 3
    ) -> Any:
        return window

    registry = Registry()
    registry.algorithm("x")(typed)
    algorithm = registry.get("x")
    example = orjson.loads(algorithm.template("parameters") or b"")
    assert example == {"window": {"start": 1, "stop": 10}, "mode": "x", "n": 3}
    columns = orjson.loads(algorithm.template("input") or b"")
    assert columns == {"a": [1.0, 2.0, 3.0], "b": ["text", "text", "text"]}
    assert run(typed, columns, **example) == Window(1)
    assert (algorithm.graph() or b"").startswith(b"\x89PNG")


def test_columns_of_libraries() -> None:
    """Arrays and series; missing numbers are NaN in NumPy."""

    def typed(
        a: npt.NDArray[np.float64],
        b: np.ndarray,
        c: pd.Series,
        d: pl.Series,
        e: pa.ChunkedArray,
        f: Sequence[str],
        g: npt.NDArray[np.int32],
        h: npt.NDArray[np.datetime64],
        i: npt.NDArray[np.floating[Any]],
    ) -> Any:
        return a, b, c, d, e, f, g, h, i

    columns = {name: [1, 2] for name in "bcdegi"} | {
        "a": [1, None],
        "f": ["x", "y"],
        "h": ["2026-11-30T12:00:00+01:00"] * 2,
    }
    a, b, c, d, e, f, g, h, i = run(typed, columns)
    assert (a.dtype, a[0], np.isnan(a[1])) == (np.float64, 1, True)
    assert (b.dtype, i.dtype, b.tolist()) == (np.int64, np.int64, [1, 2])
    assert (c.tolist(), d.to_list(), e.to_pylist(), f) == ([1, 2], [1, 2], [1, 2], ["x", "y"])
    assert (g.dtype, h.dtype.kind, h[0]) == (np.int32, "M", np.datetime64("2026-11-30T11:00:00"))


def test_whole_tables() -> None:
    """Of pandas, polars and Arrow."""

    def typed(frame: pd.DataFrame, features: pl.DataFrame, table: pa.Table) -> Any:
        return frame["a"].tolist(), features["a"].to_list(), table["a"].to_pylist()

    assert run(typed, {"a": [1, 2]}) == ([1, 2],) * 3
    assert schemas(typed)[0] is None


def test_columns_of_parquet(tmp_path: Path) -> None:
    """Dates are dates, and decimals are converted to the annotated floats."""
    table = pa.table({"t": [MIDNIGHT], "d": pa.array([Decimal("1.5")]), "n": [1], "z": [None]})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    registry = Registry()

    @registry.algorithm("x")
    def typed(t: list[datetime], d: list[float], n: npt.NDArray[np.int8], z: list[int | None]) -> Any:
        return t, d, n, z

    found = registry.get("x")
    context = JobContext(job_id="1", attempt=1, evaluate=True, report=lambda *_: None)
    features = Features(tmp_path / "t.parquet", "parquet")
    members = invocation.predict(found, registry.functions(found), features, {}, context, evaluate=False, monitor=False)
    assert members["predictions"] == ([MIDNIGHT], [1.5], np.array([1], np.int8), [None])


@pytest.mark.parametrize(
    ("values", "kind"), [([300], np.int8), ([-1], np.uint8), ([None], np.int64), ([1.5], np.int64)]
)
def test_integers_are_not_changed(values: list[Any], kind: Any) -> None:
    """Numbers outside the type of the array, missing ones and fractions are errors."""

    def typed(a: Any) -> Any:
        raise AssertionError

    typed.__annotations__["a"] = npt.NDArray[kind]
    with pytest.raises(FeaturesError, match="olumn 'a'"):
        run(typed, {"a": values})


def test_whole_numbers_as_floats_are_integers() -> None:
    """JSON doesn't distinguish 1.0 and 1."""

    def typed(a: npt.NDArray[np.int64], b: list[int], c: int) -> Any:
        return a.dtype, a.tolist(), b, c

    assert run(typed, {"a": [1.0, 2], "b": [1.0, 2]}, c=3.0) == (np.int64, [1, 2], [1, 2], 3)


def test_all_parameters_as_one_object() -> None:
    """An argument `parameters` with the type of an object."""

    def typed(a: list[int], parameters: Limits) -> Any:
        return parameters

    assert run(typed, {"a": [1]}, low=2, high=3) == Limits(low=2, high=3)
    with pytest.raises(ParametersError, match="low"):
        run(typed, {"a": [1]})


def test_names_that_are_no_identifiers() -> None:
    """An alias is the column's or the parameter's name."""

    def typed(a: Annotated[list[float], Field(alias="air temperature")], b: int = FOR) -> Any:
        return a, b

    assert run(typed, {"air temperature": [1]}) == ([1.0], 3)
    assert run(typed, {"air temperature": [1]}, **{"for": 4}) == ([1.0], 4)
    assert list(schemas(typed)[1]["properties"]) == ["for"]


def test_optional_columns() -> None:
    """A column with a default may be missing."""

    def typed(a: list[int], b: list[int] | None = None, c: np.ndarray = ZEROS) -> Any:
        return a, b, c.tolist()

    assert run(typed, {"a": [1]}) == ([1], None, [0.0])
    assert run(typed, {"a": [1], "b": [2], "c": [3]}) == ([1], [2], [3])


def test_annotations_may_name_local_types() -> None:
    """Annotations are text under `from __future__ import annotations`, as in this module."""

    @dataclass
    class Local:
        a: int

    def typed(local: Local, x: list[Annotated[int, Field(ge=0)]]) -> Any:
        return local.a

    assert run_here(typed, {"local": {"a": 3}}, Local) == 3


def run_here(function: Any, parameters: dict[str, Any], Local: Any) -> Any:
    """Register a function where its local types are known."""
    registry = Registry()
    registry.algorithm("x")(function)
    algorithm = registry.get("x")
    context = JobContext(job_id="1", attempt=1, evaluate=True, report=lambda *_: None)
    features = Features(b'{"x": [1]}', "json")
    return invocation.predict(
        algorithm, registry.functions(algorithm), features, parameters, context, evaluate=False, monitor=False
    )["predictions"]


def test_wrapped_functions_have_their_own_signature() -> None:
    """That of a decorated function, by `functools.wraps`, in the module where it was written."""

    def wrapper(function: Any) -> Any:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return ["wrapped", function(*args, **kwargs)]

        return call

    @wrapper
    def typed(window: Window, a: list[int]) -> Any:
        return window.start

    assert run(typed, {"a": [1]}, window={"start": 3}) == ["wrapped", 3]


class Callable:
    """An object that can be called, whose annotations are text."""

    def __call__(self, window: Window, a: list[int]) -> Any:
        return window.start


def test_annotations_of_callable_objects_are_resolved() -> None:
    """In the module of their class."""
    assert run(Callable(), {"a": [1]}, window={"start": 3}) == 3
    assert run(functools.partial(Callable(), window=Window(5)), {"a": [1]}) == 5


def test_a_type_may_not_be_defined_after_the_function() -> None:
    """Its name is unknown when the function is registered."""
    registry = Registry()
    with pytest.raises(ConfigurationError, match=r"Annotated\[Later, 1\]', which is not defined") as caught:

        @registry.algorithm("x")
        def typed(a: Annotated[Later, 1]) -> None: ...

    assert "before the function" in caught.value.hint

    @dataclass
    class Later:
        a: int


def imported_for_checkers(share: Fraction) -> None: ...


class Model:
    def predict(self, a: list[int]) -> None: ...


def unannotated(temperature, digits): ...  # type: ignore[no-untyped-def]


def any_number(*columns: list[float]) -> None: ...


def of_models(model: Model) -> None: ...


def of_complex(a: npt.NDArray[np.complex128]) -> None: ...


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (unannotated, "Argument 'temperature' of 'unannotated' has no annotation"),
        (lambda x: x, "has no annotation"),
        (any_number, "takes any number"),
        (imported_for_checkers, "annotated with 'Fraction', which is not defined"),
        (Model.predict, "Register the class"),
        (of_models, "annotated with Model, which can't be made from JSON"),
        (of_complex, "array of complex128"),
    ],
)
def test_other_shapes_are_rejected_at_registration(function: Any, words: str) -> None:
    """The error says how to write it."""
    with pytest.raises(ConfigurationError, match=re.escape(words)) as caught:
        Registry().algorithm("x")(function)
    assert caught.value.hint


def test_declared_schemas_take_precedence() -> None:
    """The arguments are still converted to their annotations."""
    registry = Registry()

    @registry.algorithm("x", features={"properties": {"a": {"type": "string"}}}, parameters={"properties": {}})
    def typed(a: list[date]) -> Any:
        return a

    algorithm = registry.get("x")
    assert algorithm.features is not None
    assert algorithm.features.columns()[0].type == "string"
    context = JobContext(job_id="1", attempt=1, evaluate=True, report=lambda *_: None)

    def predict(value: str) -> Any:
        features = Features(orjson.dumps({"a": [value]}), "json")
        return invocation.predict(
            algorithm, registry.functions(algorithm), features, {}, context, evaluate=False, monitor=False
        )["predictions"]

    assert predict("2026-11-30") == [date(2026, 11, 30)]
    with pytest.raises(FeaturesError, match="Row 0, column 'a': Input should be a valid date"):
        predict("soon")


def test_evaluations_are_called_by_name_too() -> None:
    """With the predictions, columns and parameters."""
    registry = Registry()

    @registry.algorithm("x")
    def typed(a: list[int], plus: int = 1) -> Any:
        return [one + plus for one in a]

    @typed.evaluation("rmse")
    async def rmse(predictions: list[int], a: list[int], plus: int = 1) -> Any:
        return [predictions, a, plus]

    @typed.fit
    def train(a: list[int], context: JobContext) -> Any:
        return [a, context.job_id]

    algorithm = registry.get("x")
    context = JobContext(job_id="1", attempt=1, evaluate=True, report=lambda *_: None)
    features, functions = Features(b'{"a": [1]}', "json"), registry.functions(algorithm)
    members = invocation.predict(algorithm, functions, features, {"plus": 2}, context, evaluate=True, monitor=True)
    assert orjson.loads(members["evaluations"]["rmse"].data) == [[3], [1], 2]
    assert invocation.fit(algorithm, functions, features, {}, context)["predictions"] == [[1], "1"]

"""callback_sdk.service.algorithms.input_schemas: features and parameters that fit, and those that don't."""

from __future__ import annotations

import io
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from callback_sdk.errors import ConfigurationError, FeaturesError, ParametersError
from callback_sdk.service import Registry
from callback_sdk.service.algorithms.features import Features
from callback_sdk.service.algorithms.input_schemas import declare_features, declare_parameters
from callback_sdk.service.algorithms.versions import AlgorithmVersion

RECORD = {
    "properties": {
        "temperature": {"type": "number", "minimum": -90, "description": "In degrees Celsius."},
        "place": {"enum": ["roof", "cellar"]},
        "at": {"type": "string", "examples": ["2026-01-01T00:00:00"]},
    },
    "required": ["temperature"],
}
ARROW = pa.schema(
    [
        pa.field("temperature", pa.float64(), nullable=False, metadata={"description": "In degrees Celsius."}),
        pa.field("count", pa.int32()),
    ]
)
LIMITS = {
    "properties": {"exponent": {"type": "number", "exclusiveMinimum": 0, "default": 2.0}},
    "additionalProperties": False,
}


def features(folder: Path, data: Any, *, parquet: bool = False) -> Features:
    path = folder / "features"
    if parquet:
        pq.write_table(pa.table(data), path)
    else:
        path.write_text(json.dumps(data))
    return Features(path, "parquet" if parquet else "json")


def refusal(schema: Any, given: Features) -> str:
    with pytest.raises(FeaturesError) as caught:
        declare_features("x", schema).check(given)
    return caught.value.message


@pytest.mark.parametrize("parquet", [False, True])
@pytest.mark.parametrize(
    ("schema", "data"),
    [
        (RECORD, {"temperature": [1.5, -2]}),
        (RECORD, {"temperature": [1.5], "place": ["roof"], "more": [[1, 2]]}),
        (ARROW, {"temperature": [1.5, 2.0], "count": [1, None], "more": ["a", "b"]}),
        (ARROW, {"temperature": [1, 2], "count": [1, 2]}),
    ],
)
def test_valid_features_and_parameters_are_accepted(tmp_path: Path, schema: Any, data: Any, parquet: bool) -> None:
    """Further columns are permitted, and any numeric type is a number."""
    declare_features("x", schema).check(features(tmp_path, data, parquet=parquet))


@pytest.mark.parametrize("parquet", [False, True])
@pytest.mark.parametrize(
    ("schema", "data", "words"),
    [
        (RECORD, {"place": ["roof"]}, "Column 'temperature' is missing."),
        (
            RECORD,
            {"temperature": [1.0, 2.0, -91.5]},
            "Row 2, column 'temperature': -91.5 is less than the minimum of -90.",
        ),
        (RECORD, {"temperature": [1.0, None]}, "Row 1, column 'temperature': None is not of type 'number'."),
        (RECORD, {"temperature": [1.0], "place": ["attic"]}, "Row 0, column 'place': 'attic' is not one of"),
        (ARROW, {"temperature": [1.0]}, "Column 'count' is missing."),
        (ARROW, {"temperature": [1.0, None], "count": [1, 2]}, "Column 'temperature', row 1: the value is missing."),
        (
            ARROW,
            {"temperature": ["1", "warm"], "count": [1, 2]},
            "Column 'temperature', row 1: 'warm' is not a valid double.",
        ),
        (
            ARROW,
            {"temperature": [1.0] * 3, "count": [1, 2, 2**40]},
            "Column 'count', row 2: '1099511627776' is not a valid int32.",
        ),
    ],
)
def test_violations_are_named(tmp_path: Path, schema: Any, data: Any, words: str, parquet: bool) -> None:
    """By column and row, counted from 0, for all formats."""
    assert words in refusal(schema, features(tmp_path, data, parquet=parquet))


def test_an_error_names_a_few_only(tmp_path: Path) -> None:
    """A table of a thousand wrong rows, with a text without end in each, is a short error."""
    text = refusal(RECORD, features(tmp_path, {"temperature": ["x" * 10_000] * 1000}))
    assert text.count("Row ") == 5
    assert text.endswith("Further problems are not listed.")
    assert len(text) < 2000


def test_times_of_parquet_are_texts(tmp_path: Path) -> None:
    """A JSON Schema sees them as JSON would have them."""
    data = {"temperature": [1.0], "at": [datetime(2026, 1, 1, tzinfo=timezone.utc)]}
    declare_features("x", RECORD).check(features(tmp_path, data, parquet=True))


def test_a_value_is_quoted_word_by_word(tmp_path: Path) -> None:
    """A path with two dots is the one that was given, in features and in parameters."""
    text = refusal(RECORD, features(tmp_path, {"temperature": [1.0], "place": ["../data"]}))
    assert "'../data' is not one of ['roof', 'cellar']." in text
    schema = declare_parameters("x", {"properties": {"folder": {"enum": ["/data"]}}})
    with pytest.raises(ParametersError, match=r"'\.\./data\.\.' is not one of"):
        schema.check({"folder": "../data.."})


def test_parameters_are_checked() -> None:
    """Each by its name."""
    declared = declare_parameters("x", LIMITS)
    declared.check({"exponent": 2})
    with pytest.raises(ParametersError, match="exponent: 0 is less than or equal to the minimum of 0"):
        declared.check({"exponent": 0})
    with pytest.raises(ParametersError, match=r"'exponnent' was unexpected.* Did you mean 'exponent'\?"):
        declared.check({"exponnent": 1})


@pytest.mark.parametrize(
    "options",
    [
        {"features": {"properties": 5}},
        {"features": {"type": "array"}},
        {"features": "number"},
        {"parameters": {"required": "x"}},
        {"parameters": ["x"]},
        {"parameters": ARROW},
    ],
)
def test_a_schema_that_is_none_is_refused(options: dict[str, Any]) -> None:
    """Where it is registered, with the algorithm's name."""
    with pytest.raises(ConfigurationError, match="'rain'"):
        Registry().algorithm("rain", **options)


def register(**options: Any) -> AlgorithmVersion:
    registry = Registry()
    registry.algorithm("rain", **options)(lambda features, parameters, context: None)
    return registry.get("rain")


def test_templates_are_generated_from_schemas(tmp_path: Path) -> None:
    """They are valid for the schema; a registered template has precedence."""
    algorithm = register(features=RECORD, parameters=LIMITS)
    template = orjson.loads(algorithm.template("input"))
    assert template == {
        "temperature": [-89.0, -88.0, -87.0],
        "place": ["roof", "cellar", "roof"],
        "at": ["2026-01-01T00:00:00"] * 3,
    }
    algorithm.features.check(features(tmp_path, template))
    assert orjson.loads(algorithm.template("parameters")) == {"exponent": 2.0}
    assert algorithm.template("output") is None
    assert orjson.loads(register(features=ARROW).template("input")) == {
        "temperature": [1.0, 2.0, 3.0],
        "count": [1, 2, 3],
    }
    assert register(features=RECORD, templates={"input": [1]}).template("input") == b"[1]"


def test_a_graph_is_drawn_from_schemas() -> None:
    """A PNG image with a size that depends on the number of columns."""
    small, large = (
        Image.open(io.BytesIO(register(features=schema, parameters=LIMITS).graph())) for schema in (ARROW, RECORD)
    )
    assert small.format == "PNG"
    assert small.width == large.width
    assert small.height < large.height
    assert len(large.convert("L").getcolors()) > 2
    assert register(features=RECORD).graph_kinds == ("schema",)
    assert register(features=RECORD).graph("flow") is None
    assert register().graph("schema") is None

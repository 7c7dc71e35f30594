"""callback_sdk.features.writing: the choice between JSON and Parquet, and codecs."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow.parquet as pq
import pytest

from callback_sdk.errors import FeaturesError
from callback_sdk.features.writing import write_features


@pytest.mark.parametrize(
    ("features", "columns"),
    [({"a": [1, 2]}, {"a": [1, 2]}), ([{"a": 1.5}, {"a": None}], {"a": [1.5, None]}), ({"a": "x"}, {"a": ["x"]})],
)
def test_plain_values_are_json(features: Any, columns: dict[str, list[Any]]) -> None:
    """Records and single values become columns."""
    with write_features(features) as (kind, body):
        assert (kind, orjson.loads(body.read())) == ("json", columns)


@pytest.mark.parametrize(("compression", "codec"), [(None, "SNAPPY"), ("zstd", "ZSTD")])
def test_tables_are_parquet(compression: str | None, codec: str) -> None:
    """A DataFrame keeps its types."""
    table = pd.DataFrame({"a": np.arange(3, dtype="int8")})
    with write_features(table, compression=compression) as (kind, body):
        file = pq.ParquetFile(io.BytesIO(body.read()))
    assert kind == "parquet"
    assert file.metadata.row_group(0).column(0).compression == codec
    assert file.read().to_pydict() == {"a": [0, 1, 2]}


def test_an_unknown_codec_is_an_error() -> None:
    """The error names the cause and the option."""
    with pytest.raises(FeaturesError, match="compression"), write_features(pd.DataFrame({"a": [1]}), compression="lz5"):
        pass

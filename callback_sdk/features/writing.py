"""Encode a table for submission: as JSON if that is lossless, otherwise as Parquet."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Literal

from callback_sdk.documents.body import Body, FilePart
from callback_sdk.documents.document import encode
from callback_sdk.errors import FeaturesError
from callback_sdk.features.arrow import table_of
from callback_sdk.features.columns import Column
from callback_sdk.features.containers import columns_of

Format = Literal["json", "parquet"]


@contextmanager
def write_features(features: Any, *, compression: str | None = None) -> Iterator[tuple[Format, Body]]:
    """Encode a table; a temporary file is removed at the end of the block.

    Args:
        features: The table, in any container that `columns_of` supports.
        compression: Parquet codec, such as `"zstd"`; snappy when None.

    Yields:
        The format and the bytes.

    Raises:
        FeaturesError: The features are not a table, are empty, or have an unsupported value.
        MissingExtraError: Writing Parquet requires pyarrow, which isn't installed.
    """
    columns = columns_of(features)
    plain = {name: one for name, one in columns.items() if isinstance(one, Column) and one.kind.is_json}
    if len(plain) == len(columns):
        data = encode({name: column.values for name, column in plain.items()}, path="features").data
        yield "json", Body(data)
        return
    with tempfile.TemporaryFile() as file:
        _write_parquet(table_of(columns), file, compression)
        yield "parquet", Body(FilePart(file))


def _write_parquet(table: Any, file: BinaryIO, compression: str | None) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        pq.write_table(table, file, compression=compression or "snappy")
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FeaturesError(
            f"The table can't be written as Parquet: {_sentence(error)}",
            hint="Look at its column types, at compression=, and at the space for temporary files.",
        ) from error
    file.seek(0)


def _sentence(error: BaseException) -> str:
    text = " ".join(str(part) for part in error.args) or type(error).__name__
    text = text if len(text) <= 200 else f"{text[:200]}…"
    return text if text.endswith(".") else f"{text}."

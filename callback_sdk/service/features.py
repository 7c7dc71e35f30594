"""An algorithm's data: a table in a Parquet or JSON file, checked when it comes and read when it is used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from callback_sdk.errors import FeaturesError, MissingExtraError

if TYPE_CHECKING:
    import pandas
    import pyarrow

PARQUET = "parquet"
JSON = "json"

_MAGIC = b"PAR1"


class Features:
    """The first argument of every algorithm: a table that is read on demand.

    Args:
        path: A file that `check` has accepted.
        format: `"parquet"` or `"json"`.
    """

    def __init__(self, path: Path, format: str) -> None:  # noqa: A002
        self._path = path
        self._format = format

    def __repr__(self) -> str:
        return f"Features({self._format})"

    def to_dict(self) -> dict[str, list[Any]]:
        """Return the columns as lists, by name."""
        if self._format == PARQUET:
            columns: dict[str, list[Any]] = self.to_arrow().to_pydict()
            return columns
        return _columns(_read_json(self._path))

    def to_arrow(self) -> pyarrow.Table:
        """Return the table as Arrow has it.

        Raises:
            MissingExtraError: pyarrow is not installed.
        """
        if self._format == PARQUET:
            return _parquet().read_table(self._path)
        import pyarrow as pa

        return pa.table(self.to_dict())

    def to_pandas(self) -> pandas.DataFrame:
        """Return the table as a data frame.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise MissingExtraError("pandas", extra="parquet") from None
        return self.to_arrow().to_pandas() if self._format == PARQUET else pd.DataFrame(self.to_dict())


def sniff(path: Path) -> str:
    """Tell the format of a file by its first bytes: `"parquet"` or else `"json"`."""
    with path.open("rb") as file:
        return PARQUET if file.read(len(_MAGIC)) == _MAGIC else JSON


def check(path: Path, format: str) -> None:  # noqa: A002
    """Make sure that a file holds a table.

    Args:
        path: The file.
        format: `"parquet"` or `"json"`.

    Raises:
        FeaturesError: It doesn't; the text names the column or the row.
        MissingExtraError: It is Parquet, and pyarrow is not installed.
    """
    if format == PARQUET:
        _check_parquet(path)
    elif format == JSON:
        _columns(_read_json(path))
    else:
        raise FeaturesError(f"Features of format {format!r} are not known.", hint="Send Parquet or JSON.")


def _parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("pyarrow", extra="parquet") from None
    return pyarrow.parquet


def _check_parquet(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(len(_MAGIC))
    if head != _MAGIC:
        raise FeaturesError(
            "The features are no Parquet file: they don't begin with PAR1.", hint="Send Parquet or JSON."
        )
    parquet = _parquet()
    import pyarrow

    try:
        columns = parquet.read_metadata(path).num_columns
    except (pyarrow.ArrowException, OSError) as error:
        raise FeaturesError(
            f"The features begin like Parquet, but their footer can't be read: {error}",
            hint="The file was probably cut off on its way; write it and send it again.",
        ) from None
    if not columns:
        raise FeaturesError("The features have no column.", hint="Send a table with at least one.")


def _read_json(path: Path) -> Any:
    try:
        return orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise FeaturesError(
            f"The features are neither Parquet nor JSON: {error}.",
            hint="Send a dict of equally long columns, or a list of records.",
        ) from None


def _columns(data: Any) -> dict[str, list[Any]]:
    if isinstance(data, list):
        return _from_records(data)
    if not isinstance(data, dict):
        raise FeaturesError(
            f"The features are a JSON {_kind(data)}.",
            hint="Send a dict of equally long columns, or a list of records.",
        )
    if not data:
        raise FeaturesError("The features have no column.", hint="Send a table with at least one.")
    for name, column in data.items():
        if not isinstance(column, list):
            raise FeaturesError(
                f"Column {name!r} of the features is a JSON {_kind(column)}.",
                hint="Each column is a list of values.",
            )
    first, *others = data
    for name in others:
        if len(data[name]) != len(data[first]):
            raise FeaturesError(
                f"The features' columns are not equally long: {first!r} has {len(data[first])} values and "
                f"{name!r} has {len(data[name])}.",
                hint="Fill what is missing with null.",
            )
    return data


def _from_records(records: list[Any]) -> dict[str, list[Any]]:
    if not records:
        raise FeaturesError("The features have no row.", hint="Send at least one record.")
    names: dict[str, None] = {}
    for number, record in enumerate(records):
        if not isinstance(record, dict):
            raise FeaturesError(
                f"Record {number} of the features is a JSON {_kind(record)}.",
                hint="Each record is a dict of values by column.",
            )
        names.update(dict.fromkeys(record))
    if not names:
        raise FeaturesError("The features have no column.", hint="Send records with at least one value.")
    return {name: [record.get(name) for record in records] for name in names}


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return kinds[type(value)]

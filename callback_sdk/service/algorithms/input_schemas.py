"""Schemas of an algorithm's features and parameters: validation, and examples.

Features are declared row by row with a JSON Schema (draft 2020-12) of one record, or column by column with an Arrow
schema; parameters with a JSON Schema of the whole object.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from attrs import define, field

from callback_sdk.documents.decoding import decode
from callback_sdk.documents.values import encode
from callback_sdk.errors import CallbackSDKError, ConfigurationError, EncodingError, FeaturesError, ParametersError
from callback_sdk.service.algorithms import column_types, examples
from callback_sdk.service.algorithms.features import Features
from callback_sdk.service.algorithms.schema_validation import Schema, SchemaProblemError, TooComplexError, check_schema
from callback_sdk.text.descriptions import sentence, similar

if TYPE_CHECKING:
    import pyarrow

_MAX_PROBLEMS = 5
"""Maximum number of problems in an error message."""

_MAX_LENGTH = 200
"""Maximum characters of one problem in an error message; the text of a problem may quote the data."""


@define(frozen=True)
class ColumnSchema:
    """Description of a column or a parameter for users.

    Attributes:
        name: The column's name.
        type: Type of the values.
        description: Meaning of the values.
        required: Whether the column must be present.
    """

    name: str
    type: str
    description: str = ""
    required: bool = True


class FeaturesSchema(ABC):
    """The schema of an algorithm's features."""

    def check(self, features: Features) -> None:
        """Validate features.

        Raises:
            FeaturesError: The features are invalid; the message names columns and rows.
        """
        problems = list(itertools.islice(self._problems(features), _MAX_PROBLEMS + 1))
        if problems:
            raise FeaturesError(
                f"The features don't match the algorithm's schema. {_list_problems(problems)}",
                hint="`callback-sdk algorithms NAME --template input` prints valid features.",
            )

    @abstractmethod
    def columns(self) -> list[ColumnSchema]:
        """Return the columns."""

    @abstractmethod
    def example(self) -> Any:
        """Return example features with a few rows, in the form of the JSON document."""

    @abstractmethod
    def _problems(self, features: Features) -> Iterator[str]: ...


@define(frozen=True)
class JSONFeaturesSchema(FeaturesSchema):
    """A JSON Schema that each row of the features must match.

    Attributes:
        schema: Schema of one record, an object with the columns as properties.
    """

    schema: Mapping[str, Any] = field(repr=False)

    def columns(self) -> list[ColumnSchema]:
        """See `FeaturesSchema.columns`."""
        return _columns(self.schema)

    def example(self) -> Any:
        """See `FeaturesSchema.example`."""
        return examples.columns(self.schema)

    def _problems(self, features: Features) -> Iterator[str]:
        if column_types.fit(self.schema, features.to_columns()):
            return
        table = features.to_dict()
        missing = [name for name in self.schema.get("required", ()) if name not in table]
        if missing:
            yield from (f"Column {name!r} is missing.{similar(name, list(table))}" for name in missing)
            return
        validator = Schema(self.schema)
        for row, values in enumerate(zip(*table.values(), strict=True)):
            record = {name: _plain(value) for name, value in zip(table, values, strict=True)}
            for error in _errors(validator, record, FeaturesError, f"Row {row}"):
                path = [str(part) for part in error.absolute_path]
                where = f"column {'.'.join(path)!r}" if path else "the record"
                yield f"Row {row}, {where}: {sentence(error.message[:_MAX_LENGTH])}"


@define(frozen=True)
class ArrowFeaturesSchema(FeaturesSchema):
    """An Arrow schema of the columns. Features may have other columns too.

    Attributes:
        schema: The schema. A column may have any type that can be cast to the field's type without loss, and nulls if
            the field is nullable.
    """

    schema: pyarrow.Schema = field(repr=False)

    def columns(self) -> list[ColumnSchema]:
        """See `FeaturesSchema.columns`."""
        return [
            ColumnSchema(one.name, f"{one.type}{'' if one.nullable else ', not null'}", _description(one.metadata))
            for one in self.schema
        ]

    def example(self) -> Any:
        """See `FeaturesSchema.example`."""
        return examples.arrow_columns(self.schema)

    def _problems(self, features: Features) -> Iterator[str]:
        table = features.to_columns()
        for one in self.schema:
            if one.name not in table:
                yield f"Column {one.name!r} is missing.{similar(one.name, list(table))}"
            elif (problem := _misfit(table[one.name], one)) is not None:
                yield f"Column {one.name!r}, {problem}."


@define(frozen=True)
class ParametersSchema:
    """The schema of an algorithm's parameters.

    Attributes:
        schema: JSON Schema of the object of all parameters.
    """

    schema: Mapping[str, Any] = field(repr=False)

    def check(self, parameters: Mapping[str, Any]) -> None:
        """Validate parameters.

        Raises:
            ParametersError: The parameters are invalid; the message names them.
        """
        problems = [
            f"{'.'.join(map(str, error.absolute_path)) or 'Parameters'}: {sentence(error.message[:_MAX_LENGTH])}"
            for error in _errors(Schema(self.schema), dict(parameters), ParametersError, "Parameters")
        ]
        if problems:
            declared = list(self.schema.get("properties", ()))
            unknown = [name for name in parameters if isinstance(name, str) and name not in declared]
            problems += filter(
                None, (similar(name[:_MAX_LENGTH], declared).strip() for name in unknown[:_MAX_PROBLEMS])
            )
        if problems:
            raise ParametersError(
                f"The parameters don't match the algorithm's schema. {_list_problems(problems)}",
                hint="`callback-sdk algorithms NAME --template parameters` prints valid parameters.",
            )

    def columns(self) -> list[ColumnSchema]:
        """Return the parameters."""
        return _columns(self.schema)

    def example(self) -> Any:
        """Return example parameters."""
        return examples.members(self.schema)


def declare_features(name: str, schema: Any) -> FeaturesSchema | None:
    """Return the schema of an algorithm's features; None if `schema` is None.

    Raises:
        ConfigurationError: The schema is invalid.
    """
    if schema is None:
        return None
    if isinstance(schema, Mapping):
        return JSONFeaturesSchema(_check_schema(name, "features", schema))
    if type(schema).__module__.partition(".")[0] == "pyarrow" and hasattr(schema, "metadata"):
        return ArrowFeaturesSchema(schema)
    raise ConfigurationError(
        f"The schema of the features of {name!r} is of type {type(schema).__name__}.",
        hint="Give a JSON Schema of one record as a dict, or a pyarrow.Schema.",
    )


def declare_parameters(name: str, schema: Any) -> ParametersSchema | None:
    """Return the schema of an algorithm's parameters; None if `schema` is None.

    Raises:
        ConfigurationError: The schema is invalid.
    """
    if schema is None:
        return None
    if not isinstance(schema, Mapping):
        raise ConfigurationError(
            f"The schema of the parameters of {name!r} is of type {type(schema).__name__}.",
            hint="Give a JSON Schema as a dict.",
        )
    return ParametersSchema(_check_schema(name, "parameters", schema))


def _check_schema(name: str, what: str, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        check_schema(schema)
    except SchemaProblemError as error:
        raise ConfigurationError(
            f"The schema of {what} of {name!r} can't be used: {error}.",
            hint="See https://json-schema.org/draft/2020-12, and for patterns the syntax of RE2.",
        ) from None
    if schema.get("type", "object") != "object":
        raise ConfigurationError(
            f"The schema of {what} of {name!r} is of type {schema['type']!r}.",
            hint='Give a schema of type "object", with properties.',
        )
    try:
        # A plain copy, which is sent to other processes.
        copy: Mapping[str, Any] = decode(encode({"type": "object", **schema}, path="schema", only_finite=True).data)
    except EncodingError as error:
        raise ConfigurationError(
            f"The schema of {what} of {name!r} can't be represented in JSON: {error.message}", hint=error.hint
        ) from None
    return copy


def _errors(schema: Schema, value: Any, kind: type[CallbackSDKError], what: str) -> list[Any]:
    try:
        return schema.problems(value, _MAX_PROBLEMS + 1)
    except TooComplexError:
        raise kind(
            f"{what}: the validation takes too long, or the values are nested too deeply.",
            hint="Send less data, or data that is less deeply nested.",
        ) from None


def _columns(schema: Mapping[str, Any]) -> list[ColumnSchema]:
    required = schema.get("required", ())
    return [
        ColumnSchema(name, _describe_type(one), str(one.get("description", "")), required=name in required)
        for name, one in schema.get("properties", {}).items()
        if isinstance(one, Mapping)
    ]


def _describe_type(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " or ".join(map(repr, schema["enum"]))[:_MAX_LENGTH]
    if "anyOf" in schema:
        return " or ".join(_describe_type(one) for one in schema["anyOf"] if isinstance(one, Mapping))[:_MAX_LENGTH]
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    kind = schema.get("type", "any")
    text = " or ".join(kind) if isinstance(kind, list) else str(kind)
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {schema[name]}" for name, sign in bounds.items() if name in schema]
    return ", ".join([text, *limits])


def _misfit(column: Any, wanted: Any) -> str | None:
    """Return a description of the first problem of a column, with its row; None if the column is valid."""
    import pyarrow as pa

    def fits(start: int, stop: int) -> bool:
        try:
            part = column[start:stop]
            part = pa.array(part) if isinstance(part, list) else part
            part.cast(wanted.type)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
            return False
        return True

    if not fits(0, len(column)):
        row = _first_misfit(fits, len(column))
        value = column[row] if isinstance(column, list) else column[row].as_py()
        return f"row {row}: {str(value)[:_MAX_LENGTH]!r} is not a valid {wanted.type}"
    if not wanted.nullable:
        nulls = [value is None for value in column] if isinstance(column, list) else column.is_null().to_pylist()
        if True in nulls:
            return f"row {nulls.index(True)}: the value is missing"
    return None


def _first_misfit(fits: Callable[[int, int], bool], count: int) -> int:
    """Return the first row that doesn't fit, by bisection of prefixes."""
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(0, middle) else (low, middle)
    return low


def _plain(value: Any) -> Any:
    """Convert a value from Parquet to the value that JSON would contain."""
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else value


def _description(metadata: Mapping[bytes, bytes] | None) -> str:
    return (metadata or {}).get(b"description", b"").decode(errors="replace")


def _list_problems(problems: list[str]) -> str:
    return " ".join(
        [*problems[:_MAX_PROBLEMS], "Further problems are not listed."] if len(problems) > _MAX_PROBLEMS else problems
    )

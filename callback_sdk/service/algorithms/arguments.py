"""Arguments of an algorithm with a typed signature: where each value comes from, and how it is converted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from attrs import define

from callback_sdk.errors import FeaturesError, MissingExtraError, ParametersError
from callback_sdk.service.algorithms.annotation import (
    COLUMNS,
    TABLES,
    Annotation,
    Converter,
    numpy_schema,
    numpy_type,
    of_items,
    to_numpy,
)
from callback_sdk.service.algorithms.argument_defaults import Default
from callback_sdk.service.algorithms.context import JobContext
from callback_sdk.service.algorithms.features import Features
from callback_sdk.text.descriptions import similar

_NOTHING: Mapping[str, Any] = {}


class Inputs:
    """The inputs of one call. The features are read once, in each form that an argument needs.

    Args:
        values: Features, parameters, context and others, by name.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values
        self.features: Features = values["features"]
        self.parameters: Mapping[str, Any] = values["parameters"]

    @cached_property
    def columns(self) -> Mapping[str, Any]:
        """The columns as they are stored: lists, or Arrow arrays."""
        return self.features.to_columns()

    @cached_property
    def lists(self) -> Mapping[str, list[Any]]:
        """The columns as lists."""
        return self.features.to_dict()

    @cached_property
    def arrow(self) -> Any:
        """The features as an Arrow table."""
        return self.features.to_arrow()

    @cached_property
    def pandas(self) -> Any:
        """The features as a pandas DataFrame."""
        return self.features.to_pandas()

    @cached_property
    def polars(self) -> Any:
        """The features as a polars DataFrame."""
        try:
            import polars
        except ImportError:
            raise MissingExtraError("polars", extra="parquet") from None
        return polars.from_arrow(self.arrow)


class Argument(ABC):
    """One argument.

    Attributes:
        name: Its name in the signature.
    """

    name: str

    def is_given(self, inputs: Inputs) -> bool:
        """Return whether the inputs have a value; otherwise the default of the signature applies."""
        return True

    @abstractmethod
    def read(self, inputs: Inputs) -> Any:
        """Return the value.

        Raises:
            FeaturesError: A column can't be converted to the annotated type.
            ParametersError: A parameter can't be converted.
        """


@define(frozen=True, kw_only=True)
class WholeArgument(Argument):
    """Features, parameters, context or another input as a whole.

    Attributes:
        source: Name of the input.
    """

    name: str
    source: str

    def read(self, inputs: Inputs) -> Any:
        """See `Argument.read`."""
        return inputs.values[self.source]


@define(frozen=True, kw_only=True)
class TableArgument(Argument):
    """The features as a table of a library.

    Attributes:
        library: `"pandas"`, `"polars"` or `"pyarrow"`.
    """

    name: str
    library: str

    def read(self, inputs: Inputs) -> Any:
        """See `Argument.read`."""
        return {"pandas": lambda: inputs.pandas, "polars": lambda: inputs.polars, "pyarrow": lambda: inputs.arrow}[
            self.library
        ]()


@define(frozen=True, kw_only=True)
class OptionsArgument(Argument):
    """All parameters, as one object of the annotated type."""

    name: str
    converter: Converter

    def read(self, inputs: Inputs) -> Any:
        """See `Argument.read`."""
        return self.converter.convert(dict(inputs.parameters), _path_formatter(()), ParametersError)


@define(frozen=True, kw_only=True)
class ColumnArgument(Argument):
    """A column of the features.

    Attributes:
        column: Name of the column.
        default: What applies if the features don't have it.
        convert: Converts it to the annotated type.
        item: JSON Schema of its values.
    """

    name: str
    column: str
    default: Default
    convert: Callable[[Inputs, str], Any]
    item: Mapping[str, Any] | Converter

    def is_given(self, inputs: Inputs) -> bool:
        """See `Argument.is_given`."""
        return not self.default.is_pythons or self.column in inputs.columns

    def read(self, inputs: Inputs) -> Any:
        """See `Argument.read`."""
        if self.column in inputs.columns:
            return self.convert(inputs, self.column)
        if self.default.make is not None:
            return self.default.make()
        raise FeaturesError(
            f"Column {self.column!r} is missing.{similar(self.column, list(inputs.columns))}",
            hint="`callback-sdk algorithms NAME --template input` prints valid features.",
        )


@define(frozen=True, kw_only=True)
class ParameterArgument(Argument):
    """A parameter.

    Attributes:
        parameter: Name of the parameter.
        default: What applies if it is not given.
        converter: Converts it to the annotated type.
    """

    name: str
    parameter: str
    default: Default
    converter: Converter

    def is_given(self, inputs: Inputs) -> bool:
        """See `Argument.is_given`."""
        return not self.default.is_pythons or self.parameter in inputs.parameters

    def read(self, inputs: Inputs) -> Any:
        """See `Argument.read`."""
        if self.parameter in inputs.parameters:
            value = inputs.parameters[self.parameter]
            return self.converter.convert(value, _path_formatter((self.parameter,)), ParametersError)
        if self.default.make is not None:
            return self.default.make()
        raise ParametersError(
            f"Parameter {self.parameter!r} is missing.{similar(self.parameter, list(inputs.parameters))}",
            hint="`callback-sdk algorithms NAME --template parameters` prints valid parameters.",
        )


def argument(name: str, annotation: Any, default: Any, what: str) -> Argument:
    """Return an argument by its annotation.

    Args:
        name: Name of the argument.
        annotation: Its annotation.
        default: Its default; `inspect.Parameter.empty` for none.
        what: The argument in an error.

    Raises:
        ConfigurationError: The type can't be made from features or parameters.
    """
    given = Default.of(default, Annotation.of(annotation))
    kind = Annotation.of(given.choices or annotation, given.metadata)
    if kind.base is Features:
        return WholeArgument(name=name, source="features")
    if isinstance(kind.base, type) and issubclass(kind.base, JobContext):
        return WholeArgument(name=name, source="context")
    if kind.library_type in TABLES:
        return TableArgument(name=name, library=kind.library_type.partition(".")[0])
    key = (kind.field.alias if kind.field is not None else None) or name
    if kind.is_list or kind.library_type in COLUMNS:
        return _column(name, key, kind, given, what)
    return ParameterArgument(name=name, parameter=key, default=given, converter=Converter(kind.whole, what))


def _column(name: str, key: str, kind: Annotation, default: Default, what: str) -> ColumnArgument:
    convert: Callable[[Inputs, str], Any]
    item: Mapping[str, Any] | Converter = _NOTHING
    if kind.is_list:
        item = Converter(of_items(kind), what)
        convert = _list_of(item)
    elif kind.library_type == "numpy.ndarray":
        dtype = numpy_type(kind, what)
        item = numpy_schema(dtype)
        convert = _array_of(dtype)
    else:
        convert = _OF_LIBRARIES[kind.library_type]
    return ColumnArgument(name=name, column=key, default=default, convert=convert, item=item)


def _list_of(converter: Converter) -> Callable[[Inputs, str], Any]:
    def convert(inputs: Inputs, column: str) -> Any:
        return converter.convert(inputs.lists[column], _row(column), FeaturesError)

    return convert


def _array_of(dtype: Any) -> Callable[[Inputs, str], Any]:
    def convert(inputs: Inputs, column: str) -> Any:
        try:
            return to_numpy(inputs.columns[column], dtype)
        except FeaturesError as error:
            raise FeaturesError(f"Column {column!r}: {error.message}", hint=error.hint) from None

    return convert


_OF_LIBRARIES: Mapping[str, Callable[[Inputs, str], Any]] = {
    "pandas.Series": lambda inputs, column: inputs.pandas[column],
    "polars.Series": lambda inputs, column: inputs.polars[column],
    "pyarrow.ChunkedArray": lambda inputs, column: inputs.arrow[column],
    "pyarrow.Array": lambda inputs, column: inputs.arrow[column].combine_chunks(),
}


def _row(column: str) -> Callable[[tuple[Any, ...]], str]:
    def describe(path: tuple[Any, ...]) -> str:
        row, *rest = path or ("",)
        return f"Row {row}, column {'.'.join(map(str, (column, *rest)))!r}"

    return describe


def _path_formatter(start: tuple[Any, ...]) -> Callable[[tuple[Any, ...]], str]:
    return lambda path: ".".join(map(str, (*start, *path))) or "Parameters"

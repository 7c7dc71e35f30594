"""Annotation of an argument: how values are converted to them, and the JSON Schemas of the values."""

from __future__ import annotations

import collections.abc
import functools
import types
import warnings
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from typing import Annotated, Any, Union, get_args, get_origin

from attrs import define, field

from callback_sdk.errors import CallbackSDKError, ConfigurationError, FeaturesError, MissingExtraError
from callback_sdk.text.descriptions import sentence

try:
    import pydantic
    from pydantic.errors import PydanticUserError
    from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode
except ImportError:
    raise MissingExtraError("pydantic", extra="service") from None

LISTS = frozenset(
    {list, *(getattr(collections.abc, name) for name in ("Sequence", "MutableSequence", "Collection", "Iterable"))}
)
"""Types that are given a column as a list."""

COLUMNS = frozenset({"numpy.ndarray", "pandas.Series", "polars.Series", "pyarrow.Array", "pyarrow.ChunkedArray"})
"""Types of libraries that are given a column."""

TABLES = frozenset({"pandas.DataFrame", "polars.DataFrame", "pyarrow.Table"})
"""Types of libraries that are given all features."""

_LIBRARIES = frozenset({"numpy", "pandas", "polars", "pyarrow"})

_NUMPY_SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    # Missing values become NaN.
    "f": {"type": ["number", "null"]},
    "i": {"type": "integer"},
    "u": {"type": "integer"},
    "b": {"type": "boolean"},
    "U": {"type": "string"},
    "M": {"type": "string", "format": "date-time"},
    "O": {},
}
"""Schemas of values by `numpy.dtype.kind`."""

_MAX_PROBLEMS = 5
_MAX_LENGTH = 200


@define(frozen=True, kw_only=True)
class Annotation:
    """An annotation without the parts that only describe it.

    Attributes:
        base: The annotated type.
        optional: Whether None is allowed.
        metadata: The arguments of `Annotated`.
        whole: The annotation as it was written.
    """

    base: Any
    optional: bool
    metadata: tuple[Any, ...]
    whole: Any = field(repr=False)

    @classmethod
    def of(cls, annotation: Any, metadata: tuple[Any, ...] = ()) -> Annotation:
        """Take an annotation apart.

        Args:
            annotation: The annotation.
            metadata: Further metadata, such as a default with a description.
        """
        base, optional, found = annotation, False, metadata
        while True:
            origin, arguments = get_origin(base), get_args(base)
            if origin is Annotated:
                base, found = arguments[0], (*arguments[1:], *found)
            elif origin in (Union, types.UnionType) and len(arguments) == 2 and type(None) in arguments:
                base, optional = next(one for one in arguments if one is not type(None)), True
            else:
                break
        return cls(base=base, optional=optional, metadata=found, whole=_annotate(annotation, metadata))

    @property
    def library_type(self) -> str:
        """The package and the name of a type of a library for tables, such as `pandas.DataFrame`; otherwise empty."""
        kind = get_origin(self.base) or self.base
        for one in kind.__mro__ if isinstance(kind, type) else ():
            package = one.__module__.partition(".")[0]
            if package in _LIBRARIES:
                return f"{package}.{one.__name__}"
        return ""

    @property
    def is_list(self) -> bool:
        """Whether a column is given as a list."""
        return (get_origin(self.base) or self.base) in LISTS

    @property
    def field(self) -> Any:
        """The `pydantic.Field` of the metadata; None if there is none."""
        return next((one for one in self.metadata if isinstance(one, pydantic.fields.FieldInfo)), None)


class Converter:
    """Converts values to an annotated type.

    Args:
        annotation: The type.
        what: Name of the argument in an error.

    Raises:
        ConfigurationError: The type can't be made from JSON.
    """

    def __init__(self, annotation: Any, what: str) -> None:
        try:
            with warnings.catch_warnings():
                # Pydantic knows aliases in models only; `argument` applies them.
                warnings.simplefilter("ignore", UserWarning)
                self.adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(annotation)
        except (PydanticUserError, pydantic.errors.PydanticUndefinedAnnotation, TypeError) as error:
            raise ConfigurationError(
                f"{what} is annotated with {_type_name(annotation)}, which can't be made from JSON: "
                f"{sentence(str(error).splitlines()[0][:_MAX_LENGTH])}",
                hint="Annotate a column with list[float], np.ndarray or pd.Series; a parameter with a type that "
                "pydantic knows, such as float, str, Literal or a dataclass; all features with pd.DataFrame.",
            ) from None

    def convert(self, value: Any, describe: Callable[[tuple[Any, ...]], str], kind: type[CallbackSDKError]) -> Any:
        """Return a converted value.

        Args:
            value: A value of JSON or of a column.
            describe: Returns the place of a problem by its path in the value.
            kind: Class of the error.

        Raises:
            CallbackSDKError: The value can't be converted; the message names the places.
        """
        try:
            return self.adapter.validate_python(value)
        except pydantic.ValidationError as error:
            found = error.errors(include_url=False, include_input=False, include_context=False)[:_MAX_PROBLEMS]
            problems = [f"{describe(one['loc'])}: {sentence(one['msg'][:_MAX_LENGTH])}" for one in found]
        raise kind(
            f"The values don't match the algorithm's signature. {' '.join(problems)}",
            hint="`callback-sdk algorithms NAME --template input` prints features, `--template parameters` parameters.",
        )


class _Schemas(GenerateJsonSchema):
    def decimal_schema(self, schema: Any) -> dict[str, Any]:
        # Pydantic's pattern has look-ahead, which can't be matched in linear time.
        return {"anyOf": [{"type": "number"}, {"type": "string"}]}

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schemas(converters: Mapping[str, Converter]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the JSON Schemas of values by name, and the definitions to which they refer.

    Raises:
        ConfigurationError: A type has no JSON Schema.
    """
    mode: JsonSchemaMode = "validation"
    try:
        found, shared = pydantic.TypeAdapter.json_schemas(
            [(name, mode, one.adapter) for name, one in converters.items()], schema_generator=_Schemas
        )
    except PydanticUserError as error:
        raise ConfigurationError(
            f"An annotation of {', '.join(converters)} has no JSON Schema: {str(error).splitlines()[0][:_MAX_LENGTH]}",
            hint="Annotate types that JSON can represent, or declare the schema with features= or parameters=.",
        ) from None
    return {name: schema for (name, _), schema in found.items()}, shared.get("$defs", {})


def of_items(kind: Annotation) -> Any:
    """Return the type of a list whose items are those of a column."""
    item = (*get_args(kind.base), Any)[0]
    # Stops at the first misfit: a column may have millions of them.
    return _annotate(list[item], (pydantic.FailFast(), *kind.metadata))  # type: ignore[valid-type]


def numpy_type(kind: Annotation, what: str) -> Any:
    """Return the `numpy.dtype` of an annotated array; None if it may have any.

    Raises:
        ConfigurationError: A column can't have this type.
    """
    import numpy as np

    found = [scalar for one in get_args(kind.base) for scalar in get_args(one) if isinstance(scalar, type)]
    concrete = [scalar for scalar in found if issubclass(scalar, np.generic) and not _is_abstract(scalar)]
    if not concrete:
        return None
    dtype = np.dtype(concrete[0])
    if dtype.kind not in _NUMPY_SCHEMAS:
        raise ConfigurationError(
            f"{what} is annotated with an array of {dtype}, which no column of features can have.",
            hint="Annotate an array of floats, integers, booleans, strings or datetime64.",
        )
    return dtype


def numpy_schema(dtype: Any) -> Mapping[str, Any]:
    """Return the JSON Schema of the values of an array; any values if the type is None."""
    return {} if dtype is None else _NUMPY_SCHEMAS[dtype.kind]


def to_numpy(column: Any, dtype: Any) -> Any:
    """Convert a column, a list or an Arrow array, to an array. Missing numbers are NaN.

    Raises:
        FeaturesError: The values can't be converted without loss.
    """
    array = _array(column, dtype) if isinstance(column, list) else column.to_numpy()
    if dtype is None or array.dtype == dtype:
        return array
    try:
        # Between floats rounding is intended, and integers must stay what they are.
        converted = array.astype(
            dtype, casting="unsafe" if dtype.kind in "iu" and array.dtype.kind in "iuf" else "same_kind"
        )
        is_equal = dtype.kind not in "iu" or bool((converted == array).all())
    except (TypeError, ValueError, OverflowError):
        is_equal = False
    if not is_equal:
        raise FeaturesError(
            f"The values can't be converted to {dtype} without loss.", hint="Send values of this type, all of them."
        )
    return converted


def _array(values: list[Any], dtype: Any) -> Any:
    import numpy as np

    kinds = set(map(type, values))
    if dtype is not None and dtype.kind == "M":
        return np.array([_utc(one) for one in _DATETIMES.validate_python(values)], dtype="datetime64[us]")
    if kinds <= {int, float, type(None)}:
        return np.array(values, dtype=float if kinds & {float, type(None)} or not kinds else None)
    return np.array(values, dtype=bool if kinds == {bool} else object)


_DATETIMES: pydantic.TypeAdapter[list[datetime | None]] = pydantic.TypeAdapter(list[datetime | None])


def _utc(moment: datetime | None) -> datetime | None:
    # datetime64 has no time zone.
    return moment if moment is None or moment.tzinfo is None else moment.astimezone(timezone.utc).replace(tzinfo=None)


def _annotate(kind: Any, metadata: Iterable[Any]) -> Any:
    return functools.reduce(lambda inner, one: Annotated[inner, one], metadata, kind)


def _is_abstract(scalar: type) -> bool:
    return scalar.__name__ in (
        "generic",
        "number",
        "inexact",
        "floating",
        "integer",
        "signedinteger",
        "unsignedinteger",
    )


def _type_name(annotation: Any) -> str:
    found = Annotation.of(annotation).base
    return found.__qualname__ if isinstance(found, type) and not get_args(found) else str(found)[:_MAX_LENGTH]

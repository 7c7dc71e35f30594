"""JSON Schemas of features and parameters from the arguments of a typed signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import PydanticSerializationError, to_jsonable_python

from callback_sdk.service.algorithms.annotation import Converter, schemas
from callback_sdk.service.algorithms.argument_defaults import Default
from callback_sdk.service.algorithms.arguments import (
    Argument,
    ColumnArgument,
    OptionsArgument,
    ParameterArgument,
    WholeArgument,
)

_DESCRIPTIONS = ("title", "description", "examples", "deprecated")
"""Members of the schema of a list that describe its column."""


def of(arguments: Sequence[Argument], *, takes_rest: bool) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Return the schemas of one record of the features and of the parameters; None where nothing is known.

    Args:
        arguments: The arguments.
        takes_rest: Whether further parameters are accepted.

    Raises:
        ConfigurationError: A type has no JSON Schema.
    """
    found, shared = schemas(_converters(arguments))
    columns = {one.column: one for one in arguments if isinstance(one, ColumnArgument)}
    parameters = {one.parameter: one for one in arguments if isinstance(one, ParameterArgument)}
    options = [found[one.name] for one in arguments if isinstance(one, OptionsArgument)]
    is_open = takes_rest or any(isinstance(one, WholeArgument) and one.source == "parameters" for one in arguments)
    features = None
    if columns:
        features = _object({name: _item(one, found) for name, one in columns.items()}, columns, shared)
    if options:
        return features, {**options[0], "$defs": shared}
    if is_open and not parameters:
        return features, None
    shown = {name: found[one.name] | _default(one.default) for name, one in parameters.items()}
    return features, _object(shown, parameters, shared) | {"additionalProperties": is_open}


def _converters(arguments: Sequence[Argument]) -> dict[str, Converter]:
    converters = {}
    for one in arguments:
        converter = one.item if isinstance(one, ColumnArgument) else getattr(one, "converter", None)
        if isinstance(converter, Converter):
            converters[one.name] = converter
    return converters


def _item(column: ColumnArgument, found: Mapping[str, Any]) -> Any:
    if not isinstance(column.item, Converter):
        return dict(column.item)
    whole = found[column.name]
    return {**whole.get("items", {}), **{name: whole[name] for name in _DESCRIPTIONS if name in whole}}


def _default(default: Default) -> dict[str, Any]:
    try:
        return {} if default.make is None else {"default": to_jsonable_python(default.make())}
    except PydanticSerializationError:
        return {}


def _object(
    properties: dict[str, Any], of_names: Mapping[str, ColumnArgument | ParameterArgument], shared: Mapping[str, Any]
) -> dict[str, Any]:
    required = [name for name, one in of_names.items() if one.default.is_required]
    return {"type": "object", "properties": properties, "required": required, **({"$defs": shared} if shared else {})}

"""Validation by JSON Schemas (draft 2020-12) in linear time.

The algorithm's author writes the schema, but the values are untrusted. In jsonschema's own validator, a pattern such as
`(a+)+$` backtracks exponentially, `uniqueItems` compares all pairs, and a schema that refers to itself twice doubles
the work with each level of nesting. Here RE2 matches the patterns, unique items are compared by hashable keys, and the
number of followed references is bounded.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Hashable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from attrs import define, field

from callback_sdk.errors import MissingExtraError

_FEW_REFERENCES = 10_000
_REFERENCES = 5
"""Maximum references followed in the validation of one document: a constant, and a number per value in it."""

# Keywords that contain schemas: directly, by name, or in a list.
_SCHEMAS_BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTS_OF_SCHEMAS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SCHEMAS = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")

_UNEVALUATED = ("unevaluatedProperties", "unevaluatedItems")


class SchemaProblemError(ValueError):
    """A schema can't be used; the message gives the reason and an alternative."""


class TooComplexError(Exception):
    """The validation of a value follows too many references, or the value is nested too deeply."""


@define
class Schema:
    """A schema that validates values.

    Attributes:
        schema: The JSON Schema, accepted by `check_schema`.
    """

    schema: Mapping[str, Any] = field(repr=False)
    # The values of each `enum` as a set, by the list's id(). The ids stay valid because the schema refers to the lists.
    enums: dict[int, frozenset[Hashable]] = field(factory=dict, init=False, repr=False)
    references: int = field(default=0, init=False)

    def problems(self, value: Any, max_errors: int) -> list[Any]:
        """Return the errors of a value, as `jsonschema.ValidationError`.

        Args:
            value: A decoded JSON value.
            max_errors: Maximum number of errors.

        Raises:
            TooComplexError: The validation follows too many references, or the value is nested too deeply.
        """
        self.references = _FEW_REFERENCES + _REFERENCES * _size(value)
        token = _current.set(self)
        try:
            return [*itertools.islice(_validator(self.schema).iter_errors(value), max_errors)]
        except RecursionError:
            pass
        finally:
            _current.reset(token)
        raise TooComplexError

    def is_in(self, value: Any, enum: list[Any]) -> bool:
        """Return whether `enum`, a list in this schema, contains a value."""
        keys = self.enums.get(id(enum))
        if keys is None:
            keys = self.enums[id(enum)] = frozenset(map(_key, enum))
        return _key(value) in keys

    def refer(self) -> None:
        """Count a followed reference.

        Raises:
            TooComplexError: Too many references were followed.
        """
        self.references -= 1
        if self.references < 0:
            raise TooComplexError


_current: ContextVar[Schema] = ContextVar("schema")


def check_schema(schema: Mapping[str, Any]) -> None:
    """Check that a schema is valid and can be validated in linear time.

    Raises:
        SchemaProblemError: The schema is invalid, or has a keyword that can't be validated in linear time.
    """
    from jsonschema.exceptions import SchemaError
    from referencing.exceptions import Unresolvable

    try:
        # Formats are not checked: the format "regex" of jsonschema means Python's syntax, not RE2's.
        _validator_class().check_schema(schema, format_checker=None)
    except SchemaError as error:
        raise SchemaProblemError(f"it is not a valid JSON Schema: {error.message[:200]}") from None
    resolver = _registry().resolver_with_root(_resource(schema))
    has_ids = False
    for part in _parts(schema):
        for pattern in (*filter(None, [part.get("pattern")]), *part.get("patternProperties", ())):
            _compile(pattern)
        for keyword in _UNEVALUATED:
            if keyword in part:
                raise SchemaProblemError(f"it has {keyword}, which takes quadratic time; use additionalProperties")
        has_ids = has_ids or (part is not schema and "$id" in part)
        if "$ref" in part and not has_ids:
            try:
                resolver.lookup(part["$ref"])
            except Unresolvable:
                raise SchemaProblemError(
                    f"it refers to {part['$ref'][:200]!r}, which it doesn't contain; add that schema under $defs"
                ) from None


def _parts(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Yield a schema and all its subschemas."""
    left = [schema]
    while left:
        part = left.pop()
        if not isinstance(part, Mapping):
            continue
        yield part
        left += [one for name in _SCHEMAS_BY_NAME for one in part.get(name, {}).values()]
        left += [one for name in _LISTS_OF_SCHEMAS for one in part.get(name, ())]
        left += [part[name] for name in _SCHEMAS if name in part]


def _size(value: Any) -> int:
    """Return the number of values in a JSON document, containers included."""
    count, left = 0, [value]
    while left:
        one = left.pop()
        count += 1
        if isinstance(one, dict):
            left += one.values()
        elif isinstance(one, list):
            left += one
    return count


def _key(value: Any) -> Hashable:
    """Return a key that is equal for values equal in JSON: 1 equals 1.0, but not true (JSON Schema Core, 4.2.2)."""
    if isinstance(value, bool) or value is None:
        return ("constant", value)
    if isinstance(value, list):
        return ("list", *map(_key, value))
    if isinstance(value, dict):
        return ("object", frozenset((name, _key(one)) for name, one in value.items()))
    return ("text" if isinstance(value, str) else "number", value)


def _validator(schema: Mapping[str, Any]) -> Any:
    # With an empty registry: the default one of jsonschema fetches unknown references over HTTP.
    return _validator_class()(schema, registry=_registry())


@functools.cache
def _validator_class() -> Any:
    try:
        from jsonschema import Draft202012Validator
        from jsonschema.validators import extend
    except ImportError:
        raise MissingExtraError("jsonschema", extra="service") from None
    known = Draft202012Validator.VALIDATORS
    own = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": functools.partial(_additional_properties, known["additionalProperties"]),
        "uniqueItems": _unique_items,
        "enum": _enum,
        "$ref": functools.partial(_count_reference, known["$ref"]),
        "$dynamicRef": functools.partial(_count_reference, known["$dynamicRef"]),
    }
    return extend(Draft202012Validator, validators=own)  # type: ignore[no-untyped-call]


@functools.cache
def _registry() -> Any:
    from referencing import Registry

    return Registry()


def _resource(schema: Mapping[str, Any]) -> Any:
    from referencing.jsonschema import DRAFT202012

    return DRAFT202012.create_resource(schema)


def _error(text: str) -> Any:
    from jsonschema.exceptions import ValidationError

    return ValidationError(text)


def _pattern(validator: Any, pattern: str, instance: Any, _: Any) -> Iterator[Any]:
    if validator.is_type(instance, "string") and not _matches(pattern, instance):
        yield _error(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Mapping[str, Any], instance: Any, _: Any) -> Iterator[Any]:
    if validator.is_type(instance, "object"):
        for pattern, schema in patterns.items():
            for name, value in instance.items():
                if _matches(pattern, name):
                    yield from validator.descend(value, schema, path=name, schema_path=pattern)


def _additional_properties(original: Any, validator: Any, rest: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if "patternProperties" in schema and validator.is_type(instance, "object"):
        patterns = schema["patternProperties"]
        instance = {name: one for name, one in instance.items() if not any(_matches(each, name) for each in patterns)}
        schema = {name: one for name, one in schema.items() if name != "patternProperties"}
    yield from original(validator, rest, instance, schema)


def _unique_items(validator: Any, unique: bool, instance: Any, _: Any) -> Iterator[Any]:
    if unique and validator.is_type(instance, "array") and len({_key(item) for item in instance}) < len(instance):
        yield _error(f"{instance!r} has non-unique elements")


def _enum(_: Any, enum: list[Any], instance: Any, __: Any) -> Iterator[Any]:
    if not _current.get().is_in(instance, enum):
        yield _error(f"{instance!r} is not one of {enum!r}")


def _count_reference(original: Any, validator: Any, reference: Any, instance: Any, schema: Any) -> Iterator[Any]:
    _current.get().refer()
    yield from original(validator, reference, instance, schema)


def _matches(pattern: str, text: str) -> bool:
    try:
        return bool(_compile(pattern).search(text))
    except UnicodeEncodeError:
        # A lone surrogate can't be encoded in UTF-8, which RE2 needs.
        return bool(_compile(pattern).search(text.encode("utf-8", "replace").decode()))


@functools.lru_cache(maxsize=1024)
def _compile(pattern: str) -> Any:
    """Compile a pattern.

    Raises:
        SchemaProblemError: RE2 rejects the pattern.
    """
    try:
        import re2
    except ImportError:
        raise MissingExtraError("google-re2", extra="service") from None
    options = re2.Options()
    options.log_errors = False
    # ECMA-262 writes a character's code as \uXXXX, RE2 as \x{XXXX}. After an even number of backslashes, "u" is a
    # plain letter.
    text = re.sub(r"(\\\\)|\\u([0-9a-fA-F]{4})", lambda found: found[1] or rf"\x{{{found[2]}}}", pattern)
    try:
        return re2.compile(text, options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
    raise SchemaProblemError(
        f"its pattern {pattern[:200]!r} can't be matched in linear time ({reason[:100]}): remove look-around, "
        "back references and repetitions above 1000 (use maxLength)"
    )

"""Defaults of arguments: plain values, `pydantic.Field(...)`, and the `Input(...)` of Cog's predictors."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal

import pydantic
from attrs import define, field
from pydantic.fields import FieldInfo

from callback_sdk.service.algorithms.annotation import Annotation


@define(frozen=True, kw_only=True)
class Default:
    """What applies if an argument is not given.

    Attributes:
        is_pythons: Whether the argument is left out, so that Python's default applies.
        make: Makes the value; None if the argument is required.
        metadata: Description and constraints of the argument, as metadata of `Annotated`.
        choices: The type that replaces the annotation; None to keep it.
    """

    is_pythons: bool = False
    make: Callable[[], Any] | None = field(default=None, repr=False)
    metadata: tuple[Any, ...] = ()
    choices: Any = None

    @classmethod
    def of(cls, value: Any, annotation: Annotation) -> Default:
        """Return the meaning of a default.

        Args:
            value: The default in the signature; `inspect.Parameter.empty` for none.
            annotation: The argument's annotation.
        """
        if isinstance(value, FieldInfo):
            return cls(make=_made(value), metadata=(value,))
        if type(value).__name__ == "FieldInfo" and type(value).__module__.partition(".")[0] == "cog":
            return _of_cog(value, annotation)
        if value is inspect.Parameter.empty:
            return cls(make=None if annotation.field is None else _made(annotation.field))
        return cls(is_pythons=True, make=lambda: value)

    @property
    def is_required(self) -> bool:
        """Whether the argument must be given."""
        return self.make is None


def _made(info: FieldInfo) -> Callable[[], Any] | None:
    return None if info.is_required() else lambda: info.get_default(call_default_factory=True, validated_data={})


def _of_cog(value: Any, annotation: Annotation) -> Default:
    # Cog writes None for "no default"; such an argument is required unless it is optional.
    default = ... if value.default is None and not annotation.optional else value.default
    info = pydantic.Field(
        default,
        description=value.description,
        ge=value.ge,
        le=value.le,
        min_length=value.min_length,
        max_length=value.max_length,
        pattern=value.regex,
    )
    return Default(
        make=None if default is ... else lambda: default,
        metadata=(info,),
        choices=Literal[tuple(value.choices)] if value.choices else None,
    )

"""Signature: which arguments a registered function is called with."""

from __future__ import annotations

import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define, field

from callback_sdk.errors import ConfigurationError

if TYPE_CHECKING:
    from callback_sdk.service.algorithms.arguments import Argument

INPUTS = ("features", "parameters", "context")
"""Arguments of an algorithm or a training that is called by position."""

JUDGED = ("features", "parameters", "predictions", "context")
"""Arguments of an evaluation or a monitor that is called by position."""

_EMPTY = inspect.Parameter.empty
_OPEN = (_EMPTY, Any, object)
_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

_FORMS = (
    "Write def f(features, parameters, context), or annotate each argument: a column as list[float] or np.ndarray, "
    "a parameter as float, str or another type."
)


@define(frozen=True, kw_only=True)
class Signature:
    """How a function is called.

    Attributes:
        names: Names of the inputs that it may be called with.
        arguments: Its arguments; None for a function that is called with all inputs by position.
        by_position: How many of the arguments are given by position.
        takes_rest: Whether it takes further parameters as `**parameters`.
    """

    names: tuple[str, ...]
    arguments: tuple[Argument, ...] | None = field(default=None, repr=False)
    by_position: int = 0
    takes_rest: bool = False

    @classmethod
    def of(cls, function: Callable[..., Any], names: tuple[str, ...], names_of_types: Mapping[str, Any]) -> Signature:
        """Read the signature of a function.

        Args:
            function: A function, a bound method or another callable.
            names: Names of the inputs, in the order of a call by position.
            names_of_types: Names of types, in addition to those of the function's module.

        Raises:
            ConfigurationError: It can't be called with these inputs; the hint says how to write it.
        """
        try:
            declared = tuple(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):
            # Functions of C, some of which have no signature.
            return cls(names=names)
        declared = tuple(_resolve_types(function, declared, names_of_types))
        if _takes_inputs(declared, names):
            return cls(names=names)
        return _typed_signature(function, declared, names)

    def bind(self, values: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return the arguments of one call, by position and by name.

        Args:
            values: The inputs, by name.

        Raises:
            FeaturesError: A column is missing, or doesn't have the annotated type.
            ParametersError: A parameter is missing, or doesn't have the annotated type.
        """
        if self.arguments is None:
            return [values[name] for name in self.names], {}
        from callback_sdk.service.algorithms.arguments import Inputs

        inputs = Inputs(values)
        given = {one.name: one.read(inputs) for one in self.arguments if one.is_given(inputs)}
        first = [one.name for one in self.arguments[: self.by_position] if one.name in given]
        rest = {}
        if self.takes_rest:
            known = {getattr(one, "parameter", "") for one in self.arguments}
            rest = {name: value for name, value in inputs.parameters.items() if name not in known}
        return [given.pop(name) for name in first], {**rest, **given}

    def schemas(self) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """Return the JSON Schemas of one record of the features and of the parameters; None where nothing is known."""
        if self.arguments is None:
            return None, None
        from callback_sdk.service.algorithms import argument_schemas

        return argument_schemas.of(self.arguments, takes_rest=self.takes_rest)


def caller_names() -> Mapping[str, Any]:
    """Return the local names where an algorithm is registered, to which annotations may refer."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__")).startswith(__package__ or ""):
        frame = frame.f_back
    # The names of a module are known from the function itself.
    return {} if frame is None or frame.f_locals is frame.f_globals else dict(frame.f_locals)


def name_of(function: Callable[..., Any]) -> str:
    """Return the name of a function in an error."""
    return getattr(function, "__qualname__", None) or type(function).__qualname__


def _resolve_types(
    function: Callable[..., Any], declared: Sequence[inspect.Parameter], names_of_types: Mapping[str, Any]
) -> Iterator[inspect.Parameter]:
    """Yield parameters with types in place of the names of types (PEP 563); a name that is unknown stays."""
    inner = _unwrap(function)
    known = getattr(inner, "__globals__", {})
    for one in declared:
        # Each by itself: a type that is imported for type checkers only doesn't matter if the name says enough.
        holder = types.SimpleNamespace(__annotations__={one.name: one.annotation})
        try:
            found = one.annotation if one.annotation is _EMPTY else _hints(holder, known, names_of_types)[one.name]
        except Exception:  # noqa: BLE001 - an annotation is evaluated, and may raise anything
            found = one.annotation
        yield one.replace(annotation=found)


def _hints(holder: Any, known: dict[str, Any], local: Mapping[str, Any]) -> dict[str, Any]:
    return typing.get_type_hints(holder, known, dict(local), include_extras=True)


def _unwrap(function: Callable[..., Any]) -> Any:
    """Return the function in whose module annotations were written."""
    inner: Any = function
    while True:
        if isinstance(inner, functools.partial):
            inner = inner.func
        elif inspect.ismethod(inner):
            inner = inner.__func__
        elif hasattr(inner, "__wrapped__"):
            inner = inner.__wrapped__
        elif not hasattr(inner, "__globals__") and hasattr(type(inner).__call__, "__globals__"):
            inner = type(inner).__call__
        else:
            return inner


def _takes_inputs(declared: Sequence[inspect.Parameter], names: tuple[str, ...]) -> bool:
    """Return whether a function is called with all inputs by position, as most unannotated functions."""
    places = [one for one in declared if one.kind in _BY_POSITION]
    has_rest = any(one.kind is inspect.Parameter.VAR_POSITIONAL and one.annotation in _OPEN for one in declared)
    needed = [one for one in declared if one.default is _EMPTY and one.kind is inspect.Parameter.KEYWORD_ONLY]
    required = [one for one in places if one.default is _EMPTY]
    if needed or len(required) > len(names) or (len(places) < len(names) and not has_rest):
        return False
    return all(_may_be(one.annotation, name) for one, name in zip(places, names, strict=False))


def _may_be(annotation: Any, name: str) -> bool:
    if name == "predictions" or annotation in _OPEN:
        return True
    if isinstance(annotation, str):
        # Not imported at run time.
        return annotation.rpartition(".")[2].partition("[")[0] in ("Features", "JobContext")
    from callback_sdk.service.algorithms.context import JobContext
    from callback_sdk.service.algorithms.features import Features

    kind = typing.get_origin(annotation) or annotation
    return kind in {"features": (Features,), "parameters": (dict, Mapping), "context": (JobContext,)}[name]


def _typed_signature(
    function: Callable[..., Any], declared: Sequence[inspect.Parameter], names: tuple[str, ...]
) -> Signature:
    arguments = []
    for one in declared:
        what = f"Argument {one.name!r} of {name_of(function)!r}"
        if one.kind is inspect.Parameter.VAR_POSITIONAL:
            raise ConfigurationError(f"{what} takes any number of values.", hint=_FORMS)
        if one.kind is not inspect.Parameter.VAR_KEYWORD:
            arguments.append(_argument(one, names, what))
    return Signature(
        names=names,
        arguments=tuple(arguments),
        by_position=sum(one.kind is inspect.Parameter.POSITIONAL_ONLY for one in declared),
        takes_rest=any(one.kind is inspect.Parameter.VAR_KEYWORD for one in declared),
    )


def _argument(parameter: inspect.Parameter, names: tuple[str, ...], what: str) -> Argument:
    from callback_sdk.service.algorithms import arguments as kinds

    name, annotation = parameter.name, parameter.annotation
    if name in names:
        whole = _whole(name, annotation, what)
        if whole is not None:
            return whole
    if name in ("self", "cls"):
        raise ConfigurationError(
            f"{what} is the object of a method, and no object was registered.",
            hint="Register the class, if it has a method predict, or the method of an object: "
            "registry.algorithm(name)(Model().forecast).",
        )
    if annotation is _EMPTY and parameter.default is _EMPTY:
        raise ConfigurationError(f"{what} has no annotation.", hint=_FORMS)
    if isinstance(annotation, str):
        raise ConfigurationError(
            f"{what} is annotated with {annotation[:200]!r}, which is not defined where the algorithm is registered.",
            hint="Define it before the function, and import it outside of `if TYPE_CHECKING:`.",
        )
    return kinds.argument(name, Any if annotation is _EMPTY else annotation, parameter.default, what)


def _whole(name: str, annotation: Any, what: str) -> Argument | None:
    """Return the argument for a name that stands for an input as a whole; None if the annotation says otherwise."""
    from callback_sdk.service.algorithms import arguments as kinds
    from callback_sdk.service.algorithms.annotation import Converter

    if _may_be_whole(name, annotation):
        return kinds.WholeArgument(name=name, source=name)
    return kinds.OptionsArgument(name=name, converter=Converter(annotation, what)) if name == "parameters" else None


def _may_be_whole(name: str, annotation: Any) -> bool:
    return name == "context" or _may_be(annotation, name)

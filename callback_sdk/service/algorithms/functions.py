"""Functions of a registered algorithm: functions, methods, and classes with `setup` and `predict`."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, evolve, field

from callback_sdk.errors import ConfigurationError
from callback_sdk.models import Progress
from callback_sdk.service.algorithms.completion import complete
from callback_sdk.service.algorithms.context import JobContext
from callback_sdk.service.algorithms.setup import check_setup
from callback_sdk.service.algorithms.signature import INPUTS, Signature, name_of

_METHODS = ("predict", "run")
"""Methods of a class that compute; `run` is the name in newer versions of Cog."""

_HINT = "Register a function, a method of an object, or a class with a method predict and no arguments of its own."


class Predictor:
    """A class with `predict` and perhaps `setup`, of which each worker process makes one object.

    Args:
        registered: The class, or an object of one.

    Raises:
        ConfigurationError: It has no method `predict`, or can't be created or set up without arguments.
    """

    def __init__(self, registered: Any) -> None:
        self._registered = registered
        self._class: type[Any] = registered if isinstance(registered, type) else type(registered)
        self.method = next((name for name in _METHODS if _defines(self._class, name)), "")
        self._object: Any = None
        if not self.method:
            raise ConfigurationError(f"{name_of(registered)!r} has no method predict.", hint=_HINT)
        if isinstance(registered, type):
            check_setup(registered, f"The class {name_of(registered)!r}")
        if hasattr(self._class, "setup"):
            check_setup(_bound(self._class, "setup"), f"The method {name_of(registered)}.setup")

    def unbound(self) -> Callable[..., Any]:
        """Return the method with the arguments of its callers, for its signature only."""
        return _bound(self._class, self.method)

    def set_up(self) -> None:
        """Create this process's object, and call its `setup`."""
        created = self._registered() if isinstance(self._registered, type) else self._registered
        if hasattr(created, "setup"):
            complete(created.setup(), lambda _: None)
        self._object = created

    def bound(self) -> Callable[..., Any]:
        """Return the method of this process's object, which is set up before the first call."""
        if self._object is None:
            self.set_up()
        function: Callable[..., Any] = getattr(self._object, self.method)
        return function


@define(frozen=True, kw_only=True)
class RegisteredFunction:
    """A function, with the arguments that it is called with.

    Attributes:
        find: Returns the function to call.
        signature: Its arguments.
        set_up: Prepares the object of a class; None for a function.
    """

    find: Callable[[], Callable[..., Any]] = field(repr=False)
    signature: Signature
    set_up: Callable[[], None] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, registered: Any, names: tuple[str, ...], names_of_types: Mapping[str, Any]) -> RegisteredFunction:
        """Check what was registered.

        Args:
            registered: A callable; for an algorithm also a class, or an object with `predict`.
            names: Names of the inputs.
            names_of_types: Names of types to which annotations may refer.

        Raises:
            ConfigurationError: It can't be called with these inputs; the hint says how to write it.
        """
        if names == INPUTS and (isinstance(registered, type) or not callable(registered)):
            predictor = Predictor(registered)
            known = {**names_of_types, **vars(type(registered) if not isinstance(registered, type) else registered)}
            signature = Signature.of(predictor.unbound(), names, known)
            return cls(find=predictor.bound, signature=signature, set_up=predictor.set_up)
        if not callable(registered):
            raise ConfigurationError(f"{registered!r:.200} can't be called.", hint=_HINT)
        return cls(find=lambda: registered, signature=Signature.of(registered, names, names_of_types))

    def call(self, values: Mapping[str, Any]) -> Any:
        """Call the function, and return its value when it is complete.

        Args:
            values: The inputs, by name.

        Raises:
            FeaturesError: A column is missing, or doesn't have the annotated type.
            ParametersError: A parameter is missing, or doesn't have the annotated type.
        """
        context: JobContext = values["context"]
        function = self.find()
        args, kwargs = self.signature.bind(values)

        def report(progress: Progress) -> None:
            context.report_progress(progress.fraction, progress.message)

        return complete(function(*args, **kwargs), report)


@define(frozen=True, kw_only=True)
class AlgorithmFunctions:
    """The functions of one version of an algorithm.

    Attributes:
        predict: The algorithm.
        fit: The training; None if the algorithm can't be trained.
        evaluations: Functions that evaluate predictions, by name.
        monitors: Functions that monitor predictions, by name.
    """

    predict: RegisteredFunction
    fit: RegisteredFunction | None = None
    evaluations: Mapping[str, RegisteredFunction] = field(factory=dict)
    monitors: Mapping[str, RegisteredFunction] = field(factory=dict)

    def with_hook(self, kind: str, name: str, function: RegisteredFunction) -> AlgorithmFunctions:
        """Return these functions and one more.

        Args:
            kind: `"evaluations"` or `"monitors"`.
            name: Name of the function.
            function: The function.
        """
        known: Mapping[str, RegisteredFunction] = getattr(self, kind)
        changes: dict[str, Any] = {kind: {**known, name: function}}
        return evolve(self, **changes)


def _defines(kind: type[Any], name: str) -> bool:
    """Return whether a class defines a method; those of Cog's base classes only call each other."""
    return any(name in vars(one) and one.__module__.partition(".")[0] != "cog" for one in kind.__mro__)


def _bound(kind: type[Any], name: str) -> Callable[..., Any]:
    raw = inspect.getattr_static(kind, name)
    found: Callable[..., Any] = getattr(kind, name)
    # Any object will do: the signature of a bound method is without its first argument.
    return found if isinstance(raw, (staticmethod, classmethod)) else types.MethodType(found, kind)

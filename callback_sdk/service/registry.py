"""What can be run: a registry of algorithms by name and version, and how it is found by its own name."""

from __future__ import annotations

import difflib
import importlib
import re
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define

from callback_sdk.errors import ConfigurationError, UnknownAlgorithmError

if TYPE_CHECKING:
    from callback_sdk.service.context import Context
    from callback_sdk.service.features import Features

Function = Callable[["Features", "dict[str, Any]", "Context"], Any]
F = TypeVar("F", bound=Callable[..., Any])

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@define(frozen=True, kw_only=True)
class Algorithm:
    """One version of an algorithm.

    Attributes:
        name: Its id in the REST API.
        version: Which version of it.
        timeout: How long one run may take.
        description: What it does, for people.
        function: Called with features, parameters and context.
    """

    name: str
    version: str
    timeout: timedelta
    description: str
    function: Function


class Registry:
    """Algorithms by name and version.

    Example:
        registry = Registry()

        @registry.algorithm("thermal-fatigue", version="1.0.0", timeout=timedelta(minutes=10))
        def thermal_fatigue(features, parameters, context):
            return {"predictions": ...}
    """

    def __init__(self) -> None:
        self._algorithms: dict[str, dict[str, Algorithm]] = {}

    def algorithm(
        self,
        name: str,
        *,
        version: str = "1.0.0",
        timeout: timedelta = timedelta(minutes=10),
        description: str | None = None,
    ) -> Callable[[F], F]:
        """Register the function below under a name.

        Args:
            name: Its id in the REST API: letters, digits, `.`, `_` and `-`.
            version: Who asks for no version gets the one that was registered last.
            timeout: How long one run may take; then its process is killed and the task has failed.
            description: What it does; the first line of the docstring when not given.

        Raises:
            ConfigurationError: The name can't be part of a URL, or is taken, or the time-out is not positive.
        """
        _check(name, version, timeout)

        def register(function: F) -> F:
            versions = self._algorithms.setdefault(name, {})
            if version in versions:
                raise ConfigurationError(
                    f"Algorithm {name!r} has its version {version!r} already.",
                    hint="Give the new one another version.",
                )
            lines = (function.__doc__ or "").strip().splitlines()
            text = description if description is not None else (lines[0] if lines else "")
            versions[version] = Algorithm(
                name=name, version=version, timeout=timeout, description=text, function=function
            )
            return function

        return register

    def __iter__(self) -> Iterator[str]:
        return iter(self._algorithms)

    def __len__(self) -> int:
        return len(self._algorithms)

    def __repr__(self) -> str:
        return f"Registry({', '.join(self._algorithms)})"

    def versions(self, name: str) -> tuple[Algorithm, ...]:
        """Return all versions of an algorithm, in the order of registration.

        Raises:
            UnknownAlgorithmError: There is none of this name; the text names similar ones.
        """
        try:
            return tuple(self._algorithms[name].values())
        except KeyError:
            raise _unknown("algorithm", name, self._algorithms) from None

    def get(self, name: str, version: str | None = None) -> Algorithm:
        """Return one version of an algorithm, the one registered last when none is named.

        Raises:
            UnknownAlgorithmError: There is none; the text names similar ones.
        """
        versions = self.versions(name)
        if version is None:
            return versions[-1]
        for algorithm in versions:
            if algorithm.version == version:
                return algorithm
        raise _unknown(f"version of {name!r}", version, [algorithm.version for algorithm in versions])


def load(name: str) -> Registry:
    """Import a registry by the name of its module and of itself; the working directory is searched too.

    Args:
        name: Such as `"pkg.module:registry"`.

    Raises:
        ConfigurationError: There is no such module, or nothing of this name in it, or it is no registry.
    """
    module_name, colon, attribute = name.partition(":")
    if not (module_name and colon and attribute):
        raise ConfigurationError(
            f"{name!r} does not name a registry.",
            hint="Write module and variable with a colon: my_package.jobs:registry.",
        )
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise ConfigurationError(
                f"There is no module {error.name!r}, which {name!r} asks for.",
                hint="Check the spelling, and run the command in the folder that holds the module.",
            ) from None
        raise
    found = getattr(module, attribute, None)
    if found is None:
        raise ConfigurationError(
            f"Module {module_name!r} has no {attribute!r}.{_similar(attribute, list(vars(module)))}",
            hint="Name the variable that holds the Registry.",
        )
    if not isinstance(found, Registry):
        raise ConfigurationError(
            f"{name!r} is of type {type(found).__name__}.",
            hint="Name a variable that holds a callback_sdk.service.Registry.",
        )
    return found


def _check(name: str, version: str, timeout: timedelta) -> None:
    for what, text in (("name", name), ("version", version)):
        if not _NAME.fullmatch(text):
            raise ConfigurationError(
                f"{text!r} can't be an algorithm's {what}.",
                hint="Use letters, digits, '.', '_' and '-', at most 128.",
            )
    if name == "tasks":
        raise ConfigurationError("'tasks' can't be an algorithm's name.", hint="The REST API uses it; choose another.")
    if timeout <= timedelta(0):
        raise ConfigurationError(f"The time-out of {name!r} is not positive.", hint="Give a timedelta above zero.")


def _unknown(what: str, name: str, known: Any) -> UnknownAlgorithmError:
    names = list(known)
    hint = _similar(name, names).strip()
    if not hint:
        hint = f"There are: {', '.join(names[:20])}." if names else "Nothing is registered."
    return UnknownAlgorithmError(f"There is no {what} {name!r}.", hint=hint)


def _similar(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=3)
    return f" Did you mean {' or '.join(repr(match) for match in close)}?" if close else ""

"""Registry of algorithms by name and version, and its import by name."""

from __future__ import annotations

import difflib
import functools
import importlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from attrs import define, evolve, field

from callback_sdk.documents.decoding import decode
from callback_sdk.documents.values import encode
from callback_sdk.errors import ConfigurationError, EncodingError, UnknownAlgorithmError
from callback_sdk.parsing import Duration, to_timedelta
from callback_sdk.service.algorithms.input_schemas import (
    FeaturesSchema,
    ParametersSchema,
    declare_features,
    declare_parameters,
)
from callback_sdk.service.algorithms.schema_image import drawn
from callback_sdk.types import SupportsArrowSchema

if TYPE_CHECKING:
    from callback_sdk.service.algorithms.context import JobContext
    from callback_sdk.service.algorithms.features import Features

AlgorithmFunction = Callable[["Features", "dict[str, Any]", "JobContext"], Any]
"""An algorithm, or the training of one: called with features, parameters and context."""

EvaluationFunction = Callable[["Features", "dict[str, Any]", Any, "JobContext"], Any]
"""An evaluation or a monitor: called with features, parameters, predictions and context."""

A = TypeVar("A", bound=AlgorithmFunction)
E = TypeVar("E", bound=EvaluationFunction)
P = ParamSpec("P")
R = TypeVar("R")

TEMPLATES = ("input", "output", "parameters")
"""What a template may be of."""

SCHEMA = "schema"
"""The picture that is drawn of what an algorithm declares."""

_PNG = b"\x89PNG\r\n\x1a\n"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@define(frozen=True, kw_only=True)
class AlgorithmVersion:
    """One version of an algorithm.

    Attributes:
        name: Its id in the REST API.
        version: Which version of it.
        timeout: How long one run may take.
        memory_limit: Bytes of memory that one run may take, its own child processes included; None for the service's
            own limit, `math.inf` for none.
        description: What it does, for people.
        function: Called with features, parameters and context.
        fit: Called likewise to train it; None when it can't be trained.
        templates: Examples of what it takes and gives, by `"input"`, `"output"` and `"parameters"`.
        graphs: PNG pictures of it, by what they show; the first one is shown to who names none.
        features: What it declares of its features; None when nothing.
        parameters: What it declares of its parameters; None when nothing.
        evaluations: What judges its predictions, by name, when that is asked for.
        monitors: What watches them, likewise.
    """

    name: str
    version: str
    timeout: timedelta
    memory_limit: float | None = None
    description: str
    function: AlgorithmFunction
    fit: AlgorithmFunction | None = None
    templates: Mapping[str, Any] = field(factory=dict, repr=False)
    graphs: Mapping[str, Path] = field(factory=dict, repr=False)
    features: FeaturesSchema | None = None
    parameters: ParametersSchema | None = None
    evaluations: Mapping[str, EvaluationFunction] = field(factory=dict, repr=False)
    monitors: Mapping[str, EvaluationFunction] = field(factory=dict, repr=False)

    @property
    def graph_kinds(self) -> tuple[str, ...]:
        """What there are pictures of: those that were registered, and that of what it declares."""
        return (*self.graphs, SCHEMA) if self._is_declared and SCHEMA not in self.graphs else tuple(self.graphs)

    @property
    def _is_declared(self) -> bool:
        return self.features is not None or self.parameters is not None

    def template(self, kind: str) -> bytes | None:
        """Return the template of this kind as JSON, made from what is declared when none was registered."""
        if kind in self.templates:
            return encode(self.templates[kind]).data
        declared = {"input": self.features, "parameters": self.parameters}.get(kind)
        return None if declared is None else encode(declared.example()).data

    def graph(self, kind: str | None = None) -> bytes | None:
        """Return the picture of this kind as PNG, the first one when none is named; None when there is none.

        Raises:
            MissingExtraError: It is to be drawn, and Pillow is not installed.
        """
        wanted = next(iter(self.graph_kinds), "") if kind is None else kind
        if wanted in self.graphs:
            return self.graphs[wanted].read_bytes()
        if wanted not in self.graph_kinds:
            return None
        parts = {"Features": self.features, "Parameters": self.parameters}
        return drawn(
            f"{self.name} {self.version}", {name: part.columns() for name, part in parts.items() if part is not None}
        )


class RegisteredAlgorithm(Generic[P, R]):
    """An algorithm's function for its author: it is called as before, and takes what belongs to it.

    Args:
        function: The function itself.
        registry: Where it is registered.
        name: The algorithm's name.
        version: Which version of it.
    """

    def __init__(self, function: Callable[P, R], registry: Registry, name: str, version: str) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._registry = registry
        self._name = name
        self._version = version

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function."""
        return self._function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"Registered({self._name!r}, version={self._version!r})"

    def evaluation(self, name: str) -> Callable[[E], E]:
        """Register the function below to judge the predictions, when whoever submits a task asks for evaluations.

        It is called with features, parameters, predictions and context, and what it returns is
        `evaluations[name]` of the results. When it raises, that is `{"error": "..."}`: no predictions are lost by it.
        With `evaluate={"name": {...}}` only the named ones are called, with these options as
        `context.evaluation_options`.

        Raises:
            ConfigurationError: There is one of this name already.
        """
        return self._registry._add_hook(self._name, self._version, "evaluations", name)

    def monitor(self, name: str) -> Callable[[E], E]:
        """Register the function below to watch the predictions, unless whoever submits a task asks for no monitoring.

        It is called as an evaluation is, and what it returns is `monitors[name]` of the results.

        Raises:
            ConfigurationError: There is one of this name already.
        """
        return self._registry._add_hook(self._name, self._version, "monitors", name)

    def fit(self, function: A) -> A:
        """Register the function below to train the algorithm; see `Registry.fit`.

        Raises:
            ConfigurationError: It has such a function already.
        """
        return self._registry.fit(self._name, version=self._version)(function)


class Registry:
    """Algorithms by name and version.

    Example:
        ::

            registry = Registry()

            @registry.algorithm("thermal-fatigue", version="1.0.0", timeout=timedelta(minutes=10))
            def thermal_fatigue(features, parameters, context):
                return {"predictions": ...}
    """

    def __init__(self) -> None:
        self._algorithms: dict[str, dict[str, AlgorithmVersion]] = {}

    def algorithm(
        self,
        name: str,
        *,
        version: str = "1.0.0",
        timeout: Duration = timedelta(minutes=10),
        memory_limit: float | None = None,
        description: str | None = None,
        templates: Mapping[str, Any] | None = None,
        graphs: Mapping[str, Path | str] | None = None,
        features: Mapping[str, Any] | SupportsArrowSchema | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Callable[[Callable[P, R]], RegisteredAlgorithm[P, R]]:
        """Register the function below under a name. It can still be called as it is, and takes what belongs to it:

            @thermal_fatigue.evaluation("damage")
            def damage(features, parameters, predictions, context): ...

        Args:
            name: Its id in the REST API: letters, digits, `.`, `_` and `-`.
            version: Who asks for no version gets the one that was registered last.
            timeout: Maximum duration of one run, a `timedelta` or seconds; then its process is killed and the task
                fails.
            memory_limit: Bytes of memory that one run may take beyond what its process held before, its own child
                processes included; above that it is killed and the task has failed. Pages that forked processes share
                count once, and those of files not at all. The service's `--memory-limit` when None, no limit when
                `math.inf`.
            description: What it does; the first line of the docstring when not given.
            templates: Examples, as JSON has them, of what the algorithm takes and gives: by `"input"`, `"output"`
                and `"parameters"`.
            graphs: Paths of PNG pictures, by what they show; the first one is shown to who names none.
            features: What its features have to be: a JSON Schema of one record, which looks at each row, or an Arrow
                schema, which looks at whole columns and so is the one for large tables. Templates and a picture are
                made from it.
            parameters: A JSON Schema of its parameters.

        Raises:
            ConfigurationError: The name can't be part of a URL, or is taken, the time-out or the memory limit is not
                positive, a template is no JSON, a graph is no PNG file, or a schema is none.
        """
        _check(name, version, memory_limit)
        limit = to_timedelta(f"The timeout of {name!r}", timeout)
        table, settings = declare_features(name, features), declare_parameters(name, parameters)
        shown = _templates(name, templates or {})
        pictures = {kind: _graph(name, Path(path)) for kind, path in (graphs or {}).items()}

        def register(function: Callable[P, R]) -> RegisteredAlgorithm[P, R]:
            versions = self._algorithms.setdefault(name, {})
            if version in versions:
                raise ConfigurationError(
                    f"Algorithm {name!r} has its version {version!r} already.",
                    hint="Give the new one another version.",
                )
            lines = (function.__doc__ or "").strip().splitlines()
            text = description if description is not None else (lines[0] if lines else "")
            versions[version] = AlgorithmVersion(
                name=name,
                version=version,
                timeout=limit,
                memory_limit=memory_limit,
                description=text,
                function=cast("AlgorithmFunction", function),
                templates=shown,
                graphs=pictures,
                features=table,
                parameters=settings,
            )
            return RegisteredAlgorithm(function, self, name, version)

        return register

    def fit(self, name: str, *, version: str | None = None) -> Callable[[A], A]:
        """Register the function below to train an algorithm that is registered already.

        It is called like the algorithm itself, and what it returns is the task's result.

        Args:
            name: The algorithm's name.
            version: Which version of it; the one that was registered last when None.

        Raises:
            UnknownAlgorithmError: There is no such algorithm or version.
            ConfigurationError: It has such a function already.
        """
        algorithm = self.get(name, version)
        if algorithm.fit is not None:
            raise ConfigurationError(
                f"Version {algorithm.version!r} of {name!r} has a function that trains it already.",
                hint="Register one for each version.",
            )

        def register(function: A) -> A:
            self._algorithms[name][algorithm.version] = evolve(algorithm, fit=function)
            return function

        return register

    def _add_hook(self, name: str, version: str, kind: str, hook: str) -> Callable[[E], E]:
        """Register the function below as an evaluation or a monitor; see `RegisteredAlgorithm`.

        Args:
            name: The algorithm's name.
            version: Which version of it.
            kind: `"evaluations"` or `"monitors"`.
            hook: The function's own name.

        Raises:
            ConfigurationError: There is one of this name already, or the name is none.
        """

        def register(function: E) -> E:
            algorithm = self.get(name, version)
            known: Mapping[str, EvaluationFunction] = getattr(algorithm, kind)
            if hook in known or not _NAME.fullmatch(hook):
                raise ConfigurationError(
                    f"{hook!r} can't be one of the {kind} of {name!r}.",
                    hint="Use a name that it doesn't have yet, of letters, digits, '.', '_' and '-'.",
                )
            self._algorithms[name][version] = evolve(cast("Any", algorithm), **{kind: {**known, hook: function}})
            return function

        return register

    def __iter__(self) -> Iterator[str]:
        return iter(self._algorithms)

    def __len__(self) -> int:
        return len(self._algorithms)

    def __repr__(self) -> str:
        return f"Registry({', '.join(self._algorithms)})"

    def versions(self, name: str) -> tuple[AlgorithmVersion, ...]:
        """Return all versions of an algorithm, in the order of registration.

        Raises:
            UnknownAlgorithmError: There is none of this name; the text names similar ones.
        """
        try:
            return tuple(self._algorithms[name].values())
        except KeyError:
            raise _unknown("algorithm", name, self._algorithms) from None

    def get(self, name: str, version: str | None = None) -> AlgorithmVersion:
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


def _check(name: str, version: str, memory_limit: float | None) -> None:
    for what, text in (("name", name), ("version", version)):
        if not isinstance(text, str) or not _NAME.fullmatch(text):
            raise ConfigurationError(
                f"{text!r} can't be an algorithm's {what}.",
                hint="Use letters, digits, '.', '_' and '-', at most 128.",
            )
    if name == "tasks":
        raise ConfigurationError("'tasks' can't be an algorithm's name.", hint="The REST API uses it; choose another.")
    # Not "<=": NaN is no limit either.
    if memory_limit is not None and not (isinstance(memory_limit, (int, float)) and memory_limit > 0):
        raise ConfigurationError(f"The memory limit of {name!r} is not positive.", hint="Give a number of bytes.")


def _templates(name: str, templates: Mapping[str, Any]) -> dict[str, Any]:
    copies = {}
    for kind, template in templates.items():
        if kind not in TEMPLATES:
            raise ConfigurationError(f"{name!r} has a template {kind!r}.", hint=f"There are {', '.join(TEMPLATES)}.")
        try:
            copies[kind] = decode(encode(template, path=kind, only_finite=True).data)
        except EncodingError as error:
            raise ConfigurationError(
                f"The template {kind!r} of {name!r} is no JSON: {error.message}", hint=error.hint
            ) from None
    return copies


def _graph(name: str, path: Path) -> Path:
    try:
        with path.open("rb") as file:
            is_png = file.read(len(_PNG)) == _PNG
    except OSError as error:
        raise ConfigurationError(
            f"The graph {path} of {name!r} can't be read: {error.strerror}.", hint="Give the path of a PNG file."
        ) from error
    if not is_png:
        raise ConfigurationError(f"The graph {path} of {name!r} is no PNG file.", hint="Save it as PNG.")
    return path.absolute()


def _unknown(what: str, name: str, known: Any) -> UnknownAlgorithmError:
    name, names = name[:200], list(known)
    hint = _similar(name, names).strip()
    if not hint:
        hint = f"There are: {', '.join(names[:20])}." if names else "Nothing is registered."
    return UnknownAlgorithmError(f"There is no {what} {name!r}.", hint=hint)


def _similar(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=3)
    return f" Did you mean {' or '.join(repr(match) for match in close)}?" if close else ""

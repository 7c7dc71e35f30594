"""Registry of algorithms by name and version, and its import by name."""

from __future__ import annotations

import difflib
import functools
import importlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
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
"""Kinds of templates."""

SCHEMA = "schema"
"""Kind of the graph that is drawn from the declared schemas."""

_PNG = b"\x89PNG\r\n\x1a\n"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@define(frozen=True, kw_only=True)
class AlgorithmVersion:
    """One version of an algorithm.

    Attributes:
        name: The algorithm's id in the REST API.
        version: Name of the version.
        timeout: Maximum duration of one run.
        memory_limit: Maximum memory of one run in bytes, child processes included; None for the service's default,
            `math.inf` for no limit.
        description: A short description for users.
        function: The algorithm, called with features, parameters and context.
        fit: The training, called with features, parameters and context; None if the algorithm can't be trained.
        templates: Example values that can be represented in JSON, by kind: `"input"`, `"output"` and `"parameters"`.
        graphs: Paths of PNG images, by kind. Callers that name no kind get the first one.
        features: The declared schema of the features; None if the algorithm declares none.
        parameters: The declared schema of the parameters; None if the algorithm declares none.
        evaluations: Functions that evaluate the predictions when a task requests it, by name.
        monitors: Functions that monitor the predictions unless a task disables monitoring, by name.
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
        """Kinds of the available graphs: the registered ones, and the one drawn from the declared schemas."""
        return (*self.graphs, SCHEMA) if self._is_declared and SCHEMA not in self.graphs else tuple(self.graphs)

    @property
    def _is_declared(self) -> bool:
        return self.features is not None or self.parameters is not None

    def template(self, kind: str) -> bytes | None:
        """Return a template as JSON: the registered one, otherwise an example made from the declared schema.

        Args:
            kind: `"input"`, `"output"` or `"parameters"`.

        Returns:
            UTF-8 encoded JSON; None if the algorithm has no template of this kind.
        """
        if kind in self.templates:
            return encode(self.templates[kind]).data
        declared = {"input": self.features, "parameters": self.parameters}.get(kind)
        return None if declared is None else encode(declared.example()).data

    def graph(self, kind: str | None = None) -> bytes | None:
        """Return a graph as a PNG file.

        Args:
            kind: One of `graph_kinds`; the first one if None.

        Returns:
            Bytes of the PNG file; None if the algorithm has no graph of this kind.

        Raises:
            MissingExtraError: The graph has to be drawn, and Pillow is not installed.
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
    """A registered function. It can still be called, and its decorators register evaluations, monitors and training.

    Args:
        function: The function that was registered.
        registry: The registry that contains it.
        name: The algorithm's name.
        version: Name of the version.
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
        """Register the decorated function as an evaluation. It runs when a task requests evaluations.

        The function is called with features, parameters, predictions and context. Its return value becomes
        `evaluations[name]` of the results. If the function raises, the entry is `{"error": "..."}`, and the predictions
        are still delivered. If a task passes `evaluate={"name": {...}}`, only the named evaluations run, with these
        options as `context.evaluation_options`.

        Raises:
            ConfigurationError: The name is invalid, or the algorithm already has an evaluation of this name.
        """
        return self._registry._add_hook(self._name, self._version, "evaluations", name)

    def monitor(self, name: str) -> Callable[[E], E]:
        """Register the decorated function as a monitor. It runs for every task that doesn't disable monitoring.

        The function is called with the arguments of an evaluation. Its return value becomes `monitors[name]` of the
        results.

        Raises:
            ConfigurationError: The name is invalid, or the algorithm already has a monitor of this name.
        """
        return self._registry._add_hook(self._name, self._version, "monitors", name)

    def fit(self, function: A) -> A:
        """Register the decorated function as the training of the algorithm; see `Registry.fit`.

        Raises:
            ConfigurationError: The version already has a training.
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
        """Register the decorated function as an algorithm.

        The function can still be called. Its decorators register evaluations, monitors and a training:

            @thermal_fatigue.evaluation("damage")
            def damage(features, parameters, predictions, context): ...

        Args:
            name: The algorithm's id in the REST API, up to 128 characters: letters, digits, `.`, `_` and `-`.
            version: Name of the version. Callers that name no version get the one registered last.
            timeout: Maximum duration of one run, a `timedelta` or seconds. After that the process of the run is killed
                and the task fails.
            memory_limit: Maximum memory of one run in bytes, child processes included, in addition to the memory that
                its process used before the run. A run above the limit is killed and the task fails. Pages that forked
                processes share count once, and pages of files don't count. None for the service's `--memory-limit`,
                `math.inf` for no limit.
            description: A short description; the first line of the function's docstring by default.
            templates: Example values that can be represented in JSON, by kind: `"input"`, `"output"` and
                `"parameters"`.
            graphs: Paths of PNG images, by kind. Callers that name no kind get the first one.
            features: Schema of the features: a JSON Schema of one record, which validates each row, or an Arrow schema,
                which validates whole columns and is faster for large tables. The input template and the graph
                `"schema"` are made from it.
            parameters: A JSON Schema of the parameters.

        Raises:
            ConfigurationError: The name or version has other characters or exists already, the timeout or the memory
                limit is not positive, a template can't be represented in JSON, a graph is not a PNG file, or a schema
                is invalid.
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
                    f"Version {version!r} of algorithm {name!r} is already registered.",
                    hint="Give the new version another name.",
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
        """Register the decorated function as the training of a registered algorithm.

        The function is called with features, parameters and context. Its return value is the result of the task.

        Args:
            name: The algorithm's name.
            version: Name of the version; the one registered last if None.

        Raises:
            UnknownAlgorithmError: The algorithm or the version doesn't exist.
            ConfigurationError: The version already has a training.
        """
        algorithm = self.get(name, version)
        if algorithm.fit is not None:
            raise ConfigurationError(
                f"Version {algorithm.version!r} of {name!r} already has a training.",
                hint="Register one training for each version.",
            )

        def register(function: A) -> A:
            self._algorithms[name][algorithm.version] = evolve(algorithm, fit=function)
            return function

        return register

    def _add_hook(self, name: str, version: str, kind: str, hook: str) -> Callable[[E], E]:
        """Register the decorated function as an evaluation or a monitor; see `RegisteredAlgorithm`.

        Args:
            name: The algorithm's name.
            version: Name of the version.
            kind: `"evaluations"` or `"monitors"`.
            hook: Name of the evaluation or monitor.

        Raises:
            ConfigurationError: The name is invalid, or exists already.
        """

        def register(function: E) -> E:
            algorithm = self.get(name, version)
            known: Mapping[str, EvaluationFunction] = getattr(algorithm, kind)
            if hook in known or not _NAME.fullmatch(hook):
                raise ConfigurationError(
                    f"{hook!r} can't be the name of one of the {kind} of {name!r}.",
                    hint="Use a new name of letters, digits, '.', '_' and '-'.",
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
            UnknownAlgorithmError: The algorithm doesn't exist; the message suggests similar names.
        """
        try:
            return tuple(self._algorithms[name].values())
        except KeyError:
            raise _unknown(f"Algorithm {name[:200]!r}", name, self._algorithms) from None

    def get(self, name: str, version: str | None = None) -> AlgorithmVersion:
        """Return one version of an algorithm; the one registered last if `version` is None.

        Raises:
            UnknownAlgorithmError: The algorithm or version doesn't exist; the message suggests similar names.
        """
        versions = self.versions(name)
        if version is None:
            return versions[-1]
        for algorithm in versions:
            if algorithm.version == version:
                return algorithm
        raise _unknown(f"Version {version[:200]!r} of {name!r}", version, [algorithm.version for algorithm in versions])


def load(name: str) -> Registry:
    """Import a registry. The working directory is searched too.

    Args:
        name: Module and variable, such as `"pkg.module:registry"`.

    Raises:
        ConfigurationError: The module or the variable doesn't exist, or the variable is not a `Registry`.
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
                f"Module {error.name!r} of {name!r} doesn't exist.",
                hint="Check the spelling, and run the command in the directory that contains the module.",
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
            f"{name!r} is of type {type(found).__name__}, not a Registry.",
            hint="Name the variable that holds a callback_sdk.service.Registry.",
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
    # "not (… > 0)" instead of "<= 0" rejects NaN too, because every comparison with NaN is false.
    if memory_limit is not None and not (isinstance(memory_limit, (int, float)) and memory_limit > 0):
        raise ConfigurationError(f"The memory limit of {name!r} is not positive.", hint="Give a number of bytes.")


def _templates(name: str, templates: Mapping[str, Any]) -> dict[str, Any]:
    copies = {}
    for kind, template in templates.items():
        if kind not in TEMPLATES:
            raise ConfigurationError(
                f"{kind!r} of {name!r} is not a kind of template.", hint=f"The kinds are {', '.join(TEMPLATES)}."
            )
        try:
            copies[kind] = decode(encode(template, path=kind, only_finite=True).data)
        except EncodingError as error:
            raise ConfigurationError(
                f"The template {kind!r} of {name!r} can't be represented in JSON: {error.message}", hint=error.hint
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
        raise ConfigurationError(f"The graph {path} of {name!r} is not a PNG file.", hint="Save the image as PNG.")
    return path.absolute()


def _unknown(what: str, name: str, known: Iterable[str]) -> UnknownAlgorithmError:
    name, names = name[:200], list(known)
    hint = _similar(name, names).strip()
    if not hint:
        hint = f"Registered: {', '.join(names[:20])}." if names else "Nothing is registered."
    return UnknownAlgorithmError(f"{what} doesn't exist.", hint=hint)


def _similar(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=3)
    return f" Did you mean {' or '.join(repr(match) for match in close)}?" if close else ""

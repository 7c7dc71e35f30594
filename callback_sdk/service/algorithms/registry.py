"""Registry of algorithms by name and version, and its import by name."""

from __future__ import annotations

import functools
import importlib
import re
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar, overload

from attrs import evolve

from callback_sdk.documents.decoding import decode
from callback_sdk.documents.values import encode
from callback_sdk.errors import CallbackSDKError, ConfigurationError, EncodingError, sentence
from callback_sdk.parsing import Duration, to_timedelta
from callback_sdk.service.algorithms.functions import AlgorithmFunctions, RegisteredFunction
from callback_sdk.service.algorithms.input_schemas import declare_features, declare_parameters
from callback_sdk.service.algorithms.signature import INPUTS, JUDGED, caller_names
from callback_sdk.service.algorithms.versions import TEMPLATES, Algorithms, AlgorithmVersion, similar
from callback_sdk.text.tracebacks import user_traceback
from callback_sdk.types import SupportsArrowSchema

if TYPE_CHECKING:
    from callback_sdk.service.algorithms.context import JobContext
    from callback_sdk.service.algorithms.features import Features

AlgorithmFunction = Callable[["Features", "dict[str, Any]", "JobContext"], Any]
"""An algorithm, or the training of one, that is called by position: with features, parameters and context."""

EvaluationFunction = Callable[["Features", "dict[str, Any]", Any, "JobContext"], Any]
"""An evaluation or a monitor that is called by position: with features, parameters, predictions and context."""

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="SupportsPredict")
T = TypeVar("T")

_PNG = b"\x89PNG\r\n\x1a\n"

_MAX_DEVICES = 1024
"""Maximum number of devices of a run."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


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

    def evaluation(self, name: str) -> Callable[[F], F]:
        """Register the decorated function as an evaluation of this algorithm; see `Registry.evaluation`.

        Raises:
            ConfigurationError: The name is invalid, or the algorithm already has an evaluation of this name.
        """
        return self._registry.evaluation(self._name, name, version=self._version)

    def monitor(self, name: str) -> Callable[[F], F]:
        """Register the decorated function as a monitor of this algorithm; see `Registry.monitor`.

        Raises:
            ConfigurationError: The name is invalid, or the algorithm already has a monitor of this name.
        """
        return self._registry.monitor(self._name, name, version=self._version)

    def fit(self, function: F) -> F:
        """Register the decorated function as the training of the algorithm; see `Registry.fit`.

        Raises:
            ConfigurationError: The version already has a training.
        """
        return self._registry.fit(self._name, version=self._version)(function)


class SupportsPredict(Protocol):
    """An object that computes by its method `predict`, and may have a method `setup`."""

    @property
    def predict(self) -> Callable[..., Any]:
        """Compute the results of one task."""
        ...


class AlgorithmDecorator(Protocol):
    """The decorator that registers an algorithm."""

    @overload
    def __call__(self, algorithm: type[T], /) -> type[T]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, algorithm: Callable[P, R], /) -> RegisteredAlgorithm[P, R]: ...
    @overload
    def __call__(self, algorithm: S, /) -> S: ...


class Registry(Algorithms):
    """Algorithms by name and version.

    Example:
        ::

            registry = Registry()

            @registry.algorithm("thermal-fatigue", version="1.0.0", timeout=timedelta(minutes=10))
            def thermal_fatigue(features, parameters, context):
                return {"predictions": ...}
    """

    def __init__(self) -> None:
        super().__init__()
        self._functions: dict[tuple[str, str], AlgorithmFunctions] = {}

    def algorithm(
        self,
        name: str,
        *,
        version: str = "1.0.0",
        timeout: Duration = timedelta(minutes=10),
        memory_limit: float | None = None,
        max_runs: int | None = None,
        devices: int = 0,
        description: str | None = None,
        templates: Mapping[str, Any] | None = None,
        graphs: Mapping[str, Path | str] | None = None,
        features: Mapping[str, Any] | SupportsArrowSchema | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> AlgorithmDecorator:
        """Register the decorated function as an algorithm.

        The function is called with features, parameters and context, or with the columns and parameters that its
        annotations name; it may be asynchronous or a generator. It can still be called. Its decorators register
        evaluations, monitors and a training:

            @thermal_fatigue.evaluation("damage")
            def damage(features, parameters, predictions, context): ...

        A class with `predict`, and perhaps `setup`, is registered as it is: each worker process creates one object,
        calls its `setup` once, and its `predict` for each task.

        Args:
            name: The algorithm's id in the REST API, up to 128 characters: letters, digits, `.`, `_` and `-`.
            version: Name of the version. Callers that name no version get the one registered last.
            timeout: Maximum duration of one run, a `timedelta` or seconds. After that the run is stopped by a
                `RunInterrupt`, and the task fails.
            memory_limit: Maximum memory of one run in bytes, child processes included, in addition to the memory that
                its process used before the run. A run above the limit is killed and the task fails. Pages that forked
                processes share count once, and pages of files don't count. None for the service's `--memory-limit`,
                `math.inf` for no limit.
            devices: Number of devices, such as GPUs, that each run has for itself, of those that `--devices` names. Its
                process sees them alone, in `CUDA_VISIBLE_DEVICES`.
            max_runs: Maximum number of runs of a process that runs the algorithm; after that, the process is replaced.
                1 gives each run a new process, for code that keeps state or memory. None for the service's
                `--max-runs`.
            description: A short description; the first line of the function's docstring by default.
            templates: Example values that can be represented in JSON, by kind: `"input"`, `"output"` and
                `"parameters"`.
            graphs: Paths of PNG images, by kind. Callers that name no kind get the first one.
            features: Schema of the features: a JSON Schema of one record, which validates each row, or an Arrow schema,
                which validates whole columns and is faster for large tables. The input template and the graph
                `"schema"` are made from it. By default it comes from the annotations.
            parameters: A JSON Schema of the parameters; by default it comes from the annotations.

        Raises:
            ConfigurationError: The name or version has other characters or exists already, the timeout, the memory
                limit or `max_runs` is not positive, a template can't be represented in JSON, a graph is not a PNG file,
                a schema is invalid, or the function can't be called with features and parameters.
        """
        _check(name, version, memory_limit, max_runs)
        _check_devices(name, devices)
        limit = to_timedelta(f"The timeout of {name!r}", timeout)
        table, settings = declare_features(name, features), declare_parameters(name, parameters)
        shown = _templates(name, templates or {})
        pictures = {kind: _graph(name, Path(path)) for kind, path in (graphs or {}).items()}

        def register(function: Any) -> Any:
            if version in self._algorithms.get(name, ()):
                raise ConfigurationError(
                    f"Version {version!r} of algorithm {name!r} is already registered.",
                    hint="Give the new version another name.",
                )
            # Decorators may be stacked.
            plain = function._function if isinstance(function, RegisteredAlgorithm) else function
            found = RegisteredFunction.of(plain, INPUTS, caller_names())
            of_columns, of_parameters = found.signature.schemas()
            self._functions[name, version] = AlgorithmFunctions(predict=found)
            self._algorithms.setdefault(name, {})[version] = AlgorithmVersion(
                name=name,
                version=version,
                timeout=limit,
                memory_limit=memory_limit,
                max_runs=max_runs,
                devices=devices,
                description=_first_line(plain) if description is None else description,
                templates=shown,
                graphs=pictures,
                features=table or declare_features(name, of_columns),
                parameters=settings or declare_parameters(name, of_parameters),
            )
            if isinstance(function, type) or not callable(function):
                # Returned as it is: a class has subclasses and instances, which can be pickled under its own name only.
                return function
            return RegisteredAlgorithm(function, self, name, version)

        return register

    def fit(self, name: str, *, version: str | None = None) -> Callable[[F], F]:
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
        if algorithm.trainable:
            raise ConfigurationError(
                f"Version {algorithm.version!r} of {name!r} already has a training.",
                hint="Register one training for each version.",
            )

        def register(function: F) -> F:
            found = RegisteredFunction.of(function, INPUTS, caller_names())
            key = name, algorithm.version
            self._functions[key] = evolve(self._functions[key], fit=found)
            self._algorithms[name][algorithm.version] = evolve(algorithm, trainable=True)
            return function

        return register

    def evaluation(self, algorithm: str, name: str, *, version: str | None = None) -> Callable[[F], F]:
        """Register the decorated function as an evaluation. It runs when a task requests evaluations.

        The function is called with features, parameters, predictions and context, or with those that its signature
        names. Its return value becomes `evaluations[name]` of the results. If the function raises, the entry is
        `{"error": "..."}`, and the predictions are still delivered. If a task passes `evaluate={"name": {...}}`, only
        the named evaluations run, with these options as `context.evaluation_options`.

        Args:
            algorithm: The algorithm's name.
            name: Name of the evaluation.
            version: Name of the version; the one registered last if None.

        Raises:
            UnknownAlgorithmError: The algorithm or the version doesn't exist.
            ConfigurationError: The name is invalid, or the algorithm already has an evaluation of this name.
        """
        return self._add_hook(self.get(algorithm, version), "evaluations", name)

    def monitor(self, algorithm: str, name: str, *, version: str | None = None) -> Callable[[F], F]:
        """Register the decorated function as a monitor. It runs for every task that doesn't disable monitoring.

        The function is called with the arguments of an evaluation. Its return value becomes `monitors[name]` of the
        results.

        Args:
            algorithm: The algorithm's name.
            name: Name of the monitor.
            version: Name of the version; the one registered last if None.

        Raises:
            UnknownAlgorithmError: The algorithm or the version doesn't exist.
            ConfigurationError: The name is invalid, or the algorithm already has a monitor of this name.
        """
        return self._add_hook(self.get(algorithm, version), "monitors", name)

    def _add_hook(self, algorithm: AlgorithmVersion, kind: str, hook: str) -> Callable[[F], F]:
        name, version = algorithm.name, algorithm.version

        def register(function: F) -> F:
            current = self.get(name, version)
            known: tuple[str, ...] = getattr(current, kind)
            if hook in known or not _NAME.fullmatch(hook):
                raise ConfigurationError(
                    f"{hook!r} can't be the name of one of the {kind} of {name!r}.",
                    hint="Use a new name of letters, digits, '.', '_' and '-'.",
                )
            found = RegisteredFunction.of(function, JUDGED, caller_names())
            self._functions[name, version] = self._functions[name, version].with_hook(kind, hook, found)
            changes: dict[str, Any] = {kind: (*known, hook)}
            self._algorithms[name][version] = evolve(current, **changes)
            return function

        return register

    def functions(self, algorithm: AlgorithmVersion) -> AlgorithmFunctions:
        """Return the functions of a registered version."""
        return self._functions[algorithm.name, algorithm.version]


def _first_line(function: Any) -> str:
    lines = (function.__doc__ or "").strip().splitlines()
    return lines[0] if lines else ""


def load(name: str) -> Registry:
    """Import a registry. The working directory is searched too.

    Args:
        name: Module and variable, such as `"pkg.module:registry"`.

    Raises:
        ConfigurationError: The module or the variable doesn't exist, the import of the module fails, or the variable is
            not a `Registry`.
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
        raise _import_error(module_name, error) from error
    except SyntaxError as error:
        raise _syntax_error(error) from None
    except CallbackSDKError:
        raise
    except Exception as error:
        raise _import_error(module_name, error) from error
    found = getattr(module, attribute, None)
    if found is None:
        raise ConfigurationError(
            f"Module {module_name!r} has no {attribute!r}.{similar(attribute, list(vars(module)))}",
            hint="Name the variable that holds the Registry.",
        )
    if not isinstance(found, Registry):
        raise ConfigurationError(
            f"{name!r} is of type {type(found).__name__}, not a Registry.",
            hint="Name the variable that holds a callback_sdk.service.Registry.",
        )
    return found


def _syntax_error(error: SyntaxError) -> ConfigurationError:
    """Return the error for a module that Python can't parse, with the line and a caret below the place."""
    line = (error.text or "").rstrip("\n").expandtabs(1)
    caret = " " * (max(error.offset or 1, 1) - 1) + "^"
    return ConfigurationError(
        f"{error.filename}, line {error.lineno}: {type(error).__name__}: {sentence(error.msg)} Correct it, and run the "
        f"command again.\n{line}\n{caret}"
    )


def _import_error(module_name: str, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"Module {module_name!r} can't be imported: {type(error).__name__}.",
        hint=f"Fix its error, or install what it needs:\n{user_traceback(error).rstrip()}",
    )


def _check(name: str, version: str, memory_limit: float | None, max_runs: int | None) -> None:
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
    if max_runs is not None and not (type(max_runs) is int and max_runs > 0):
        raise ConfigurationError(
            f"max_runs={max_runs!r} of {name!r} is not a whole number above 0.",
            hint="Use 1 for a new process each time.",
        )


def _check_devices(name: str, devices: int) -> None:
    if type(devices) is not int or not 0 <= devices <= _MAX_DEVICES:
        raise ConfigurationError(
            f"devices={devices!r:.100} of {name!r} is not a whole number from 0 to {_MAX_DEVICES}.",
            hint="Give the number of devices of one run.",
        )


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

"""Registry of algorithms by name and version, and its import by name."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar, overload

from attrs import evolve

from callback_sdk.errors import CallbackSDKError, ConfigurationError
from callback_sdk.parsing import Duration, to_timedelta
from callback_sdk.service.algorithms.functions import AlgorithmFunctions, RegisteredFunction
from callback_sdk.service.algorithms.input_schemas import declare_features, declare_parameters
from callback_sdk.service.algorithms.registration import NAME, check_devices, check_names, copied_templates, graph_files
from callback_sdk.service.algorithms.setup import SETUP_TIMEOUT, Setup
from callback_sdk.service.algorithms.signature import INPUTS, JUDGED, caller_names
from callback_sdk.service.algorithms.versions import Algorithms, AlgorithmVersion
from callback_sdk.text.descriptions import sentence, short_repr, similar
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


class RegisteredAlgorithm(Generic[P, R]):
    """A registered function. It can still be called, and its decorators register evaluations, monitors and training.

    Args:
        function: The function that was registered.
        registry: The registry that contains it.
        name: The algorithm's name.
        version: Name of the version.
        setup_timeout: Maximum duration of its setup.
    """

    def __init__(
        self, function: Callable[P, R], registry: Registry, name: str, version: str, setup_timeout: timedelta
    ) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._registry = registry
        self._name = name
        self._version = version
        self._setup_timeout = setup_timeout

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

    def setup(self, function: F) -> F:
        """Register the decorated function as the setup of this algorithm; see `Registry.setup`.

        What it returns is `context.state` of this algorithm's runs, in place of what the registry's setup returns.

        Raises:
            ConfigurationError: The function can't be called without arguments, or the algorithm has a setup already.
        """
        self._registry._add_setup(self._name, self._version, function, self._setup_timeout)
        return function

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
        self._setup: Setup | None = None
        self._setups: dict[tuple[str, str], Setup] = {}

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
        setup_timeout: Duration = SETUP_TIMEOUT,
    ) -> AlgorithmDecorator:
        """Register the decorated function as an algorithm.

        The function is called with features, parameters and context, or with the columns and parameters that its
        annotations name; it may be asynchronous or a generator. It can still be called. Its decorators register
        evaluations, monitors and a training:

            @thermal_fatigue.evaluation("damage")
            def damage(features, parameters, predictions, context): ...

        A class with `predict` or `run`, and perhaps `setup`, is registered as it is: each worker process creates one
        object, calls its `setup` once, and its `predict` for each task; `run` if it has no `predict`.

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
            setup_timeout: Maximum duration of the setup of a class, or of the algorithm.

        Raises:
            ConfigurationError: The name or version has other characters or exists already, the timeout, the memory
                limit or `max_runs` is not positive, a template can't be represented in JSON, a graph is not a PNG file,
                a schema is invalid, or the function can't be called with features and parameters.
        """
        check_names(name, version, memory_limit, max_runs)
        check_devices(name, devices)
        # Plain text, which is sent to other processes, in place of members of an enumeration.
        name, version = str.__str__(name), str.__str__(version)
        limit = to_timedelta(f"The timeout of {name!r}", timeout)
        time_of_setup = to_timedelta(f"The setup_timeout of {name!r}", setup_timeout)
        table, settings = declare_features(name, features), declare_parameters(name, parameters)
        shown = copied_templates(name, templates or {})
        pictures = graph_files(name, graphs or {})

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
            if found.set_up is not None:
                self._add_setup(name, version, found.set_up, time_of_setup)
            self._algorithms.setdefault(name, {})[version] = AlgorithmVersion(
                name=name,
                version=version,
                timeout=limit,
                memory_limit=memory_limit,
                max_runs=max_runs,
                devices=devices,
                description=_first_line(plain) if description is None else str(description),
                templates=shown,
                graphs=pictures,
                features=table or declare_features(name, of_columns),
                parameters=settings or declare_parameters(name, of_parameters),
            )
            if isinstance(function, type) or not callable(function):
                # Returned as it is: a class has subclasses and instances, which can be pickled under its own name only.
                return function
            return RegisteredAlgorithm(function, self, name, version, time_of_setup)

        return register

    @overload
    def setup(self, function: F) -> F: ...
    @overload
    def setup(self, *, timeout: Duration = SETUP_TIMEOUT) -> Callable[[F], F]: ...
    def setup(self, function: Any = None, *, timeout: Duration = SETUP_TIMEOUT) -> Any:
        """Register the decorated function as the setup of all algorithms.

        Each worker process calls it once at its start, before its first task and outside of any run's timeout. What it
        returns is `context.state` of all runs of the process::

            @registry.setup
            def load():
                return Model.load("model.bin")

        If it fails, the process takes no tasks, and tries again in a new process.

        Args:
            function: The function, without arguments; it may be asynchronous.
            timeout: Maximum duration.

        Raises:
            ConfigurationError: The function can't be called without arguments, or the registry has a setup already.
        """
        limit = to_timedelta("The timeout of the setup", timeout)

        def register(function: F) -> F:
            if self._setup is not None:
                raise ConfigurationError(
                    "The registry already has a setup.", hint="Register one setup, and one for each algorithm."
                )
            self._setup = Setup("the registry", function, limit)
            return function

        return register if function is None else register(function)

    def _add_setup(self, name: str, version: str, function: Callable[[], Any], timeout: timedelta) -> None:
        if (name, version) in self._setups:
            raise ConfigurationError(
                f"Version {version!r} of {name!r} already has a setup.", hint="Register one setup for each version."
            )
        self._setups[name, version] = Setup(f"{name!r} {version}", function, timeout)

    def setups(self, names: Collection[str] = ()) -> list[Setup]:
        """Return the setups of a process, in the order in which it calls them.

        Args:
            names: Names of the algorithms that the process runs; all if empty.
        """
        own = [setup for (name, _), setup in self._setups.items() if not names or name in names]
        return [*([self._setup] if self._setup else []), *own]

    def state(self, algorithm: AlgorithmVersion) -> Any:
        """Return `context.state` of an algorithm's runs: what its own setup returned, or the registry's."""
        key = algorithm.name, algorithm.version
        # The state of a class is its object.
        own = self._setups.get(key) if self._functions[key].predict.set_up is None else None
        found = own or self._setup
        return None if found is None else found.state

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
            if not isinstance(hook, str) or hook in known or not NAME.fullmatch(hook):
                raise ConfigurationError(
                    f"{short_repr(hook)} can't be the name of one of the {kind} of {name!r}.",
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

"""Tasks, algorithms and versions with the members that the platform's SDK gives them."""

from __future__ import annotations

from typing import Any, BinaryIO, Generic, Protocol, TypeVar, cast

from attrs import define, field

from callback_sdk.client import Algorithm, Task, Version
from callback_sdk.compat.failures import Failures, PlatformAPI, returns_false_on_error
from callback_sdk.errors import InvalidRequestError

T = TypeVar("T")


@returns_false_on_error("refresh", "cancel", "get_logs", "redeliver", "result", "wait")
class PlatformTask(Task):
    """A task with the members that the platform's SDK gives it."""

    _api: PlatformAPI

    @property
    def _failures(self) -> Failures:
        return self._api.failures

    def update(self) -> PlatformTask:
        """Request the task's current state; see `refresh`."""
        return cast("PlatformTask", self.refresh())

    def get_current_status(self) -> str:
        """Return the status of the last response; `update` requests a newer one."""
        return self.status


class PlatformAlgorithmClient(Protocol):
    """The calls of a client that an algorithm or a version makes."""

    def run_algorithm(self, algorithm_id: str, features: Any = None, **options: Any) -> PlatformTask:
        """Submit a task."""

    def train_algorithm(self, algorithm_id: str, features: Any, **options: Any) -> PlatformTask:
        """Submit a training."""

    def get_template(self, algorithm_id: str, file_type: str = ..., version: str | None = ...) -> BinaryIO:
        """Return an example."""

    def get_graph(self, algorithm_id: str, file_type: str | None = ..., version: str | None = ...) -> BinaryIO:
        """Return an image."""


class _Runs(Generic[T]):
    """The last task of an algorithm or a version."""

    last: T | None = None


@define(frozen=True, kw_only=True)
class PlatformVersion(Version):
    """A version of an algorithm that can be run.

    Attributes:
        algorithm_id: The algorithm's id.
    """

    _client: PlatformAlgorithmClient = field(repr=False, eq=False)
    _runs: _Runs[PlatformTask] = field(factory=_Runs, init=False, repr=False, eq=False)
    algorithm_id: str

    @classmethod
    def of(cls, client: PlatformAlgorithmClient, algorithm_id: str, version: Version) -> PlatformVersion:
        """Wrap a value that the client returns."""
        facts = {name: getattr(version, name) for name in Version.__annotations__}
        return cls(client=client, algorithm_id=algorithm_id, **facts)

    @property
    def last_results(self) -> PlatformTask | None:
        """The task of the last `run`; None before the first one."""
        return self._runs.last

    def run(self, data: Any, **options: Any) -> PlatformTask:
        """Submit a task to this version; the options are those of `PlatformClient.run_algorithm`."""
        self._runs.last = self._client.run_algorithm(self.algorithm_id, data, version=self.version, **options)
        return self._runs.last

    def get_template(self, file_type: str = "input") -> Any:
        """Return the format of the features, or with `"output"` that of the results."""
        return self.output_format if file_type == "output" else self.features_format

    def get_detailed_template(self, file_type: str = "input") -> BinaryIO:
        """Return an example as a file; see `Client.get_template`."""
        return self._client.get_template(self.algorithm_id, file_type=file_type, version=self.version)

    def get_detailed_graph(self, file_type: str = "input") -> BinaryIO:
        """Return an image as a file; see `Client.get_graph`."""
        return self._client.get_graph(self.algorithm_id, file_type=file_type, version=self.version)

    def get_response_time(self) -> Any:
        """Return the description of when results are available."""
        return self.results


class PlatformAlgorithm(Algorithm):
    """An algorithm with the members that the platform's SDK gives it."""

    _client: PlatformAlgorithmClient
    _runs: _Runs[PlatformTask]

    @classmethod
    def of(cls, client: PlatformAlgorithmClient, algorithm: Algorithm) -> PlatformAlgorithm:
        """Wrap a value that the client returns."""
        facts = {name: getattr(algorithm, name) for name in ("id", "name", "description", "evaluations")}
        versions = tuple(PlatformVersion.of(client, algorithm.id, version) for version in algorithm.versions)
        platform_algorithm = cls(client=client, versions=versions, **facts)
        object.__setattr__(platform_algorithm, "_runs", _Runs())
        return platform_algorithm

    def __str__(self) -> str:
        return self.name

    @property
    def version(self) -> str | None:
        """The default version of the algorithm; None for an algorithm without versions."""
        return self.versions[0].version if self.versions else None

    @property
    def results(self) -> Any:
        """Description of when results are available."""
        return self.versions[0].results if self.versions else None

    @property
    def last_results(self) -> PlatformTask | None:
        """The task of the last `run`; None before the first one."""
        return self._runs.last

    def run(self, features: Any = None, **options: Any) -> PlatformTask:
        """Submit a task; the options are those of `PlatformClient.run_algorithm`."""
        self._runs.last = self._client.run_algorithm(self.id, features, **options)
        return self._runs.last

    def get_versions(self) -> list[PlatformVersion]:
        """Return the versions, in the service's order."""
        return cast("list[PlatformVersion]", list(self.versions))

    def get_template(self, file_type: str = "input", version: str | None = None) -> Any:
        """Return the format of the features, or with `"output"` that of the results."""
        chosen = next((one for one in self.get_versions() if version in (None, one.version)), None)
        if chosen is None:
            raise InvalidRequestError(f"{self.id} has no version {version!r}.", hint="See algorithm.get_versions().")
        return chosen.get_template(file_type)

    def get_detailed_template(self, file_type: str = "input") -> BinaryIO:
        """Return an example as a file; see `Client.get_template`."""
        return self._client.get_template(self.id, file_type=file_type)

    def get_detailed_graph(self, file_type: str = "input") -> BinaryIO:
        """Return an image as a file; see `Client.get_graph`."""
        return self._client.get_graph(self.id, file_type=file_type)

    def get_response_time(self) -> Any:
        """Return the description of when results are available."""
        return self.results

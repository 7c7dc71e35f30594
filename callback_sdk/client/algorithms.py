"""Algorithms and their versions: their descriptions, and shortcuts to run them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from attrs import asdict, define, field, fields

from callback_sdk.client.detached import DetachedClient
from callback_sdk.client.tasks import Task
from callback_sdk.text.html import HTMLRepr
from callback_sdk.types import FeaturesInput, RunOptions, TrainOptions

if TYPE_CHECKING:
    # typing has it since Python 3.11.
    from typing_extensions import Unpack


class AlgorithmClient(Protocol):
    """The methods of a client that `Algorithm` calls with its id."""

    def run_algorithm(
        self, algorithm_id: str, features: FeaturesInput | None = None, **options: Unpack[RunOptions]
    ) -> Task:
        """Submit a task."""

    def train_algorithm(self, algorithm_id: str, features: FeaturesInput, **options: Unpack[TrainOptions]) -> Task:
        """Submit a training."""

    def get_template(self, algorithm_id: str, file_type: str = ..., version: str | None = ...) -> BinaryIO:
        """Return an example."""

    def get_graph(self, algorithm_id: str, file_type: str | None = ..., version: str | None = ...) -> BinaryIO:
        """Return an image."""


@define(frozen=True, kw_only=True)
class Version(HTMLRepr):
    """One version of an algorithm.

    Attributes:
        version: Name of the version, such as `"1.0.0"`.
        change_description: Changes since the previous version.
        results: Description of the results.
        features_format: Format of the features.
        output_format: Format of the results.
    """

    version: str
    change_description: Any = None
    results: Any = None
    features_format: Any = field(default=None, repr=False)
    output_format: Any = field(default=None, repr=False)

    def _html_fields(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "change": self.change_description,
            "results": self.results,
            "features": self.features_format,
            "output": self.output_format,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Any) -> Version:
        """Parse the JSON form, an object or only the name; unknown members are ignored."""
        if isinstance(data, str):
            return cls(version=data)
        return cls(**{name: data[name] for name in cls.__annotations__ if name in data})


@define(frozen=True, kw_only=True)
class Algorithm(HTMLRepr):
    """One algorithm of the service.

    Attributes:
        id: Id of the algorithm, for `run_algorithm`.
        name: Display name.
        description: Description.
        versions: Versions, in the service's order.
        evaluations: Names of its evaluations.
    """

    _client: AlgorithmClient = field(repr=False, eq=False)
    id: str
    name: str = ""
    description: str | None = None
    versions: tuple[Version, ...] = ()
    evaluations: tuple[Any, ...] = ()

    def _html_fields(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name if self.name != self.id else None,
            "description": self.description,
            "versions": ", ".join(version.version for version in self.versions) or None,
            "evaluations": ", ".join(map(str, self.evaluations)) or None,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self, filter=lambda field, _: field.name != "_client")

    @classmethod
    def from_dict(cls, client: AlgorithmClient, data: Mapping[str, Any]) -> Algorithm:
        """Parse the JSON form; unknown members are ignored."""
        return cls(
            client=client,
            id=data["id"],
            name=data.get("name") or data["id"],
            description=data.get("description"),
            versions=tuple(Version.from_dict(version) for version in data.get("versions") or ()),
            evaluations=tuple(data.get("evaluations") or ()),
        )

    def __reduce__(self) -> tuple[object, ...]:
        # Without the client, which contains a credential.
        facts = {field.name: getattr(self, field.name) for field in fields(Algorithm) if field.name != "_client"}
        versions = tuple(
            Version(**{field.name: getattr(version, field.name) for field in fields(Version)})
            for version in self.versions
        )
        return _detached_algorithm, ({**facts, "versions": versions},)

    def __copy__(self) -> Algorithm:
        return self

    def __deepcopy__(self, memo: object) -> Algorithm:
        return self

    def run(self, features: FeaturesInput | None = None, **options: Unpack[RunOptions]) -> Task:
        """Submit a task; the options are those of `Client.run_algorithm`."""
        return self._client.run_algorithm(self.id, features, **options)

    def train(self, features: FeaturesInput, **options: Unpack[TrainOptions]) -> Task:
        """Submit a training; the options are those of `Client.train_algorithm`."""
        return self._client.train_algorithm(self.id, features, **options)

    def get_template(self, file_type: str = "input", version: str | None = None) -> BinaryIO:
        """Return an example; see `Client.get_template`."""
        return self._client.get_template(self.id, file_type, version)

    def get_graph(self, file_type: str | None = None, version: str | None = None) -> BinaryIO:
        """Return an image; see `Client.get_graph`."""
        return self._client.get_graph(self.id, file_type, version)


def _detached_algorithm(facts: dict[str, Any]) -> Algorithm:
    client = DetachedClient(
        f"The algorithm {facts['id']} was pickled without its client, which contains a credential.",
        f'Get the algorithm from a client of this process: client.get_algorithm("{facts["id"]}").',
    )
    return Algorithm(client=cast("AlgorithmClient", client), **facts)

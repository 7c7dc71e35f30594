"""The versions of algorithms that a user can run: registered ones, and those of the user's trainings."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define

from callback_sdk.service.algorithms.versions import Algorithms, AlgorithmVersion
from callback_sdk.service.blobs import model_name
from callback_sdk.service.store.models import TrainedVersion
from callback_sdk.service.store.versions import VersionStore

_MAX_BASE_NAME = 100
"""Maximum characters of a registered version's name in the names of its trained versions."""


@define(frozen=True, kw_only=True)
class RunnableVersion:
    """One version of an algorithm that can be run.

    Attributes:
        algorithm: The registered algorithm.
        version: Name of the version: the registered one's, or a trained one's.
        model: Name of the model's blob; None for a registered version.
    """

    algorithm: AlgorithmVersion
    version: str
    model: str | None = None


class AlgorithmCatalog:
    """Finds versions of algorithms.

    Args:
        registry: The registered versions.
        versions: The trained versions.
    """

    def __init__(self, registry: Algorithms, versions: VersionStore) -> None:
        self._registry = registry
        self._versions = versions

    def __contains__(self, name: object) -> bool:
        return name in set(self._registry)

    def __iter__(self) -> Iterator[str]:
        return iter(self._registry)

    def get(self, owner: str, name: str, version: str | None = None) -> RunnableVersion:
        """Return one version; the last registered one if `version` is None.

        Args:
            owner: Id of the requesting user.
            name: The algorithm's name.
            version: Name of the version.

        Raises:
            UnknownAlgorithmError: The algorithm or version doesn't exist; the message suggests similar names.
        """
        registered = self._registry.versions(name)
        if version is not None and all(one.version != version for one in registered):
            trained = self._versions.get(owner, name, version) if "\0" not in version else None
            if trained is not None:
                algorithm = self._registry.get(name, trained.base)
                model = model_name(trained.job_id, trained.attempt)
                return RunnableVersion(algorithm=algorithm, version=version, model=model)
        algorithm = self._registry.get(name, version)
        return RunnableVersion(algorithm=algorithm, version=algorithm.version)

    def registered_versions(self, name: str) -> tuple[AlgorithmVersion, ...]:
        """Return the registered versions of an algorithm, in the order of registration.

        Raises:
            UnknownAlgorithmError: The algorithm doesn't exist.
        """
        return self._registry.versions(name)

    def trained_versions(self, owner: str, name: str) -> list[TrainedVersion]:
        """Return a user's trained versions of an algorithm, oldest first."""
        return self._versions.of(owner, name)


def new_version(base: str, job_id: str) -> str:
    """Return the name of the version that a training creates: the registered version's, and a part of the task's id."""
    return f"{base[:_MAX_BASE_NAME]}-{job_id.replace('-', '')[:12]}"

"""Every version that somebody may run: those of the registry, and those that their own trainings made."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define

from callback_sdk.service.algorithms.registry import AlgorithmVersion, Registry
from callback_sdk.service.blobs import model_name
from callback_sdk.service.store.models import TrainedVersion
from callback_sdk.service.store.versions import VersionStore

_LONGEST_BASE = 100
"""Characters of a registered version's name that are in those made of it."""


@define(frozen=True, kw_only=True)
class RunnableVersion:
    """One version, ready to be run.

    Attributes:
        algorithm: Its functions, and what they declare.
        version: Its name: the algorithm's own, or that of a trained one.
        model: Name of the blob with what a training made; None for a registered one.
    """

    algorithm: AlgorithmVersion
    version: str
    model: str | None = None


class AlgorithmCatalog:
    """Finds versions.

    Args:
        registry: What was registered.
        versions: What was trained.
    """

    def __init__(self, registry: Registry, versions: VersionStore) -> None:
        self._registry = registry
        self._versions = versions

    def __contains__(self, name: object) -> bool:
        return name in set(self._registry)

    def __iter__(self) -> Iterator[str]:
        return iter(self._registry)

    def get(self, owner: str, name: str, version: str | None = None) -> RunnableVersion:
        """Return one version, the one registered last when none is named.

        Args:
            owner: Id of the user who asks.
            name: The algorithm's name.
            version: The version's.

        Raises:
            UnknownAlgorithmError: There is none; the text names similar ones.
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

    def registered(self, name: str) -> tuple[AlgorithmVersion, ...]:
        """Return the registered versions of an algorithm, in the order of registration.

        Raises:
            UnknownAlgorithmError: There is no such algorithm.
        """
        return self._registry.versions(name)

    def trained(self, owner: str, name: str) -> list[TrainedVersion]:
        """Return what a user's trainings made of an algorithm, the oldest first."""
        return self._versions.of(owner, name)


def new_version(base: str, job_id: str) -> str:
    """Return the name of the version that a training makes: the registered one's, and a part of the task's id."""
    return f"{base[:_LONGEST_BASE]}-{job_id.replace('-', '')[:12]}"

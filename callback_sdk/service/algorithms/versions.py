"""AlgorithmVersion: what is known of a registered algorithm without its functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from attrs import define, field

from callback_sdk.documents.values import encode
from callback_sdk.errors import UnknownAlgorithmError
from callback_sdk.service.algorithms.input_schemas import ColumnSchema, FeaturesSchema, ParametersSchema
from callback_sdk.service.algorithms.schema_image import draw
from callback_sdk.text.descriptions import short_repr, similar

TEMPLATES = ("input", "output", "parameters")
"""Kinds of templates."""

SCHEMA = "schema"
"""Kind of the graph that is drawn from the declared schemas."""


@define(frozen=True, kw_only=True)
class AlgorithmVersion:
    """One version of an algorithm.

    Attributes:
        name: The algorithm's id in the REST API.
        version: Name of the version.
        timeout: Maximum duration of one run.
        memory_limit: Maximum memory of one run in bytes, child processes included; None for the service's default,
            `math.inf` for no limit.
        max_runs: Maximum number of runs of a process that runs it; None for the service's default.
        devices: Number of devices of a run, such as GPUs, that no other run uses.
        description: A short description for users.
        trainable: Whether the algorithm has a training.
        templates: Example values that can be represented in JSON, by kind: `"input"`, `"output"` and `"parameters"`.
        graphs: Paths of PNG images, by kind. Callers that name no kind get the first one.
        features: The schema of the features, declared or of the annotations; None if there is none.
        parameters: The schema of the parameters, declared or of the annotations; None if there is none.
        evaluations: Names of the functions that evaluate the predictions when a task requests it.
        monitors: Names of the functions that monitor the predictions unless a task disables monitoring.
    """

    name: str
    version: str
    timeout: timedelta
    memory_limit: float | None = None
    max_runs: int | None = None
    devices: int = 0
    description: str
    trainable: bool = False
    templates: Mapping[str, Any] = field(factory=dict, repr=False)
    graphs: Mapping[str, Path] = field(factory=dict, repr=False)
    features: FeaturesSchema | None = None
    parameters: ParametersSchema | None = None
    evaluations: tuple[str, ...] = ()
    monitors: tuple[str, ...] = ()

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
        if kind not in TEMPLATES:
            return None
        if kind in self.templates:
            return encode(self.templates[kind]).data
        declared = {"input": self.features, "parameters": self.parameters}.get(kind)
        return None if declared is None else encode(declared.example()).data

    def schemas(self) -> dict[str, list[ColumnSchema]]:
        """Return the columns of the features and the parameters, of those that have a schema."""
        parts = {"Features": self.features, "Parameters": self.parameters}
        return {name: part.columns() for name, part in parts.items() if part is not None}

    def graph(self, kind: str | None = None, *, dark: bool = False) -> bytes | None:
        """Return a graph as a PNG file.

        Args:
            kind: One of `graph_kinds`; the first one if None.
            dark: Whether to draw the schema for a dark background. Registered graphs are returned as they are.

        Returns:
            Bytes of the PNG file; None if the algorithm has no graph of this kind.

        Raises:
            MissingExtraError: The graph has to be drawn, and Pillow is not installed.
        """
        wanted = next(iter(self.graph_kinds), "") if kind is None else kind
        if wanted not in self.graph_kinds:
            return None
        if wanted in self.graphs:
            return self.graphs[wanted].read_bytes()
        return draw(f"{self.name} {self.version}", self.schemas(), dark=dark)


class Algorithms:
    """Versions of algorithms by name, in the order of registration."""

    def __init__(self, versions: Iterable[AlgorithmVersion] = ()) -> None:
        self._algorithms: dict[str, dict[str, AlgorithmVersion]] = {}
        for one in versions:
            self._algorithms.setdefault(one.name, {})[one.version] = one

    def __iter__(self) -> Iterator[str]:
        return iter(self._algorithms)

    def __len__(self) -> int:
        return len(self._algorithms)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self._algorithms)})"

    def versions(self, name: str) -> tuple[AlgorithmVersion, ...]:
        """Return all versions of an algorithm, in the order of registration.

        Raises:
            UnknownAlgorithmError: The algorithm doesn't exist; the message suggests similar names.
        """
        found = self._algorithms.get(name) if isinstance(name, str) else None
        if found is None:
            raise _unknown("Algorithm {}", name, self._algorithms)
        return tuple(found.values())

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
        raise _unknown(f"Version {{}} of {name!r}", version, [algorithm.version for algorithm in versions])


def _unknown(what: str, name: Any, known: Iterable[str]) -> UnknownAlgorithmError:
    names = list(known)
    if not isinstance(name, str):
        return UnknownAlgorithmError(f"{what.format(short_repr(name))} doesn't exist.", hint="Give its name, a string.")
    hint = similar(name[:200], names).strip()
    if not hint:
        hint = f"Registered: {', '.join(names[:20])}." if names else "Nothing is registered."
    return UnknownAlgorithmError(f"{what.format(repr(name[:200]))} doesn't exist.", hint=hint)

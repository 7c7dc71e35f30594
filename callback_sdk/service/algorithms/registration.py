"""Checks of the arguments with which an algorithm is registered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from callback_sdk.documents.decoding import decode
from callback_sdk.documents.values import encode
from callback_sdk.errors import ConfigurationError, EncodingError
from callback_sdk.parsing import path_of
from callback_sdk.service.algorithms.versions import TEMPLATES
from callback_sdk.text.descriptions import short_repr, type_name

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""Names of algorithms, versions, evaluations and monitors."""

_MAX_DEVICES = 1024
"""Maximum number of devices of a run."""

_PNG = b"\x89PNG\r\n\x1a\n"


def check_names(name: str, version: str, memory_limit: float | None, max_runs: int | None) -> None:
    """Check names and limits.

    Raises:
        ConfigurationError: One of them is invalid.
    """
    if callable(name):
        raise ConfigurationError(
            "@registry.algorithm is used without a name.", hint='Write @registry.algorithm("NAME") above the function.'
        )
    for what, text in (("name", name), ("version", version)):
        if not isinstance(text, str) or not NAME.fullmatch(text):
            raise ConfigurationError(
                f"{short_repr(text)} can't be an algorithm's {what}.",
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


def check_devices(name: str, devices: int) -> None:
    """Check a number of devices.

    Raises:
        ConfigurationError: It is not a whole number in the range.
    """
    if type(devices) is not int or not 0 <= devices <= _MAX_DEVICES:
        raise ConfigurationError(
            f"devices={devices!r:.100} of {name!r} is not a whole number from 0 to {_MAX_DEVICES}.",
            hint="Give the number of devices of one run.",
        )


def copied_templates(name: str, templates: Mapping[str, Any]) -> dict[str, Any]:
    """Return copies of templates.

    Raises:
        ConfigurationError: The kind of a template is unknown, or its value can't be represented in JSON.
    """
    copies = {}
    for kind, template in _mapping(name, "templates", templates).items():
        if not isinstance(kind, str) or kind not in TEMPLATES:
            raise ConfigurationError(
                f"{short_repr(kind)} of {name!r} is not a kind of template.",
                hint=f"The kinds are {', '.join(TEMPLATES)}.",
            )
        try:
            copies[kind] = decode(encode(template, path=kind, only_finite=True).data)
        except EncodingError as error:
            raise ConfigurationError(
                f"The template {kind!r} of {name!r} can't be represented in JSON: {error.message}", hint=error.hint
            ) from None
    return copies


def graph_files(name: str, graphs: Mapping[str, str | Path]) -> dict[str, Path]:
    """Return the absolute paths of graphs.

    Raises:
        ConfigurationError: A kind is not a string, or a file can't be read, or is not a PNG file.
    """
    found = {}
    for kind, path in _mapping(name, "graphs", graphs).items():
        if not isinstance(kind, str):
            raise ConfigurationError(f"{short_repr(kind)} of {name!r} is not a kind of graph.", hint="Give a string.")
        found[kind] = _graph_file(name, path_of("graphs", path))
    return found


def _mapping(name: str, what: str, given: Any) -> Mapping[Any, Any]:
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{what} of {name!r} is of type {type_name(given)}.", hint="Give a dict, by kind.")
    return given


def _graph_file(name: str, path: Path) -> Path:
    """Return the absolute path of a graph.

    Raises:
        ConfigurationError: The file can't be read, or is not a PNG file.
    """
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

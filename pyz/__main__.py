"""Build `callback-sdk.pyz`: `callback-sdk exec` and `outbox run` in one file for any Python from 3.10.

The archive is that of the standard library's zipapp. It has the package, what it requires as it is installed here, and
the modules of `pyz/modules` in place of compiled ones. Nothing is unpacked when it runs, so it needs no directory that
can be written. The same sources, requirements and zlib make the same file, byte for byte.

    python pyz build/callback-sdk.pyz
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
MODULES = Path(__file__).parent / "modules"

LEFT_OUT = {"boto3", *(path.stem for path in MODULES.glob("*.py"))}
"""Requirements that are compiled, and boto3, with which only targets are signed."""

_PACKAGES_LEFT_OUT = ("client", "commands", "compat", "features", "service", "signer", "testing")
"""Packages that the commands of the archive don't import."""

_FILES = (".py", ".pem")
_LICENSES = ("LICEN", "COPYING", "NOTICE", "AUTHORS")

_PYTHONS = ("3.10", "3.13")
_DATE = (1980, 1, 1, 0, 0, 0)
_SHEBANG = b"#!/usr/bin/env python3\n"

_MAIN = b"""\
import sys

from callback_sdk.cli import main

sys.exit(main())
"""


def build(target: Path) -> None:
    """Write the archive.

    Args:
        target: Its path.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        file.write(_SHEBANG)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for name, content in sorted(_content().items()):
                entry = zipfile.ZipInfo(name, _DATE)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, content)
    target.chmod(0o755)


def _content() -> dict[str, bytes]:
    content = {"__main__.py": _MAIN, "LICENSE": (ROOT / "LICENSE").read_bytes()}
    for path in (ROOT / "callback_sdk").rglob("*.py"):
        if path.relative_to(ROOT).parts[1] not in _PACKAGES_LEFT_OUT:
            content[path.relative_to(ROOT).as_posix()] = path.read_bytes()
    for path in MODULES.glob("*.py"):
        content[path.name] = path.read_bytes()
    for name in sorted(_requirements("callback-sdk", set())):
        content |= dict(_files(name))
    return content


def _requirements(name: str, extras: set[str]) -> set[str]:
    """Return the names of what a distribution requires, directly and indirectly, on Linux."""
    found: set[str] = set()
    for text in distribution(name).requires or ():
        requirement = Requirement(text)
        own = canonicalize_name(requirement.name)
        if own not in LEFT_OUT and own not in found and _applies(requirement, extras):
            found |= {own, *_requirements(own, requirement.extras)}
    return found


def _applies(requirement: Requirement, extras: set[str]) -> bool:
    if requirement.marker is None:
        return True
    environments = (
        {"extra": extra, "python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
        for extra in extras or {""}
        for python in _PYTHONS
    )
    return any(map(requirement.marker.evaluate, environments))


def _files(name: str) -> Iterator[tuple[str, bytes]]:
    for file in distribution(name).files or ():
        path = file.as_posix()
        is_license = ".dist-info/" in path and file.name.upper().startswith(_LICENSES)
        if is_license or (file.suffix in _FILES and not path.startswith("..")):
            yield path, Path(str(file.locate())).read_bytes()


if __name__ == "__main__":
    build(Path(sys.argv[1]))

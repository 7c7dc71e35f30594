"""Checks of `callback-sdk doctor` that need no service: versions, extras, environment variables and the disk."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from callback_sdk._version import __version__
from callback_sdk.commands.findings import Finding, failure, ok, warning
from callback_sdk.config import settings
from callback_sdk.config.definition import Setting
from callback_sdk.config.reader import unknown_variables
from callback_sdk.errors import install_hint

OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 13)
"""The versions that are tested."""

_DISTRIBUTION = "callback-sdk"
_LIBRARIES = ("attrs", "boto3", "requests", "urllib3", "typer", "fastapi", "sqlalchemy", "celery", "pyarrow")
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_EXTRA = re.compile(r"extra == ['\"]([a-z0-9]+)['\"]")
"""Name and extra of a requirement in the metadata: `celery>=5.6; extra == "celery"` (PEP 508)."""
_FOR_DEVELOPERS = frozenset({"all", "bench", "dev", "test"})

LITTLE_SPACE = 1024**3
NO_SPACE = 100 * 1024**2
"""Free bytes below which a disk is nearly full, and full."""

_REMOTE = frozenset({"9p", "cifs", "fuse.sshfs", "nfs", "nfs4", "smb3", "smbfs", "virtiofs"})
"""File systems whose locks and fsync SQLite can't rely on ("How To Corrupt An SQLite Database File")."""

_IN_MEMORY = frozenset({"ramfs", "tmpfs"})


def check_versions() -> list[Finding]:
    """Compare Python and the system with what is tested."""
    python = ".".join(map(str, sys.version_info[:3]))
    found = f"callback-sdk {__version__}, Python {python}, {platform.system()} {platform.machine()}"
    installed = [f"{name} {metadata.version(name)}" for name in _LIBRARIES if _is_installed(name)]
    text = f"{found}; {', '.join(installed)}."
    if not OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON:
        tested = f"{'.'.join(map(str, OLDEST_PYTHON))} to {'.'.join(map(str, NEWEST_PYTHON))}"
        return warning(text, f"This Python isn't tested; use one of {tested}.")
    if sys.platform != "linux":
        return warning(text, "The service and its workers run on Linux only. The library works here.")
    return ok(text)


def check_extras() -> list[Finding]:
    """List the extras whose requirements are installed."""
    try:
        lines = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return warning(
            "The package is imported from a directory, and isn't installed.", "In a checkout: pip install --editable ."
        )
    extras: dict[str, list[str]] = {}
    for line in lines:
        requirement, _, marker = line.partition(";")
        name, extra = _NAME.match(requirement), _EXTRA.search(marker)
        if name and extra:
            extras.setdefault(extra[1], []).append(name[0])
    shown = sorted(set(extras) - _FOR_DEVELOPERS)
    there = [name for name in shown if all(map(_is_installed, extras[name]))]
    missing = [name for name in shown if name not in there]
    text = f"Installed: {', '.join(there) or 'none'}. Not installed: {', '.join(missing) or 'none'}."
    return ok(text if not missing else f"{text} {install_hint('NAME')} adds one.")


def check_environment(environment: Mapping[str, str]) -> list[Finding]:
    """Check all variables `CALLBACK_SDK_…`: misspelled names and invalid values."""
    found = [Finding("warning", text, "Correct or remove it.") for text in unknown_variables(environment)]
    found += [
        Finding("failure", f"{setting.variable} has an invalid value.", f"It takes {setting.takes}.")
        for setting in invalid_settings(environment)
    ]
    count = sum(setting.variable in environment for setting in _settings())
    return found or ok(f"{count} of the variables CALLBACK_SDK_… are set, all valid.")


def invalid_settings(environment: Mapping[str, str]) -> list[Setting]:
    """Return the settings whose environment variable has an invalid value."""
    return [setting for setting in _settings() if not _is_valid(setting, environment.get(setting.variable, ""))]


def check_disk(folder: Path, *, has_sqlite: bool) -> list[Finding]:
    """Check the disk of the data directory, and that of temporary files.

    Args:
        folder: The data directory, which need not exist yet.
        has_sqlite: Whether the database is a file in it.
    """
    place = folder if folder.exists() else folder.absolute().parent
    if not place.is_dir():
        return failure(
            f"The parent of the data directory {folder} doesn't exist.", "Create it, or correct CALLBACK_SDK_DATA_DIR."
        )
    found = [*_space(place), *_space(Path(tempfile.gettempdir()))]
    if has_sqlite:
        found += _reliability(place)
    problems = [finding for finding in found if finding.status != "ok"]
    return problems or ok(f"{folder}: {_free(place)} free, on {file_system(place) or 'an unknown file system'}.")


def file_system(path: Path) -> str:
    """Return the type of the file system that a path is on; empty if the system doesn't tell."""
    try:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return ""
    resolved = path.resolve()
    # Spaces in a mount point are written as \040 (proc(5)).
    points = {Path(line[1].replace("\\040", " ")): line[2] for line in mounts}
    return next((points[parent] for parent in (resolved, *resolved.parents) if parent in points), "")


def _space(place: Path) -> list[Finding]:
    from callback_sdk.service.files import check_writable

    check_writable(place)
    free = shutil.disk_usage(place).free
    if free < NO_SPACE:
        return failure(f"{place} has {_free(place)} free.", "Free space: nothing can be accepted or delivered without.")
    if free < LITTLE_SPACE:
        return warning(f"{place} has {_free(place)} free.", "Free space, or set --retention to delete old tasks.")
    return []


def _reliability(place: Path) -> list[Finding]:
    kind = file_system(place)
    if kind in _REMOTE:
        return warning(
            f"{place} is on a network file system ({kind}), where SQLite may lose data.",
            "Use a local disk, or PostgreSQL: CALLBACK_SDK_DATABASE=postgresql://…",
        )
    if kind in _IN_MEMORY:
        return warning(
            f"{place} is in memory ({kind}): a restart loses all tasks.", "Use a disk: --data-dir DIRECTORY."
        )
    return _locks(place)


def _locks(place: Path) -> list[Finding]:
    """Check that fsync works, and that a second lock of a file is refused."""
    from callback_sdk.filesystem.locks import try_lock

    with tempfile.NamedTemporaryFile(dir=place, prefix=".doctor-") as file, Path(file.name).open("rb") as again:
        file.write(b"x")
        file.flush()
        os.fsync(file.fileno())
        if try_lock(file.fileno()) and try_lock(again.fileno()) is False:
            return []
    return failure(f"File locks don't work in {place}.", "Use a local disk for the data directory.")


def _free(place: Path) -> str:
    return f"{shutil.disk_usage(place).free / 1024**3:.1f} GiB"


def _settings() -> list[Setting]:
    return [setting for setting in vars(settings).values() if isinstance(setting, Setting)]


def _is_valid(setting: Setting, text: str) -> bool:
    if not text.strip():
        return True
    try:
        setting.parse(text)
    except ValueError:
        return False
    return True


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True

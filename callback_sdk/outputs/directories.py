"""The files of a directory, as output files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from callback_sdk.documents.body import reason
from callback_sdk.errors import OutputError, shown

_LINK_HINT = "Give the file that the link leads to as an output of its own, or put a copy of it into the directory."


def directory_files(name: str, root: Path) -> Iterator[tuple[str, Path]]:
    """Yield name and path of each file of a directory and its subdirectories, hidden files included, in sorted order.

    Links to files and directories within the directory are followed. A link out of it could add any file of this
    machine, and a link to a directory above itself has no end.

    Args:
        name: The directory's name as an output.
        root: The directory.

    Raises:
        OutputError: A directory can't be read; or it has a link that isn't followed, a pipe, a socket or a device.
    """
    real = _resolved(name, root)
    yield from _files(name, real, real, (real,))


def _files(name: str, folder: Path, root: Path, above: tuple[Path, ...]) -> Iterator[tuple[str, Path]]:
    for entry in _sorted_entries(name, folder):
        member = f"{name}/{entry.name}"
        path = _followed(member, Path(entry.path), root) if entry.is_symlink() else Path(entry.path)
        if path.is_dir():
            if path in above:
                raise OutputError(
                    f"The output directory {shown(member)} is a link to a directory that it is in.",
                    hint="Remove the link.",
                    name=member,
                )
            yield from _files(member, path, root, (*above, path))
        elif path.is_file():
            yield member, path
        else:
            raise OutputError(
                f"{shown(member)} in an output directory is neither a file nor a directory.",
                hint="Remove pipes, sockets and devices from the directory.",
                name=member,
            )


def _sorted_entries(name: str, folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise OutputError(
            f"The output directory {shown(name)} can't be read: {reason(error)}.",
            hint="Check its permissions, and leave it alone until the result is delivered.",
            name=name,
        ) from error


def _followed(name: str, link: Path, root: Path) -> Path:
    path = _resolved(name, link)
    if not path.is_relative_to(root):
        raise OutputError(
            f"{shown(name)} in an output directory is a link that leads out of the directory.",
            hint=_LINK_HINT,
            name=name,
        )
    return path


def _resolved(name: str, path: Path) -> Path:
    try:
        return path.resolve(strict=True)
    # Python before 3.13 raises a RuntimeError for links in a circle.
    except (OSError, RuntimeError) as error:
        raise OutputError(
            f"{shown(name)} can't be found: {reason(error)}.",
            hint="Check the path; a link may lead nowhere.",
            name=name,
        ) from error

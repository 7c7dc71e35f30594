"""The files of a directory, as output files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from attrs import define

from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.documents.body import reason
from callback_sdk.errors import OutputError
from callback_sdk.outputs.names import checked_name
from callback_sdk.text.descriptions import short_repr

MAX_ENTRIES = 20_000
"""Maximum number of files and directories that are listed for one output, of which 10,000 may be files."""

MAX_DEPTH = 256
"""Maximum depth of a directory: a name of 512 bytes has no more segments."""

_ARCHIVE_HINT = "Put the directory into an archive, such as a .tar or .zip file, and give that."

_LINK_HINT = "Give the file that the link leads to as an output of its own, or put a copy of it into the directory."


def directory_files(name: str, root: Path) -> Iterator[tuple[str, Path]]:
    """Yield name and path of each file of a directory and its subdirectories, hidden files included, in sorted order.

    Links to files and directories within the directory are followed. A link out of it could add any file of this
    machine, and a link to a directory above itself has no end.

    Args:
        name: The directory's name as an output.
        root: The directory.

    Raises:
        OutputError: A directory can't be read, or has more than 20,000 entries or 256 levels, those in linked
            directories counted again for each link; or it has a link that isn't followed, a pipe, a socket or a device.
    """
    real = _resolve(name, root)
    yield from _files(name, real, real, (real,), _Budget(name))


@define
class _Budget:
    """Entries that may still be listed. A few links in each of a few directories make an exponential number of paths.

    Args:
        name: The directory's name as an output.
    """

    name: str
    left: int = MAX_ENTRIES

    def spend(self, entries: int) -> None:
        self.left -= entries
        if self.left < 0:
            raise OutputError(
                f"The output directory {short_repr(self.name)} has more than {MAX_ENTRIES} files and directories, "
                "links followed.",
                hint=f"Remove links to directories if there are any. {_ARCHIVE_HINT}",
                name=self.name,
            )


def path_below(root: Path, name: str) -> Path:
    """Return where to write an output file below a directory.

    Args:
        root: The directory, which may be missing.
        name: The file's name.

    Raises:
        OutputError: The name, or a link that is in the directory already, leads out of it.
    """
    path = root.joinpath(*checked_name(name).split("/"))
    try:
        # Not the file itself: a link in its place is replaced, and not followed.
        is_below = path.parent.resolve().is_relative_to(root.resolve())
    # Links in a circle.
    except (OSError, RuntimeError):
        is_below = False
    if not is_below:
        raise OutputError(
            f"A link in the directory {short_repr(str(root))} leads out of it, on the path of the file "
            f"{short_repr(name)}.",
            hint="Remove the link, or give another directory.",
            name=name,
        )
    return path


def _files(name: str, folder: Path, root: Path, above: tuple[Path, ...], budget: _Budget) -> Iterator[tuple[str, Path]]:
    if len(above) > MAX_DEPTH:
        raise OutputError(
            f"The output directory {short_repr(budget.name)} has more than {MAX_DEPTH} levels, links followed.",
            hint=_ARCHIVE_HINT,
            name=budget.name,
        )
    for entry in _sorted_entries(name, folder, budget):
        member = f"{name}/{entry.name}"
        path = _follow(member, Path(entry.path), root) if entry.is_symlink() else Path(entry.path)
        if path.is_dir():
            if path in above:
                raise OutputError(
                    f"The output directory {short_repr(member)} is a link to a directory that it is in.",
                    hint="Remove the link.",
                    name=member,
                )
            yield from _files(member, path, root, (*above, path), budget)
        elif path.is_file():
            yield member, path
        else:
            raise OutputError(
                f"{short_repr(member)} in an output directory is neither a file nor a directory.",
                hint="Remove pipes, sockets and devices from the directory.",
                name=member,
            )


def _sorted_entries(name: str, folder: Path, budget: _Budget) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            found = list(islice(entries, budget.left + 1))
    except uninterrupted(OSError) as error:
        raise OutputError(
            f"The output directory {short_repr(name)} can't be read: {reason(error)}.",
            hint="Check its permissions, and leave it alone until the result is delivered.",
            name=name,
        ) from error
    budget.spend(len(found))
    return sorted(found, key=lambda entry: entry.name)


def _follow(name: str, link: Path, root: Path) -> Path:
    path = _resolve(name, link)
    if not path.is_relative_to(root):
        raise OutputError(
            f"{short_repr(name)} in an output directory is a link that leads out of the directory.",
            hint=_LINK_HINT,
            name=name,
        )
    return path


def _resolve(name: str, path: Path) -> Path:
    try:
        return path.resolve(strict=True)
    # Python before 3.13 raises a RuntimeError for links in a circle.
    except uninterrupted(OSError, RuntimeError) as error:
        raise OutputError(
            f"{short_repr(name)} can't be found: {reason(error)}.",
            hint="Check the path; a link may lead nowhere.",
            name=name,
        ) from error

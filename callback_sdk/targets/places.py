"""Places: the objects that the targets of one result write, of which none may replace another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from callback_sdk.errors import OutputError, shown
from callback_sdk.targets.target import Target


class Places:
    """The objects of one result: those of its documents, and of the output files that are added.

    Several targets of the document may be one object, as they write the same.

    Args:
        documents: Targets of the document.
    """

    def __init__(self, documents: Iterable[Target]) -> None:
        self._taken = {_place(target) for target in documents}

    def add(self, name: str, target: Target) -> None:
        """Add the object of an output file.

        Args:
            name: The file's name.
            target: The file's target, or one that takes any number of objects.

        Raises:
            OutputError: Another file or a document has this object, or the key would be too long.
        """
        place = _place(target.below(name, target.media_type) if target.takes_outputs() else target)
        if place in self._taken:
            raise OutputError(
                f"The output file {shown(name)} has the same place at {target.callback.url} as another file or a "
                "document; one would replace the other.",
                hint="Presign an object of its own for each.",
                name=name,
            )
        self._taken.add(place)


def _place(target: Target) -> str:
    """Return what identifies the object of a target: its URL, or a digest of one that is secret."""
    url = target.object_url("")
    return (
        url
        if url is not None
        else hashlib.sha256(target.callback.url.reveal().encode("utf-8", "surrogatepass")).hexdigest()
    )

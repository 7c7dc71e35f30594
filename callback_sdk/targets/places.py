"""Places: the objects that the targets of one result write, of which none may replace another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

from callback_sdk.errors import CallbackParamError, InvalidTargetError, OutputError
from callback_sdk.targets.target import Target
from callback_sdk.text.descriptions import shown


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
        place = _place(object_target(target, name))
        if place in self._taken:
            raise OutputError(
                f"The output file {shown(name)} has the same place at {target.callback.url} as another file or a "
                "document; one would replace the other.",
                hint="Presign an object of its own for each.",
                name=name,
            )
        self._taken.add(place)


def check_documents(documents: Iterable[Target]) -> None:
    """Check that targets of one object get the same document, of which the later upload replaces the earlier one.

    Raises:
        CallbackParamError: Their `callback_param`, which is part of the document, differs.
    """
    params: dict[bytes, dict[str, Any]] = {}
    for target in documents:
        if _is_one_object(target) and params.setdefault(_place(target), target.callback.param) != target.callback.param:
            url = str(target.callback.shown_url)
            raise CallbackParamError(
                f"Two targets are the same object, {url}, with different callback_param: one document would replace "
                "the other.",
                hint="Presign an object of its own for each document.",
                url=url,
            )


def check_takes_files(name: str, target: Target, *, is_new: bool = False) -> None:
    """Check that the target of an output file isn't one that takes documents only.

    Args:
        name: The file's name.
        target: The target.
        is_new: Whether it replaces another target.

    Raises:
        InvalidTargetError: It is a webhook, or `results:`.
    """
    if target.takes_files and not target.callback.is_results:
        return
    kind = "results:" if target.callback.is_results else "a webhook"
    raise InvalidTargetError(
        f"The {'new ' * is_new}target of the output file {shown(name)} is {kind}, which takes documents only.",
        hint="Give a presigned URL." + " Without a target, the service stores the file." * (not is_new),
        url=str(target.callback.shown_url),
    )


def object_target(target: Target, name: str | None) -> Target:
    """Return the target of an output file, below a prefix if the target takes any number; or of the document.

    Raises:
        OutputError: The key would be too long.
    """
    return target.below(name, target.media_type) if name is not None and target.takes_outputs() else target


def check_replacement(new: Target, name: str | None, others: Iterable[Target]) -> None:
    """Check that a new target is not the object of another target of the result.

    Args:
        new: The new target.
        name: Name of the output file; None for the document.
        others: The targets of the other files, and of other documents.

    Raises:
        InvalidTargetError: It takes no files and is that of one, or one upload would replace the other.
        OutputError: The key would be too long.
    """
    if name is not None:
        check_takes_files(name, new, is_new=True)
    own = object_target(new, name)
    if _is_one_object(own) and _place(own) in {_place(other) for other in others if _is_one_object(other)}:
        url = str(new.callback.shown_url)
        raise InvalidTargetError(
            f"The new target {url} is the object of another target of this result; one would replace the other.",
            hint="Presign an object of its own.",
            url=url,
        )


def is_same_place(one: Target, other: Target) -> bool:
    """Return whether two targets send results to the same object, or to the same URL."""
    return _place(one) == _place(other)


def _is_one_object(target: Target) -> bool:
    """Return whether each delivery writes the same object: no webhook, and no form whose key has `${filename}`."""
    return target.takes_files and target.object_url("a") == target.object_url("b")


def _place(target: Target) -> bytes:
    """Return what identifies the object of a target: its decoded URL, or a digest of one that is secret.

    Clients encode the same key differently: `%70ct` is `pct` (RFC 3986, section 6.2.2).
    """
    shown_url = target.callback.shown
    url = target.object_url("") if shown_url is None else shown_url.bare
    if url is None:
        return hashlib.sha256(target.callback.url.reveal().encode("utf-8", "surrogatepass")).digest()
    return unquote_to_bytes(url.encode("utf-8", "surrogatepass"))

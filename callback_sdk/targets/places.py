"""Places: the objects that the targets of one result write, of which none may replace another.

Whatever stores a target of a result compares it here with the others: a submission, a new target of a delivery, and
one that an issuer gave.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from attrs import define

from callback_sdk.concurrency.forking import RLock
from callback_sdk.errors import CallbackParamError, CallbackSDKError, InvalidTargetError, OutputError
from callback_sdk.targets.members import DEFAULT_EVENTS
from callback_sdk.targets.objects import ObjectName, object_names, prefix_names
from callback_sdk.targets.target import Target
from callback_sdk.text.descriptions import short_repr


@define(frozen=True, kw_only=True)
class ResultTarget:
    """A target, and what of a result it is sent.

    Attributes:
        target: The target.
        has_document: Whether it is sent the document.
        files: Names of the output files that it is sent: of one, or of the known ones below its prefix; None for a
            document alone.
    """

    target: Target
    has_document: bool = True
    files: frozenset[str] | None = None

    @classmethod
    def of(cls, name: str | None, target: Target, files: frozenset[str] = frozenset()) -> ResultTarget:
        """Return a target of a task.

        Args:
            name: Name of the output file that it is for; None for the document.
            target: The target.
            files: Names of the known output files without targets of their own.

        Raises:
            OutputError: The key of the file would be too long.
        """
        if name is not None:
            return cls.of_file(name, target)
        takes_files = target.callback.prefix is not None or target.callback.is_results
        return cls(target=target, files=files if takes_files else None)

    @classmethod
    def of_file(cls, name: str, target: Target) -> ResultTarget:
        """Return the target of one output file.

        Raises:
            OutputError: The key would be too long.
        """
        return cls(target=object_target(target, name), has_document=False, files=frozenset({name}))


class Places:
    """The objects of one result. Several targets may be one object if they write the same. Thread-safe."""

    def __init__(self) -> None:
        self._targets: dict[Hashable, _Objects] = {}
        self._contents: dict[ObjectName, dict[Hashable, _Content]] = defaultdict(dict)
        self._lock = RLock()

    @classmethod
    def of_documents(cls, targets: Sequence[Target | CallbackSDKError]) -> Places:
        """Return the objects of a result's documents, by the indexes of their targets.

        Args:
            targets: The targets, or the errors of planning them.

        Raises:
            CallbackParamError: Two documents that differ would be one object.
        """
        places = cls()
        for index, target in enumerate(targets):
            if isinstance(target, Target):
                places.add(index, ResultTarget(target=target))
        return places

    def put(self, key: Hashable, target: ResultTarget) -> None:
        """Put a target without a check: an earlier version may have accepted what `add` rejects.

        Args:
            key: The same for any target that replaces this one.
            target: The target.
        """
        with self._lock:
            self._put(key, _Objects.of(key, target))

    def add(self, key: Hashable, target: ResultTarget) -> None:
        """Put a target if none of its objects is that of another target.

        Args:
            key: The same for any target that replaces this one.
            target: The target.

        Raises:
            OutputError: An output file and another file or a document would be one object.
            CallbackParamError: Two documents that differ would be one object.
        """
        found = self._put_unless_taken(key, target)
        if found is None:
            return
        url = str(target.target.callback.shown_url)
        if found.file is None:
            raise CallbackParamError(
                f"Two targets are the same object, {url}, with different callback_param: one document would replace "
                "the other.",
                hint="Presign an object of its own for each document.",
                url=url,
            )
        raise OutputError(
            f"The output file {short_repr(found.file)} has the same place at {url} as another file or a document; one "
            "would replace the other.",
            hint="Presign an object of its own for each.",
            name=found.file,
        )

    def replace(self, key: Hashable, target: ResultTarget) -> None:
        """Put a new target in place of an old one, which is kept if that fails.

        Args:
            key: That of the old target.
            target: The new one.

        Raises:
            InvalidTargetError: One of its objects is that of another target.
        """
        found = self._put_unless_taken(key, target)
        if found is not None:
            url = str(target.target.callback.shown_url)
            what = "" if found.file is None else f", with the output file {short_repr(found.file)}"
            raise InvalidTargetError(
                f"The new target {url} is the object of another target of this result{what}; one would replace the "
                "other.",
                hint="Presign an object of its own.",
                url=url,
            )

    def reserved_names(self) -> frozenset[str]:
        """Return the names that no output file may have: below a prefix, they are the objects of other targets.

        A file with a target of its own isn't sent there.
        """
        prefixes = [objects.prefix for objects in self._targets.values()]
        taken = {prefix.rest(name) for prefix in prefixes for name in self._contents}
        own = {content.file for contents in self._contents.values() for content in contents.values()}
        return frozenset(taken - own - {""})

    def _put_unless_taken(self, key: Hashable, target: ResultTarget) -> _Content | None:
        """Put a target; or return what would be replaced, or would replace something."""
        new = _Objects.of(key, target)
        with self._lock:
            found = next(self._conflicts(key, new), None)
            if found is None:
                self._put(key, new)
        return found

    def _put(self, key: Hashable, new: _Objects) -> None:
        old = self._targets.get(key)
        for name in () if old is None else old.singles:
            del self._contents[name][key]
        self._targets[key] = new
        for name, content in new.singles.items():
            self._contents[name][key] = content

    def _conflicts(self, key: Hashable, new: _Objects) -> Iterator[_Content]:
        """Yield what would be replaced, or would replace something: a file if one is concerned."""
        others = [objects for other, objects in self._targets.items() if other != key]
        for name, content in new.singles.items():
            for other, present in self._contents.get(name, {}).items():
                if other != key and present != content:
                    yield present if content.file is None else content
            for objects in (new, *others):
                yield from objects.prefix.files_at(name, content)
        for objects in others if new.prefix.names else ():
            for name, content in objects.singles.items():
                yield from new.prefix.files_at(name, content)
            yield from new.prefix.files_below(objects.prefix)
            yield from objects.prefix.files_below(new.prefix)


@define(frozen=True)
class _Content:
    """What an object has: an output file, or a document, which differs between targets only by its `param`."""

    file: str | None
    param: Any = None


@define(frozen=True)
class _Prefix:
    """The objects below a prefix: the names of the prefix, and those of the known output files there."""

    names: frozenset[ObjectName]
    files: frozenset[str]

    def rest(self, name: ObjectName) -> str:
        """Return the part of an object's key below the prefix; empty for an object that isn't there."""
        bases = (base for store, bucket, base in self.names if name[:2] == (store, bucket) and name[2].startswith(base))
        return next((name[2][len(base) :].decode("utf-8", "replace") for base in bases), "")

    def files_at(self, name: ObjectName, content: _Content) -> Iterator[_Content]:
        """Yield the file that is an object, which has something else."""
        rest = self.rest(name)
        if rest in self.files and rest != content.file:
            yield _Content(rest)

    def files_below(self, other: _Prefix) -> Iterator[_Content]:
        """Yield the files that are other files below another prefix, which this one is a part of."""
        middle = next(filter(None, map(other.rest, self.names)), "")
        yield from (_Content(file) for file in self.files if middle and f"{middle}{file}" in other.files)


@define(frozen=True)
class _Objects:
    """The objects of one target: single ones by what they have, and those below its prefix."""

    singles: Mapping[ObjectName, _Content]
    prefix: _Prefix

    @classmethod
    def of(cls, key: Hashable, given: ResultTarget) -> _Objects:
        """Return the objects of a target."""
        target, names = given.target, given.files or frozenset()
        prefix: frozenset[ObjectName] = frozenset() if given.files is None else prefix_names(target)
        singles: dict[ObjectName, _Content] = {}
        if given.has_document:
            # Two targets `results:` of one name are a mistake.
            param = key if target.callback.is_results else target.callback.param
            singles |= dict.fromkeys(object_names(target), _Content(None, param))
        elif not prefix:
            (name,) = names
            singles |= dict.fromkeys(object_names(target), _Content(name))
        return cls(singles, _Prefix(prefix, names))


def object_target(target: Target, name: str | None) -> Target:
    """Return the target of an output file, below a prefix if the target takes any number; or of the document.

    Raises:
        OutputError: The key would be too long.
    """
    return target.below(name, target.media_type) if name is not None and target.takes_outputs() else target


def check_takes_files(name: str, target: Target, *, is_new: bool = False) -> None:
    """Check that the target of an output file isn't one that takes documents only.

    Args:
        name: The file's name.
        target: The target.
        is_new: Whether it replaces another target.

    Raises:
        InvalidTargetError: It is a webhook, or `results:`.
        CallbackParamError: It subscribes to events, which are of the job.
    """
    if target.callback.events != DEFAULT_EVENTS:
        raise CallbackParamError(
            f"The target of the output file {short_repr(name)} subscribes to events.",
            hint="Leave events out: a file is sent when its job has ended. Give them with a target of the document.",
            url=str(target.callback.shown_url),
        )
    if target.takes_files and not target.callback.is_results:
        return
    kind = "results:" if target.callback.is_results else "a webhook"
    raise InvalidTargetError(
        f"The {'new ' * is_new}target of the output file {short_repr(name)} is {kind}, which takes documents only.",
        hint="Give a presigned URL." + " Without a target, the service stores the file." * (not is_new),
        url=str(target.callback.shown_url),
    )

"""The plan of a result's output files: the target of each."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from attrs import define

from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.documents.body import Body, reason
from callback_sdk.documents.output_list import open_results
from callback_sdk.errors import CallbackSDKError, OutputError
from callback_sdk.filesystem.files import storage_hint
from callback_sdk.models import JobResult
from callback_sdk.outputs import Output, output_files
from callback_sdk.outputs.names import named_targets
from callback_sdk.redaction import Secret
from callback_sdk.targets import Target
from callback_sdk.targets.callbacks import Callback, parse_callbacks
from callback_sdk.targets.places import Places, ResultTarget
from callback_sdk.text.descriptions import short_repr
from callback_sdk.writer.outputs import TARGETS_HINT, OutputUpload

_MAX_SHOWN = 3
"""Maximum number of names in an error."""


@define(frozen=True, kw_only=True)
class OutputPlan:
    """Where the output files of one result go.

    Attributes:
        files: The files.
        own: Targets of single files, by name. Such a file goes there only.
        shared: The first target for all other files; None if there is none.
    """

    files: tuple[Output, ...]
    own: Mapping[str, Target]
    shared: Target | None

    @classmethod
    def of(
        cls, files: tuple[Output, ...], own: Mapping[str, Target], targets: Sequence[Target | CallbackSDKError]
    ) -> OutputPlan:
        """Return the plan for a result.

        Args:
            files: The files.
            own: Targets of single files, by name.
            targets: Targets of the document, or the errors of planning them.

        Raises:
            OutputError: A file has no target, or a target has no file.
            CallbackSDKError: A file has no target, and a target of the document is invalid.
        """
        names = {output.name for output in files}
        if unknown := [name for name in own if name not in names]:
            raise OutputError(
                f"outputs has a target for {short_repr(unknown[0])}, and the result has no such file.",
                hint=f"The result has {_list_names(names)}. A directory has a name for each of its files, "
                "'plots/fit.png'."
                if names
                else "Give the file with the result: JobResult(..., outputs={'model.bin': path}).",
                name=str(unknown[0]),
            )
        shared = next(iter(_below(targets)), None)
        unassigned = [output.name for output in files if output.name not in own]
        if shared is None and unassigned:
            # The invalid target was probably meant for the files.
            raise next((one for one in targets if isinstance(one, CallbackSDKError)), None) or OutputError(
                f"No target takes the output file{'s' * (len(unassigned) > 1)} {_list_names(unassigned)}; "
                "nothing was sent.",
                hint=TARGETS_HINT,
                name=unassigned[0],
            )
        for output in files:
            for target in [own[output.name]] if output.name in own else _below(targets):
                OutputUpload.of(output, target)
        return cls(files=files, own=own, shared=shared)

    def put_in(self, places: Places, documents: Sequence[Target | CallbackSDKError]) -> None:
        """Add the files to the objects of the result.

        Args:
            places: The objects, with those of the documents by their indexes.
            documents: The targets of the documents, or the errors of planning them.

        Raises:
            OutputError: A file has the place of another one or of a document.
        """
        for name, target in self.own.items():
            places.add(name, ResultTarget.of_file(name, target))
        for index, document in enumerate(documents):
            if isinstance(document, Target):
                places.add(index, self.sent(document))

    def sent(self, document: Target) -> ResultTarget:
        """Return the target of a document with the files that it is sent."""
        names = frozenset(output.name for output in self.files if output.name not in self.own)
        return ResultTarget(target=document, files=names if document.takes_outputs() else None)

    def target(self, output: Output, document: Target) -> Target:
        """Return the target of a file that a document lists.

        Args:
            output: The file.
            document: The document's target, which has its own copies if it takes output files.
        """
        target = self.own.get(output.name) or (document if document.takes_outputs() else self.shared)
        assert target is not None, "checked by `of`"  # noqa: S101
        return target

    def uploads(self, document: Target) -> list[OutputUpload]:
        """Return the uploads that precede a document.

        Raises:
            OutputError: A target takes no files, or a file has the document's name.
        """
        return [OutputUpload.of(output, self.target(output, document)) for output in self.files]


def _below(documents: Iterable[Target | CallbackSDKError]) -> list[Target]:
    """Return the targets for any number of files."""
    return [one for one in documents if isinstance(one, Target) and one.takes_outputs()]


def files_of(result: JobResult, stack: ExitStack) -> tuple[Output, ...]:
    """Return the output files of a result.

    Args:
        result: The job's outcome.
        stack: Owns the files of values that aren't files yet.

    Raises:
        OutputError: A name or a value is not allowed, or a file can't be read or written.
    """
    if not result.outputs:
        return ()
    try:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="callback-sdk-")))
    except uninterrupted(OSError) as error:
        raise OutputError(
            f"No temporary directory for output files can be created: {reason(error)}.",
            hint=storage_hint(error, "the temporary directory"),
        ) from error
    return output_files(result.outputs, folder)


def plan_outputs(
    result: JobResult,
    results: Body,
    own: Secret[Any],
    targets: Sequence[Target | CallbackSDKError],
    stack: ExitStack,
    *,
    plan: Callable[[Callback], Target],
    places: Places,
) -> OutputPlan | None:
    """Return where the output files of a result go; None without any.

    Args:
        result: The job's outcome.
        results: The encoded results.
        own: Targets of single files, by name; or None.
        targets: Targets of the document, or the errors of planning them.
        stack: Owns the files of values that aren't files yet.
        plan: Returns the target of a callback.
        places: The objects of the documents by the indexes of their targets, to which those of the files are added.

    Raises:
        OutputError: A file is not valid or has no target, a target has no file, two have one place, or the results
            can't list files.
        TargetError: A target of a single file is invalid.
    """
    planned = {name: plan(callback) for name, callback in own_callbacks(own).items()}
    files = files_of(result, stack)
    if not files and not planned:
        return None
    # Results that can't list files are an error before anything is sent.
    open_results(results)
    found = OutputPlan.of(files, planned, targets)
    found.put_in(places, targets)
    return found


def own_callbacks(outputs: Secret[Any]) -> dict[str, Callback]:
    """Return the callbacks of single output files, by the names as given.

    Args:
        outputs: A target for each name, or None.

    Raises:
        OutputError: It is not a dict.
        TargetError: A target is invalid.
    """
    return {name: parse_callbacks(Secret([target.reveal()]))[0] for name, target in named_targets(outputs).items()}


def _list_names(names: Iterable[str]) -> str:
    ordered = sorted(names)
    rest = len(ordered) - _MAX_SHOWN
    return ", ".join(map(short_repr, ordered[:_MAX_SHOWN])) + (f" and {rest} more" if rest > 0 else "")

"""Output files of a result: the target of each, and their uploads, which precede the document's."""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from attrs import define, evolve, field

from callback_sdk.concurrency.forking import RLock
from callback_sdk.concurrency.parallel import Parallel
from callback_sdk.documents.body import Body, reason
from callback_sdk.documents.output_list import opened
from callback_sdk.documents.result_files import gzip_body
from callback_sdk.errors import CallbackSDKError, DeliveryError, OutputError, shown
from callback_sdk.filesystem.files import storage_hint
from callback_sdk.models import JobResult
from callback_sdk.outputs import Output, output_files
from callback_sdk.outputs.names import checked_name, fold
from callback_sdk.receipt import Receipt
from callback_sdk.redaction import Secret
from callback_sdk.targets import Target
from callback_sdk.targets.callbacks import Callback, parse_callbacks
from callback_sdk.writer.delivery import PreparedDelivery
from callback_sdk.writer.retrying import MayRetry, Send, send_with_retries

_TARGETS_HINT = (
    "Give each file a target, outputs={'model.bin': put}, or one that takes them all: "
    "S3Signer(bucket).presign_prefix('runs/42/')."
)

FILE_TRIES = 5
"""Attempts at each file within one attempt at a delivery. With 20 % faults 1 file in 3,000 needs more."""

SendFile = Callable[["OutputUpload"], "StoredFile"]
"""Sends one file, with its retries."""

_MAX_SHOWN = 3
"""Maximum number of names in an error."""


@define(frozen=True, kw_only=True)
class OutputUpload:
    """An output file with the target that it goes to.

    Attributes:
        output: The file.
        target: The target of this file alone.
    """

    output: Output
    target: Target

    @classmethod
    def of(cls, output: Output, target: Target) -> OutputUpload:
        """Return the upload of a file to its own target, or below the prefix of a target for all files.

        Args:
            output: The file.
            target: The target from `plan`.

        Raises:
            OutputError: The target takes no files, or the file has the document's name.
        """
        url = target.callback.url
        if not target.takes_files:
            raise OutputError(
                f"The output file {output.name} can't go to {url}, a webhook, which takes documents only.",
                hint=_TARGETS_HINT,
                name=output.name,
            )
        if target.takes_outputs():
            own = target.below(output.name, output.media_type)
            document = target.object_url("")
            if document is not None and fold(own.object_url("") or "") == fold(document):
                raise OutputError(
                    f"The output file {output.name} has the name of the document at {url}.",
                    hint="Rename the file, or presign with another name of the document: "
                    "presign_prefix(..., document='document.json').",
                    name=output.name,
                )
        else:
            own = evolve(target, media_type=output.media_type)
        return cls(output=output, target=own)

    def entry(self) -> dict[str, Any]:
        """Return what the document has of the file, unless an issuer replaces the target."""
        return self.output.entry(self.target.object_url(""))

    def check(self) -> None:
        """Check offline whether the target would accept the file.

        Raises:
            TargetError: It wouldn't.
        """
        self.target.check(now=_now(), size=self.output.size)

    @property
    def id(self) -> str:
        """An id of the file at this target, the same after a crash."""
        digest = hashlib.sha256(self.target.callback.url.reveal().encode("utf-8", "surrogatepass"))
        digest.update(f"\n{self.target.object_url('')}\n{self.output.name}\n{self.output.sha256}".encode())
        return f"file_{digest.hexdigest()[:32]}"

    def send(self, job_id: str, *, send: Send, may_retry: MayRetry) -> StoredFile:
        """Send the file, and retry transient failures with exponential backoff.

        Args:
            job_id: Id of the job.
            send: Makes one attempt.
            may_retry: Tells whether a transient failure is retried.

        Raises:
            DeliveryError: The last attempt failed.
            TargetError: The target would reject the file.
            OutputError: The file has changed since it was stored.
        """
        self.output.verify()
        with ExitStack() as stack:
            receipt, sent = send_with_retries(self._prepared(job_id, stack), send=send, may_retry=may_retry)
        return StoredFile(receipt=receipt, entry=self.output.entry(sent.target.object_url("")))

    def _prepared(self, job_id: str, stack: ExitStack) -> PreparedDelivery:
        encoding = self.target.content_encoding(None)
        body = gzip_body(self.output.body, stack) if encoding == "gzip" else self.output.body
        name, delivery_id = self.output.name, self.id
        delivery = PreparedDelivery(
            target=self.target, job_id=job_id, delivery_id=delivery_id, body=body, encoding=encoding, output=name
        )
        if self.target.callback.issuer is None:
            return delivery

        def rebuild(fresh: Target) -> PreparedDelivery:
            again = OutputUpload.of(self.output, fresh)._prepared(job_id, stack)
            return evolve(again, delivery_id=delivery_id)

        return evolve(delivery, rebuild=rebuild)


@define(frozen=True, kw_only=True)
class StoredFile:
    """An output file that a target has.

    Attributes:
        receipt: The receipt.
        entry: What the document has of the file.
    """

    receipt: Receipt
    entry: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the wire form, to store it."""
        return {"receipt": self.receipt.to_dict(), "entry": dict(self.entry)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> StoredFile:
        """Read the wire form."""
        return cls(receipt=Receipt.from_dict(data["receipt"]), entry=data["entry"])


@define(frozen=True, kw_only=True)
class DeliveryOutputs:
    """The output files that the document of one delivery lists, for a delivery that is stored.

    Attributes:
        files: Each file with the target that it goes to: one of its own, or one for all files.
        stored: Files that were stored by earlier attempts, by name. They aren't sent again.
        on_stored: Called with name and file when a file was stored, in any thread.
        entries: What the document has of further files, by name, which other deliveries send.
    """

    files: Sequence[tuple[Output, Callback]] = ()
    stored: Mapping[str, StoredFile] = field(factory=dict)
    on_stored: Callable[[str, StoredFile], None] = lambda name, file: None
    entries: Mapping[str, Mapping[str, Any]] = field(factory=dict)

    def uploads(self, plan: Callable[[Callback], Target]) -> list[OutputUpload]:
        """Return the uploads of all files.

        Args:
            plan: Returns the target of a callback.

        Raises:
            OutputError: A target takes no files, or a file has the document's name.
            TargetError: A target can't be used.
        """
        # By identity, as a callback has no hash. The same one stands for many files.
        targets = {id(callback): plan(callback) for _, callback in self._callbacks()}
        return [OutputUpload.of(output, targets[id(callback)]) for output, callback in self.files]

    def listed(self, files: Mapping[str, StoredFile]) -> dict[str, Mapping[str, Any]]:
        """Return what the document has of all files, by name.

        Args:
            files: The files that this delivery sends.
        """
        return {**self.entries, **{name: file.entry for name, file in files.items()}}

    def _callbacks(self) -> Iterable[tuple[int, Callback]]:
        return {id(callback): callback for _, callback in self.files}.items()


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
    except OSError as error:
        raise OutputError(
            f"No temporary directory for output files can be created: {reason(error)}.",
            hint=storage_hint(error, "the folder of temporary files"),
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
) -> OutputPlan | None:
    """Return where the output files of a result go; None without any.

    Args:
        result: The job's outcome.
        results: The encoded results.
        own: Targets of single files, by name; or None.
        targets: Targets of the document, or the errors of planning them.
        stack: Owns the files of values that aren't files yet.
        plan: Returns the target of a callback.

    Raises:
        OutputError: A file is not valid or has no target, a target has no file, or the results can't list files.
        TargetError: A target of a single file is invalid.
    """
    planned = {name: plan(callback) for name, callback in own_callbacks(own).items()}
    files = files_of(result, stack)
    if not files and not planned:
        return None
    # Results that can't list files are an error before anything is sent.
    opened(results)
    return OutputPlan.of(files, planned, targets)


def own_callbacks(outputs: Secret[Any]) -> dict[str, Callback]:
    """Return the callbacks of single output files, by the names as given.

    Args:
        outputs: A target for each name, or None.

    Raises:
        OutputError: It is not a dict.
        TargetError: A target is invalid.
    """
    if outputs.reveal() is None:
        return {}
    if not isinstance(outputs.reveal(), Mapping):
        raise OutputError(
            f"outputs is of type {type(outputs.reveal()).__name__}.",
            hint="Give a dict from the names of the files to their targets: outputs={'model.bin': put}.",
        )
    found = {}
    for name in outputs.reveal():
        given = parse_callbacks(Secret([outputs.reveal()[name]]))
        found[checked_name(name)] = given[0]
    return found


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
                f"outputs has a target for {shown(unknown[0])}, and the result has no such file.",
                hint=f"The result has {_listed(names)}. A directory has a name for each of its files, 'plots/fit.png'."
                if names
                else "Give the file with the result: JobResult(..., outputs={'model.bin': path}).",
                name=str(unknown[0]),
            )
        shared = next((one for one in targets if isinstance(one, Target) and one.takes_outputs()), None)
        homeless = [output.name for output in files if output.name not in own]
        if shared is None and homeless:
            # The invalid target was probably meant for the files.
            raise next((one for one in targets if isinstance(one, CallbackSDKError)), None) or OutputError(
                f"No target takes the output file{'s' * (len(homeless) > 1)} {_listed(homeless)}; nothing was sent.",
                hint=_TARGETS_HINT,
                name=homeless[0],
            )
        return cls(files=files, own=own, shared=shared)

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


class SharedUploads:
    """Uploads of one result, each made once, although several documents list it.

    Args:
        send: Sends one file, with its retries.
    """

    def __init__(self, send: SendFile) -> None:
        self._send = send
        self._lock = RLock()
        self._locks: dict[str, Any] = {}
        self._outcomes: dict[str, StoredFile | CallbackSDKError] = {}

    def send(self, upload: OutputUpload) -> StoredFile:
        """Send a file unless that was done.

        Raises:
            CallbackSDKError: The upload has failed.
        """
        with self._lock:
            lock = self._locks.setdefault(upload.id, RLock())
        with lock:
            if upload.id not in self._outcomes:
                self._outcomes[upload.id] = _outcome(upload, self._send)
            outcome = self._outcomes[upload.id]
        if isinstance(outcome, CallbackSDKError):
            raise outcome
        return outcome


def send_stored(
    outputs: DeliveryOutputs,
    *,
    plan: Callable[[Callback], Target],
    send: Callable[..., StoredFile],
    parallel: Parallel,
) -> dict[str, StoredFile]:
    """Send the files of a delivery that aren't stored yet, and return all of them by name.

    Args:
        outputs: The files.
        plan: Returns the target of a callback.
        send: `DeliveryAttempts.send_file` for the job.
        parallel: The threads.

    Raises:
        CallbackSDKError: A file could not be sent: the first error.
    """

    def send_and_store(upload: OutputUpload) -> StoredFile:
        file = send(upload, may_retry=lambda attempts, pause: attempts < FILE_TRIES)
        outputs.on_stored(upload.output.name, file)
        return file

    new = [upload for upload in outputs.uploads(plan) if upload.output.name not in outputs.stored]
    sent = send_files(new, send_and_store, parallel)
    return {output.name: sent.get(output.name) or outputs.stored[output.name] for output, _ in outputs.files}


def send_files(uploads: Collection[OutputUpload], send: SendFile, parallel: Parallel) -> dict[str, StoredFile]:
    """Send files in parallel, and return them by name.

    After an error that a retry doesn't mend no further upload is started. After another one the rest is sent, so that a
    later attempt has less to do.

    Args:
        uploads: The uploads.
        send: Sends one file, with its retries.
        parallel: The threads.

    Raises:
        TargetError: A target would reject a file; nothing was sent.
        CallbackSDKError: A file could not be sent: the first error.
    """
    for upload in uploads:
        upload.check()
    is_over = threading.Event()

    def attempt(upload: OutputUpload) -> StoredFile | CallbackSDKError | None:
        if is_over.is_set():
            return None
        outcome = _outcome(upload, send)
        if isinstance(outcome, CallbackSDKError) and not _is_retryable(outcome):
            is_over.set()
        return outcome

    outcomes = parallel.map(attempt, uploads)
    errors = [outcome for outcome in outcomes if isinstance(outcome, CallbackSDKError)]
    if errors:
        # A permanent error first: it decides that the document's delivery has failed.
        raise min(errors, key=_is_retryable)
    pairs = zip(uploads, outcomes, strict=True)
    return {upload.output.name: outcome for upload, outcome in pairs if isinstance(outcome, StoredFile)}


def _is_retryable(error: CallbackSDKError) -> bool:
    return isinstance(error, DeliveryError) and error.retryable


def _outcome(upload: OutputUpload, send: SendFile) -> StoredFile | CallbackSDKError:
    try:
        return send(upload)
    except CallbackSDKError as error:
        return error


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    rest = len(ordered) - _MAX_SHOWN
    return ", ".join(map(shown, ordered[:_MAX_SHOWN])) + (f" and {rest} more" if rest > 0 else "")


def _now() -> datetime:
    return datetime.now(timezone.utc)

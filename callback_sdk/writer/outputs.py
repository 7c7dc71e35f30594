"""Uploads of output files, which precede the upload of the document."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from attrs import define, evolve, field

from callback_sdk.concurrency.interrupts import uninterrupted
from callback_sdk.documents.result_files import gzip_body
from callback_sdk.errors import CallbackParamError, CallbackSDKError, DeliveryError, OutputError
from callback_sdk.outputs import Output
from callback_sdk.outputs.names import fold
from callback_sdk.receipt import Receipt
from callback_sdk.targets import Target
from callback_sdk.targets.callbacks import Callback
from callback_sdk.text.descriptions import short_repr
from callback_sdk.transport.driver import Driver, Rounds
from callback_sdk.writer.clock import utc_now
from callback_sdk.writer.delivery import OnRefresh, PreparedDelivery
from callback_sdk.writer.issued import IssuedTargets
from callback_sdk.writer.retrying import MayRetry, Send, send_with_retries

TARGETS_HINT = (
    "Give each file a target, outputs={'model.bin': put}, or one that takes them all: "
    "S3Signer(bucket).presign_prefix('runs/42/')."
)

MAX_FILE_ATTEMPTS = 5
"""Attempts at each file within one attempt at a delivery. With 20 % faults 1 file in 3,000 needs more."""

SendFile = Callable[["OutputUpload"], Coroutine[Any, Any, "StoredFile"]]
"""Sends one file, with its retries."""


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
                hint=TARGETS_HINT,
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
            prefix = target.callback.prefix
            if target.callback.takes_events and prefix and fold(output.name).startswith(fold(prefix.events)):
                raise OutputError(
                    f"The output file {output.name} has the place of an event of the job at {url}.",
                    hint=f"Rename the file: the names below {prefix.events} are those of events.",
                    name=output.name,
                )
        else:
            own = evolve(target, media_type=output.media_type)
        return cls(output=output, target=evolve(own, subject=f"The output file {short_repr(output.name)}"))

    def entry(self) -> dict[str, Any]:
        """Return the entry of the file in the document, unless an issuer replaces the target."""
        return self.output.entry(self.target.object_url(""))

    def check(self) -> None:
        """Check offline whether the target would accept the file.

        Raises:
            TargetError: It wouldn't.
        """
        self.target.check(now=utc_now(), size=self.output.size)

    @property
    def id(self) -> str:
        """An id of the file at this target, the same after a crash."""
        digest = hashlib.sha256(self.target.callback.url.reveal().encode("utf-8", "surrogatepass"))
        digest.update(f"\n{self.target.object_url('')}\n{self.output.name}\n{self.output.sha256}".encode())
        return f"file_{digest.hexdigest()[:32]}"

    async def send(
        self,
        job_id: str,
        *,
        send: Send,
        may_retry: MayRetry,
        driver: Driver,
        on_refresh: OnRefresh = lambda delivery: None,
    ) -> StoredFile:
        """Send the file, and retry transient failures with exponential backoff.

        Args:
            job_id: Id of the job.
            send: Makes one attempt.
            may_retry: Tells whether a transient failure is retried.
            driver: Waits between attempts, and reads the file.
            on_refresh: Stores the new target, if the issuer of an expired one gave it.

        Raises:
            DeliveryError: The last attempt failed.
            TargetError: The target would reject the file.
            OutputError: The file has changed since it was stored.
        """
        await driver.call(self.output.verify)
        with ExitStack() as stack:
            delivery = await driver.call(self._prepare, job_id, stack)
            receipt, sent = await send_with_retries(
                delivery, send=send, may_retry=may_retry, sleep=driver.sleep, on_refresh=on_refresh
            )
        return StoredFile(receipt=receipt, entry=self.output.entry(sent.target.object_url("")))

    def _prepare(self, job_id: str, stack: ExitStack) -> PreparedDelivery:
        encoding = self.target.content_encoding(None)
        body = gzip_body(self.output.body, stack) if encoding == "gzip" else self.output.body
        name, delivery_id = self.output.name, self.id
        delivery = PreparedDelivery(
            target=self.target, job_id=job_id, delivery_id=delivery_id, body=body, encoding=encoding, output=name
        )
        if self.target.callback.issuer is None:
            return delivery

        def rebuild(fresh: Target) -> PreparedDelivery:
            again = OutputUpload.of(self.output, fresh)._prepare(job_id, stack)
            return evolve(again, delivery_id=delivery_id)

        return evolve(delivery, rebuild=rebuild)


@define(frozen=True, kw_only=True)
class StoredFile:
    """An output file that a target has.

    Attributes:
        receipt: The receipt.
        entry: The entry of the file in the document.
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
        on_refresh: Called with the name of a file that doesn't share its target with the document, and the delivery to
            its new target, before it is sent there; in any thread.
        entries: Entries in the document for further files, by name, which other deliveries send.
    """

    files: Sequence[tuple[Output, Callback]] = ()
    stored: Mapping[str, StoredFile] = field(factory=dict)
    on_stored: Callable[[str, StoredFile], None] = lambda name, file: None
    on_refresh: Callable[[str, PreparedDelivery], None] = lambda name, delivery: None
    entries: Mapping[str, Mapping[str, Any]] = field(factory=dict)

    def uploads(self, plan: Callable[[Callback], Target], document: Callback) -> list[OutputUpload]:
        """Return the uploads of all files.

        Args:
            plan: Returns the target of a callback.
            document: The target of the document.

        Raises:
            OutputError: A target takes no files, or a file has the document's name.
            TargetError: A target can't be used, or is that of the document alone.
        """
        # By identity, as a callback has no hash. The same one stands for many files.
        targets = {id(callback): plan(callback) for _, callback in self._callbacks()}
        own = targets.get(id(document))
        if own is not None and not own.takes_outputs():
            raise CallbackParamError(
                f"{document.url} takes the document alone, and its output files would replace each other.",
                hint="Give a target that takes any number of objects, such as S3Signer(bucket).presign_prefix(...).",
                url=str(document.url),
            )
        return [OutputUpload.of(output, targets[id(callback)]) for output, callback in self.files]

    def all_entries(self, files: Mapping[str, StoredFile]) -> dict[str, Mapping[str, Any]]:
        """Return the entries of all files in the document, by name.

        Args:
            files: The files that this delivery sends.
        """
        return {**self.entries, **{name: file.entry for name, file in files.items()}}

    def _callbacks(self) -> Iterable[tuple[int, Callback]]:
        return {id(callback): callback for _, callback in self.files}.items()


class SharedUploads:
    """Uploads of one result, each made once, although several documents list it.

    Args:
        send: Sends one file, with its retries.
        issued: New targets of documents and files.
        driver: Waits.
    """

    def __init__(self, send: SendFile, issued: IssuedTargets, driver: Driver) -> None:
        self.issued = issued
        self._send = send
        self._driver = driver
        self._locks: dict[str, Any] = {}
        self._outcomes: dict[str, StoredFile | CallbackSDKError] = {}

    async def send(self, upload: OutputUpload) -> StoredFile:
        """Send a file unless that was done.

        Raises:
            CallbackSDKError: The upload has failed.
        """
        # Atomic: every thread gets the lock that was set first.
        lock = self._locks.setdefault(upload.id, self._driver.lock())
        outcome = await self._driver.exclusively(lock, lambda: self._outcome(upload))
        if isinstance(outcome, CallbackSDKError):
            raise outcome
        return outcome

    async def _outcome(self, upload: OutputUpload) -> StoredFile | CallbackSDKError:
        if upload.id not in self._outcomes:
            self._outcomes[upload.id] = await _outcome(upload, self._send)
        return self._outcomes[upload.id]


async def send_stored(
    outputs: DeliveryOutputs,
    document: Callback,
    *,
    plan: Callable[[Callback], Target],
    send: Callable[..., Awaitable[StoredFile]],
    rounds: Rounds,
    driver: Driver,
) -> dict[str, StoredFile]:
    """Send the files of a delivery that aren't stored yet, and return all of them by name.

    Args:
        outputs: The files.
        document: The target of the document.
        plan: Returns the target of a callback.
        send: `DeliveryAttempts.send_file` for the job.
        rounds: Sends files in parallel.
        driver: Calls `outputs.on_stored`.

    Raises:
        CallbackSDKError: A file could not be sent: the first error.
    """

    async def send_and_store(upload: OutputUpload) -> StoredFile:
        name = upload.output.name
        file = await send(
            upload,
            may_retry=lambda attempts, pause: attempts < MAX_FILE_ATTEMPTS,
            on_refresh=lambda delivery: outputs.on_refresh(name, delivery),
        )
        await driver.call(outputs.on_stored, name, file)
        return file

    new = [upload for upload in outputs.uploads(plan, document) if upload.output.name not in outputs.stored]
    sent = await send_files(new, send_and_store, rounds)
    return {output.name: sent.get(output.name) or outputs.stored[output.name] for output, _ in outputs.files}


async def send_files(uploads: Collection[OutputUpload], send: SendFile, rounds: Rounds) -> dict[str, StoredFile]:
    """Send files in parallel, and return them by name.

    After a permanent error no further upload is started. After a transient error the other files are sent, so that a
    later attempt has less to send.

    Args:
        uploads: The uploads.
        send: Sends one file, with its retries.
        rounds: Sends files in parallel.

    Raises:
        TargetError: A target would reject a file; nothing was sent.
        CallbackSDKError: A file could not be sent: the first error.
    """
    for upload in uploads:
        upload.check()
    is_over = False

    async def attempt(upload: OutputUpload) -> StoredFile | CallbackSDKError | None:
        nonlocal is_over
        if is_over:
            return None
        outcome = await _outcome(upload, send)
        if isinstance(outcome, CallbackSDKError) and not _is_retryable(outcome):
            is_over = True
        return outcome

    outcomes = await rounds.map(attempt, uploads)
    errors = [outcome for outcome in outcomes if isinstance(outcome, CallbackSDKError)]
    if errors:
        # A permanent error first: it decides that the document's delivery has failed.
        raise min(errors, key=_is_retryable)
    pairs = zip(uploads, outcomes, strict=True)
    return {upload.output.name: outcome for upload, outcome in pairs if isinstance(outcome, StoredFile)}


def _is_retryable(error: CallbackSDKError) -> bool:
    return isinstance(error, DeliveryError) and error.retryable


async def _outcome(upload: OutputUpload, send: SendFile) -> StoredFile | CallbackSDKError:
    try:
        return await send(upload)
    except uninterrupted(CallbackSDKError) as error:
        return error

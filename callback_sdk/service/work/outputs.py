"""The output files that a delivery sends, and the entries of all of them in its document."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

from callback_sdk.errors import OutputError
from callback_sdk.filesystem.files import create_file, remove
from callback_sdk.outputs import Output
from callback_sdk.receipt import Receipt
from callback_sdk.service.blobs import BlobStorage, output_name
from callback_sdk.service.files import Scratch
from callback_sdk.service.store import DeliveryClaim, Store
from callback_sdk.service.store.models import DEAD, DELIVERED, TaskFile
from callback_sdk.service.store.task_places import Plan
from callback_sdk.service.work.results_bucket import LIFETIME, ResultsBucket
from callback_sdk.targets.callbacks import Callback
from callback_sdk.text.descriptions import short_repr
from callback_sdk.transport.driver import run
from callback_sdk.writer.attempts import DeliveryAttempts
from callback_sdk.writer.delivery import OnRefresh
from callback_sdk.writer.outputs import MAX_FILE_ATTEMPTS, DeliveryOutputs, OutputUpload, StoredFile, send_files

_NOT_MADE: dict[str, Any] = dict.fromkeys(("url", "size", "sha256", "media_type"))
"""The entry in documents of a file that has a target, but that the algorithm didn't save."""

_FLUSH = 1.0
"""Seconds between two records of the files that an attempt has stored."""

_MAX_RETRY = LIFETIME.total_seconds() / 2
"""Seconds after the signature of a file's URL in which the upload is retried."""


class DeliveredFiles:
    """The files that the attempts of one delivery have stored, recorded so that the next one skips them.

    Args:
        store: Records them.
        claim: The attempt.
        files: The files of the task.
    """

    def __init__(self, store: Store, claim: DeliveryClaim, files: list[TaskFile]) -> None:
        self._store = store
        self._delivery_id = claim.delivery_id
        self._positions = {file.name: file.position for file in files}
        found = store.output_files.receipts(claim.delivery_id)
        self.earlier = {
            file.name: StoredFile.from_dict(found[file.position]) for file in files if file.position in found
        }
        self._new: dict[int, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._flushed_at = time.monotonic()

    def add(self, name: str, file: StoredFile) -> None:
        """Record a file soon; thread-safe."""
        with self._lock:
            self._new[self._positions[name]] = file.to_dict()
            is_due = time.monotonic() - self._flushed_at > _FLUSH
        if is_due:
            self.flush()

    def flush(self) -> None:
        """Record all files that were added."""
        with self._lock:
            new, self._new = self._new, {}
            self._flushed_at = time.monotonic()
        self._store.output_files.add_delivered(self._delivery_id, new)


class TaskOutputFiles:
    """The output files of tasks, as their deliveries need them.

    Args:
        store: The store.
        blobs: The blob storage.
        scratch: Directory for copies of blobs.
        public_url: URL at which clients reach the service; empty if it is unknown.
    """

    def __init__(self, *, store: Store, blobs: BlobStorage, scratch: Scratch, public_url: str) -> None:
        self._store = store
        self._blobs = blobs
        self._scratch = scratch
        self._public_url = public_url

    def send(
        self,
        claim: DeliveryClaim,
        name: str,
        callback: Callback,
        *,
        writer: DeliveryAttempts,
        on_refresh: OnRefresh,
    ) -> Receipt:
        """Send one output file to a target of its own.

        Args:
            claim: The attempt.
            name: Name of the file.
            callback: The target.
            writer: Sends it.
            on_refresh: Stores the new target, if the issuer of an expired one gave it.

        Raises:
            OutputError: The task has no such file.
            CallbackSDKError: The file can't be read or sent.
        """
        file = self._store.output_files.get(claim.job_id, name)
        if file is None:
            raise OutputError(
                f"The task has no output file {short_repr(name)}.",
                hint="Its list of output files is complete.",
                name=name,
            )
        delivered = DeliveredFiles(self._store, claim, [file])
        with ExitStack() as stack:
            upload = OutputUpload.of(self._output(file, stack), writer.plan(callback))
            sending = writer.send_file(
                upload,
                job_id=claim.job_id,
                may_retry=lambda attempts, pause: attempts < MAX_FILE_ATTEMPTS,
                on_refresh=on_refresh,
            )
            stored = run(sending)
        delivered.add(name, stored)
        delivered.flush()
        return stored.receipt

    def store_in(self, bucket: ResultsBucket, claim: DeliveryClaim) -> None:
        """Send the output files of a task to the service's bucket, except for those that an earlier attempt has stored.

        The URL of each is signed when its upload begins. Files with targets of their own aren't sent.

        Args:
            bucket: The bucket.
            claim: An attempt at a document there.

        Raises:
            OutputError: A file is the object of another delivery.
            CallbackSDKError: A file can't be signed, read or sent.
        """
        self._store.deliveries.check_files(claim, bucket.attempts.plan)
        files = self._store.output_files.of(claim.job_id)
        own = self._own_entries(files, self._store.deliveries.of(claim.job_id))
        delivered = DeliveredFiles(self._store, claim, files)

        def signed(output: Output) -> OutputUpload:
            return OutputUpload.of(output, bucket.attempts.plan(bucket.sign_file(output, claim.job_id)))

        async def send(upload: OutputUpload) -> StoredFile:
            last = time.monotonic() + _MAX_RETRY
            file = await bucket.attempts.send_file(
                signed(upload.output),
                job_id=claim.job_id,
                may_retry=lambda attempts, pause: attempts < MAX_FILE_ATTEMPTS and time.monotonic() + pause < last,
            )
            delivered.add(upload.output.name, file)
            return file

        with ExitStack() as stack:
            stack.callback(delivered.flush)
            new = [file for file in files if file.name not in own and file.name not in delivered.earlier]
            run(send_files([signed(self._output(file, stack)) for file in new], send, bucket.attempts.rounds))

    def of(
        self, claim: DeliveryClaim, callback: Callback, stack: ExitStack, *, plan: Plan
    ) -> tuple[DeliveryOutputs, DeliveredFiles]:
        """Return what an attempt at a document sends before it, and what the document lists.

        Args:
            claim: The attempt.
            callback: The document's target. The files of `results:` are there already, from `store_in`.
            stack: Keeps the files until they are sent.
            plan: Returns the target of a callback.

        Raises:
            BlobStorageError: A file can't be read.
            OutputError: A file is the object of another delivery.
        """
        files = self._store.output_files.of(claim.job_id)
        delivered = DeliveredFiles(self._store, claim, files)
        others = [one for one in self._store.deliveries.of(claim.job_id) if one["delivery_id"] != claim.delivery_id]
        entries = self._own_entries(files, others)
        if callback.prefix is None and not callback.is_results:
            copies = self._copies(others)
            for file in files:
                if file.name not in entries:
                    stored = copies.get(file.position)
                    entries[file.name] = self._service_entry(file) if stored is None else stored["entry"]
            return DeliveryOutputs(entries=entries), delivered
        if files and callback.prefix is not None:
            self._store.deliveries.check_files(claim, plan)
        new = [file for file in files if file.name not in entries and file.name not in delivered.earlier]
        earlier = {name: file.entry for name, file in delivered.earlier.items() if name not in entries}
        outputs = DeliveryOutputs(
            files=[(self._output(file, stack), callback) for file in new],
            on_stored=delivered.add,
            entries={**entries, **earlier},
        )
        return outputs, delivered

    def _own_entries(
        self, files: Sequence[TaskFile], others: Sequence[Mapping[str, Any]]
    ) -> dict[str, Mapping[str, Any]]:  # fmt: skip
        """Return the entries in documents of the files with targets of their own, with their URLs or the errors."""
        known = {file.name: file for file in files}
        entries: dict[str, Mapping[str, Any]] = {}
        for one in others:
            name = one["output_name"]
            file = known.get(name)
            if file is None:
                if name is not None and one["status"] == DEAD:
                    entries.setdefault(name, _NOT_MADE | {"error": one["last_error"]})
                continue
            stored = self._store.output_files.receipts(one["delivery_id"]).get(file.position)
            if one["status"] == DELIVERED and stored is not None:
                # Of several targets of a file, the first one that has it counts.
                if "error" in entries.get(file.name, {"error": None}):
                    entries[file.name] = stored["entry"]
            elif one["status"] == DEAD:
                entries.setdefault(file.name, _entry(file, None) | {"error": one["last_error"]})
        return entries

    def _copies(self, others: Sequence[Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
        """Return what the first target that takes all files has stored, by the positions of the files."""
        found = (self._store.output_files.receipts(one["delivery_id"]) for one in others if not one["output_name"])
        return next(filter(None, found), {})

    def _service_entry(self, file: TaskFile) -> dict[str, Any]:
        """Return the entry in documents of a file that only the service has."""
        path = f"/api/v2/algorithms/tasks/{file.job_id}/outputs/{quote(file.name)}"
        return _entry(file, f"{self._public_url}{path}" if self._public_url else None)

    def _output(self, file: TaskFile, stack: ExitStack) -> Output:
        facts: dict[str, Any] = {name: getattr(file, name) for name in ("name", "size", "sha256", "media_type")}
        if file.is_blob:
            blob = output_name(file.job_id, file.attempt, file.position)
            path = stack.enter_context(self._blobs.fetch(blob, self._scratch.folder))
            return Output.from_stored(path=path, **facts)
        data = self._store.output_files.data(file)
        if data is None:
            raise OutputError(
                f"The output file {short_repr(file.name)} was purged.",
                hint="Its task ended longer ago than --retention.",
                name=file.name,
            )
        # Not kept in memory: a task may have thousands of files.
        path = self._scratch.new("output")
        stack.callback(remove, path)
        with create_file(path) as copy:
            copy.write(data)
        return Output.from_stored(path=path, **facts)


def _entry(file: TaskFile, url: str | None) -> dict[str, Any]:
    return {"url": url, "size": file.size, "sha256": file.sha256, "media_type": file.media_type}

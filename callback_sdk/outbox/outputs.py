"""Output files of a delivery in the outbox, as they are sent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

from callback_sdk.outbox.entries import PendingSend
from callback_sdk.outbox.files import ResultFiles
from callback_sdk.redaction import Secret
from callback_sdk.targets.callbacks import Callback
from callback_sdk.writer.delivery import PreparedDelivery
from callback_sdk.writer.outputs import DeliveryOutputs, StoredFile


def delivery_outputs(
    pending: PendingSend,
    files: ResultFiles,
    *,
    save: Callable[[str, str], None],
    on_refresh: Callable[[str, PreparedDelivery], None],
) -> DeliveryOutputs | None:
    """Return the output files of a delivery; None without any.

    Args:
        pending: The delivery.
        files: The files of the outbox.
        save: Stores key and content of a file that was sent.
        on_refresh: Stores the new target of a file.

    Raises:
        OutputError: A file can't be read.
    """
    if not pending.stored.outputs:
        return None
    pairs = list(zip(pending.stored.outputs, pending.output_callbacks, strict=True))
    keys = {copy.name: _key(copy.name, callback) for copy, callback in pairs}
    sent = {name: pending.sent[key] for name, key in keys.items() if key in pending.sent}

    def on_stored(name: str, file: StoredFile) -> None:
        save(keys[name], json.dumps(file.to_dict()))

    def on_new_target(name: str, delivery: PreparedDelivery) -> None:
        on_refresh(name, delivery)
        keys[name] = _key(name, delivery.target.callback)

    return DeliveryOutputs(
        files=[(files.output(copy), callback) for copy, callback in pairs],
        stored={name: StoredFile.from_dict(json.loads(text)) for name, text in sent.items()},
        on_stored=on_stored,
        on_refresh=on_new_target,
    )


def _key(name: str, callback: Callback) -> str:
    """Return the key of an upload: the same for all deliveries with the same target of the file."""
    target = Secret(json.dumps(callback.plain(), sort_keys=True))
    return hashlib.sha256(f"{target.reveal()}\n{name}".encode("utf-8", "surrogatepass")).hexdigest()

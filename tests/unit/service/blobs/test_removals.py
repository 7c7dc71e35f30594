"""callback_sdk.service.blobs.removals"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from callback_sdk.service.blobs import BlobStorageError
from callback_sdk.service.blobs import removals as module
from callback_sdk.service.blobs.removals import BlobRemover
from tests.topology import wait_until


class Storage:
    """Blob storage that hangs until the test releases it, and rejects one name."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.removed: list[str] = []

    def remove(self, name: str) -> None:
        assert self.go.wait(60)
        if name == "refused":
            raise BlobStorageError("Not this one.")
        self.removed.append(name)


@pytest.fixture
def storage() -> Storage:
    """Give storage that hangs."""
    return Storage()


@pytest.fixture
def remover(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Iterator[BlobRemover]:
    """Give a thread that removes, with a short queue."""
    monkeypatch.setattr(module, "_MAX_PENDING", 3)
    remover = BlobRemover(storage)  # type: ignore[arg-type]
    remover.start()
    yield remover
    remover.close()


def test_removals_do_not_block(storage: Storage, remover: BlobRemover) -> None:
    """Even if the storage hangs and the queue is full; housekeeping removes the others."""
    for number in range(100):
        remover.remove(str(number))
    storage.go.set()
    wait_until(lambda: len(storage.removed) >= 3)
    assert storage.removed == sorted(storage.removed, key=int)[: len(storage.removed)]


def test_a_failed_removal_does_not_block_others(storage: Storage, remover: BlobRemover) -> None:
    """The blob is left to housekeeping, and the thread continues."""
    storage.go.set()
    remover.remove("refused")
    remover.remove("next")
    wait_until(lambda: storage.removed == ["next"])
    remover.check()

"""New targets that the issuer of a document's target gave, for the document and all its output files."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from callback_sdk.errors import CallbackSDKError, DeliveryError
from callback_sdk.targets.callbacks import Callback
from callback_sdk.transport.driver import Driver
from callback_sdk.writer.delivery import OnRefresh, PreparedDelivery


class IssuedTargets:
    """New targets for a document and the files below its prefix: an issuer is asked once, not by each upload.

    An error that a retry doesn't mend is kept, too.

    Args:
        documents: The callbacks of documents, as they were given.
        driver: Waits, and calls `on_refresh`.
        delivery_id: Id of the document's delivery; None for that of the upload that asks.
        on_refresh: Called with the first callback of a document, and a delivery to its new target: stores that, before
            anything is sent there.
    """

    def __init__(
        self,
        documents: Iterable[Callback],
        driver: Driver,
        *,
        delivery_id: str | None = None,
        on_refresh: Callable[[Callback, PreparedDelivery], None] = lambda document, delivery: None,
    ) -> None:
        self.delivery_id = delivery_id
        self._on_refresh = on_refresh
        self._driver = driver
        self._lock = driver.lock()
        # The first callback of each document by the identity of that and of later ones, as a callback has no hash.
        self._documents = {id(callback): callback for callback in documents}
        self._new: dict[int, Callback | CallbackSDKError] = {}
        self._stored: set[int] = set()

    def covers(self, callback: Callback | None) -> bool:
        """Return whether a callback is that of a document. A file may have a prefix of its own."""
        return id(callback) in self._documents

    async def replace(self, old: Callback, ask: Callable[[], Coroutine[Any, Any, Callback]]) -> Callback:
        """Return the newest target that replaces an expired one.

        Args:
            old: The callback of a document as it was given.
            ask: Asks the issuer.

        Raises:
            CallbackSDKError: The issuer gave none.
        """
        found = await self._driver.exclusively(self._lock, lambda: self._newest(old, ask))
        if isinstance(found, CallbackSDKError):
            raise found
        return found

    async def _newest(
        self, old: Callback, ask: Callable[[], Coroutine[Any, Any, Callback]]
    ) -> Callback | CallbackSDKError:  # fmt: skip
        if id(old) not in self._new:
            new = self._new[id(old)] = await self._outcome(ask)
            if isinstance(new, Callback):
                self._documents[id(new)] = self._documents[id(old)]
        found: Callback | CallbackSDKError = old
        while id(found) in self._new:
            found = self._new[id(found)]
        return found

    async def store(self, new: Callback, delivery: PreparedDelivery) -> None:
        """Store a new target, unless that was done.

        Args:
            new: What `replace` returned.
            delivery: A delivery to the document's target.
        """
        await self._driver.exclusively(self._lock, lambda: self._store(new, delivery))

    async def _store(self, new: Callback, delivery: PreparedDelivery) -> None:
        if id(new) not in self._stored:
            await self._driver.call(self._on_refresh, self._documents[id(new)], delivery)
            self._stored.add(id(new))

    def unless_shared(self, on_refresh: OnRefresh) -> OnRefresh:
        """Return a function that stores the new target of an upload, unless `store` did that for all that share it.

        Args:
            on_refresh: Stores the new target of one upload.
        """

        def store(fresh: PreparedDelivery) -> None:
            if not self.covers(fresh.target.callback.given):
                on_refresh(fresh)

        return store

    async def _outcome(self, ask: Callable[[], Coroutine[Any, Any, Callback]]) -> Callback | CallbackSDKError:
        try:
            return await ask()
        except CallbackSDKError as error:
            if isinstance(error, DeliveryError) and error.transient:
                raise
            return error

"""Senders that the contract suite runs against, and the upload that it sends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Protocol

import requests

from callback_sdk.documents.body import Body
from callback_sdk.errors import DeliveryError
from callback_sdk.redaction import Secret, SecretURL
from callback_sdk.targets.upload import Upload
from callback_sdk.transport.asyncio_driver import ASYNCIO
from callback_sdk.transport.connect import Addresses, resolve
from callback_sdk.transport.http import HTTPSender, Timeouts
from callback_sdk.transport.multiplexing import MULTIPLEXING, multiplexed
from callback_sdk.transport.response import MAX_BODY, Response
from callback_sdk.transport.sockets import Route

MINUTE = timedelta(minutes=1)
PATIENT = Timeouts(connect=MINUTE, read=MINUTE, attempt=MINUTE)
QUICK = Timeouts(connect=timedelta(seconds=2), read=timedelta(seconds=0.5), attempt=timedelta(seconds=1))
"""Timeouts for tests in which they run out; on a busy machine anything else may take longer."""


def upload(url: str, body: Body | None = None, *, redirects: bool = True) -> Upload:
    """Return a PUT of a JSON document."""
    body = body or Body(b"{}")
    return Upload(
        kind="s3-put",
        method="PUT",
        url=SecretURL(url),
        headers=Secret({"content-type": "application/json"}),
        body=body,
        document=body,
        expires_at=None,
        accepts=frozenset({200}),
        redirects=redirects,
    )


class Sender(Protocol):
    """Sends one upload and returns the response; raises DeliveryError when there is none."""

    def send(self, upload: Upload) -> Response:
        """Make one attempt."""
        ...

    def close(self) -> None:
        """Close idle connections."""
        ...


Resolver = Callable[[SecretURL, float], Addresses]


class RequestsSender:
    """A sender as one would write it with requests: streams the body, bounds the response, wraps the exceptions.

    Args:
        timeouts: Timeouts of one attempt. requests knows those of connecting and of reading only.
        resolve: Accepted and ignored: requests resolves host names by itself.
    """

    def __init__(self, timeouts: Timeouts, resolve: Resolver) -> None:
        self._timeouts = (timeouts.connect.total_seconds(), timeouts.read.total_seconds())
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers = {"User-Agent": "requests"}

    def send(self, upload: Upload) -> Response:
        """Make one attempt."""
        try:
            with self._session.request(
                upload.method,
                upload.url.reveal(),
                headers={
                    **upload.headers.reveal(),
                    "Content-Length": str(upload.body.size),
                    "Accept-Encoding": "identity",
                },
                data=_Stream(upload.body),
                timeout=self._timeouts,
                allow_redirects=upload.redirects,
                stream=True,
            ) as answer:
                body = answer.raw.read(MAX_BODY, decode_content=False)
                headers = {name.lower(): value for name, value in answer.headers.items()}
                return Response(status=answer.status_code, headers=headers, body=body, url=SecretURL(answer.url))
        except (requests.RequestException, OSError) as error:
            raise DeliveryError(
                f"The upload failed: {error}", hint="Try again.", url=str(upload.url), retryable=True
            ) from error

    def close(self) -> None:
        """Close idle connections."""
        self._session.close()


class _Stream:
    """A body that requests streams with a Content-Length, and can send again after a redirect."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self.len = body.size

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body.chunks())


class AsyncioSender:
    """The sender of this package with the driver for asyncio. Each call has an event loop of its own.

    Args:
        timeouts: Timeouts of one attempt.
        resolve: Resolves host names.
    """

    def __init__(self, timeouts: Timeouts, resolve: Resolver) -> None:
        self._sender = HTTPSender(timeouts=timeouts, route=Route(resolve=resolve), driver=ASYNCIO)

    def send(self, upload: Upload) -> Response:
        """Make one attempt."""
        return asyncio.run(self._sender.exchange(upload))

    def close(self) -> None:
        """Close idle connections."""
        self._sender.close()


class MultiplexedSender:
    """The sender of this package with the driver that runs many coroutines in one thread.

    Args:
        timeouts: Timeouts of one attempt.
        resolve: Resolves host names.
    """

    def __init__(self, timeouts: Timeouts, resolve: Resolver) -> None:
        self._sender = HTTPSender(timeouts=timeouts, route=Route(resolve=resolve), driver=MULTIPLEXING)

    def send(self, upload: Upload) -> Response:
        """Make one attempt."""
        return multiplexed(self._sender.exchange(upload))

    def close(self) -> None:
        """Close idle connections."""
        self._sender.close()


SENDERS: dict[str, Callable[[Timeouts, Resolver], Sender]] = {
    "HTTPSender": lambda timeouts, resolve: HTTPSender(timeouts=timeouts, route=Route(resolve=resolve)),
    "asyncio": AsyncioSender,
    "multiplexed": MultiplexedSender,
    "requests": RequestsSender,
}


def make(name: str, timeouts: Timeouts = PATIENT, resolve: Resolver = resolve) -> Sender:
    """Return a new sender."""
    return SENDERS[name](timeouts, resolve)

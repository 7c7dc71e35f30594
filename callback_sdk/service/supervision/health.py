"""HTTP server of a worker for liveness, readiness and metrics."""

from __future__ import annotations

import http.server
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from callback_sdk.service.supervision.shortages import unusable
from callback_sdk.service.supervision.threads import SupervisedThread

_log = logging.getLogger(__name__)

_TIMEOUT = 10.0
"""Timeout for a client's request, in seconds."""

_TICK = 0.1

_MAX_REQUESTS = 32
"""Maximum concurrent requests: a probe and Prometheus need two. Each takes a thread; further ones are rejected."""

_JSON = "application/json"


class HealthSource(Protocol):
    """The interface of an object whose health is reported."""

    def is_alive(self) -> bool:
        """Return whether it makes progress."""
        ...

    def problems(self) -> Sequence[str]:
        """Return the reasons why it isn't ready; an empty list if it is."""
        ...


class WorkerHealth:
    """Serves `/healthz`, `/readyz` and `/metrics` of a worker.

    `/healthz` is 200 while the parent of the worker's processes makes progress. `/readyz` is 200 while all processes
    consume messages of the broker, and 503 with the reasons otherwise. `/metrics` has the sums of their metrics.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 for a free one.
        folder: Directory of the processes' metrics.

    Attributes:
        watched: The supervisor; None until it has started.
        variables: Environment variables that the processes need.
        port: The port.
    """

    def __init__(self, host: str, port: int, *, folder: str) -> None:
        self.watched: HealthSource | None = None
        self.variables = {"PROMETHEUS_MULTIPROC_DIR": folder}
        self._registry = CollectorRegistry()
        MultiProcessCollector(self._registry, path=folder)  # type: ignore[no-untyped-call]
        try:
            self._server = _Server((host, port), self.answer)
        except OSError as error:
            raise unusable(
                f"Metrics can't be served at {host}:{port}: {error.strerror}.",
                hint="Choose another --metrics-port.",
                error=error,
            ) from None
        self.port = int(self._server.server_address[1])
        self._stopping = threading.Event()
        self._thread = SupervisedThread(self._server.serve_forever, name="health", stopping=self._stopping)

    def start(self) -> None:
        """Start serving."""
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Return the status, content type and body for a path."""
        watched = self.watched
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, generate_latest(self._registry)
        if path == "/healthz":
            return _state([] if watched is None or watched.is_alive() else ["The worker makes no progress."])
        if path == "/readyz":
            return _state(["The worker is starting."] if watched is None else watched.problems())
        return (
            404,
            _JSON,
            orjson.dumps({"status": False, "error": "Not found. The paths are /healthz, /readyz and /metrics."}),
        )


@contextmanager
def open_health(host: str, port: int) -> Iterator[WorkerHealth]:
    """Serve health checks and metrics while the block runs.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 for a free one.

    Raises:
        ConfigurationError: The address can't be bound.
    """
    with tempfile.TemporaryDirectory(prefix="callback-sdk-metrics-") as folder:
        health = WorkerHealth(host, port, folder=folder)
        health.start()
        try:
            yield health
        finally:
            health.close()


def _state(problems: Sequence[str]) -> tuple[int, str, bytes]:
    if not problems:
        return 200, _JSON, orjson.dumps({"status": True})
    return 503, _JSON, orjson.dumps({"status": False, "error": " ".join(problems)})


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], answer: Callable[[str], tuple[int, str, bytes]]) -> None:
        self.answer = answer
        self._slots = threading.BoundedSemaphore(_MAX_REQUESTS)
        super().__init__(address, _HealthHandler)

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection. If no file descriptor is left, wait before the next attempt."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(_TICK)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Respond in a separate thread, if a slot is free."""
        if self._slots.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Respond, and release the slot."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A disconnected client is normal, but the standard library would print a traceback.
        _log.debug("A request to the worker's health port failed.", exc_info=True)


class _HealthHandler(http.server.BaseHTTPRequestHandler):
    timeout = _TIMEOUT
    server: _Server

    def do_GET(self) -> None:
        status, content_type, body = self.server.answer(self.path.partition("?")[0])
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
        """Log nothing: probes are sent every few seconds."""

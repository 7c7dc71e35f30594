"""A webhook receiver with two verifiers: that of this package, and that of the Standard Webhooks project."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import standardwebhooks

from callback_sdk import webhooks
from callback_sdk.errors import WebhookVerificationError


class Receiver:
    """Accepts webhooks that both verifiers accept, and rejects those that both reject.

    Args:
        secret: Secret that signs the webhooks.

    Attributes:
        url: URL for webhooks.
        taken: Bodies of accepted webhooks.
        disagreements: Webhooks that only one verifier accepted.
    """

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.url = ""
        self.taken: list[bytes] = []
        self.disagreements = 0

    def take(self, headers: dict[str, str], body: bytes) -> bool:
        """Return whether both verifiers accept the webhook."""
        ours, theirs = self._ours(headers, body), self._theirs(headers, body)
        self.disagreements += ours != theirs
        if ours and theirs:
            self.taken.append(body)
        return ours and theirs

    def _ours(self, headers: dict[str, str], body: bytes) -> bool:
        try:
            webhooks.verify(self.secret, headers, body)
        except WebhookVerificationError:
            return False
        return True

    def _theirs(self, headers: dict[str, str], body: bytes) -> bool:
        try:
            standardwebhooks.Webhook(self.secret).verify(body, headers)
        except standardwebhooks.WebhookVerificationError:
            return False
        return True


@contextmanager
def running(secret: str) -> Iterator[Receiver]:
    """Run a receiver in a thread."""
    receiver = Receiver(secret)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"receiver": receiver}))
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}/done"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    receiver: Receiver
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200 if self.receiver.take(dict(self.headers), body) else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Log nothing."""

"""An issuer of targets on loopback, which verifies who asks."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from attrs import define, field

from callback_sdk import webhooks

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

Issue = Callable[[dict[str, Any]], Any]
"""Returns the answer to a request: a value that is sent as JSON, or a status with the bytes of a body."""


@define
class RunningIssuer:
    """A running issuer.

    Attributes:
        url: Where it is asked.
        issue: Returns its answers.
        requests: The JSON of the requests so far.
        headers: Their headers, by lower-case name.
        verified: Ids of the requests whose signature is valid.
    """

    url: str
    issue: Issue
    requests: list[dict[str, Any]] = field(factory=list)
    headers: list[dict[str, str]] = field(factory=list)
    verified: list[str] = field(factory=list)


@contextmanager
def issuing(issue: Issue) -> Iterator[RunningIssuer]:
    """Run an issuer."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            if "webhook-signature" in headers:
                running.verified.append(webhooks.verify(SECRET, headers, body))
            running.headers.append(headers)
            running.requests.append(json.loads(body))
            answer = running.issue(running.requests[-1])
            status, content = answer if isinstance(answer, tuple) else (200, json.dumps(answer).encode())
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if 300 <= status < 400:
                self.send_header("Location", running.url)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running = RunningIssuer(f"http://127.0.0.1:{server.server_port}/targets", issue)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

"""A webhook receiver as a process: `receiver_process.py PORT LOG [HANG]`. It logs the id of each delivery."""

from __future__ import annotations

import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LOG = Path(sys.argv[2])
HANGS = len(sys.argv) > 3
_lock = threading.Lock()
_running = 0


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        global _running
        self.rfile.read(int(self.headers["content-length"]))
        with _lock:
            _running += 1
            self.note(f"begin {self.headers['webhook-id']} {_running}")
        time.sleep(600 if HANGS else 0.02)
        with _lock:
            _running -= 1
            self.note(f"end {self.headers['webhook-id']} {_running}")
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def note(self, line: str) -> None:
        with LOG.open("a") as log:
            log.write(f"{line}\n")

    def log_message(self, *_: object) -> None:
        """Log nothing to standard error."""


ThreadingHTTPServer.request_queue_size = 100
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()

"""Browsers without JavaScript, for the tests of pages."""

from __future__ import annotations

import re
from typing import Any

import requests

from tests.topology import Topology

PASSWORD = "a password of mary's"
TABLE = {"a": [1, 2]}


class Browser(requests.Session):
    """A browser without JavaScript."""

    def __init__(self, topology: Topology) -> None:
        super().__init__()
        self.trust_env = False
        self.origin = (topology.data / "address").read_text().strip()
        self.token = (topology.data / "token").read_text().strip()

    def log_in(self, **fields: str) -> requests.Response:
        return self.post(f"{self.origin}/ui/login", data=fields or {"token": self.token}, timeout=60)

    def page(self, path: str, status: int = 200) -> str:
        answer = self.get(f"{self.origin}/ui{path}", timeout=60)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"].startswith("text/html")
        return answer.text

    def submit(
        self, path: str, *, csrf: str | None = None, target: str = "", fields: Any = None, **options: Any
    ) -> requests.Response:
        """Send the form of a page."""
        csrf = re.search(r'name="csrf" value="(\w+)"', self.page("/tasks"))[1] if csrf is None else csrf
        data = {"csrf": csrf, "target": target, **(fields or {})}
        return self.post(f"{self.origin}/ui{path}", data=data, timeout=60, **options)

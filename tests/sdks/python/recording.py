"""What every generator in Python shares: the clock, the invented credentials, and the row of a signed URL."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from typing import Any

from forms import TYPE as TYPE

TIME = "2026-01-31T12:00:00Z"
LIFE = 3600

ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SESSION_TOKEN = "FwoGZXIvYXdzEXAMPLE//////////wEaDEXAMPLE+TOKEN=="

KEY = "runs/a b+c/42.json"

AWS = {"access_key": ACCESS_KEY, "secret": SECRET_KEY}


class Rows:
    """The rows of one SDK.

    Args:
        sdk: Its name in the table of the documentation.
        package: Its distribution, for the version.
        signature: What is added to the name of each call.
        common: Members that all rows have: the store and the credentials.
    """

    def __init__(self, sdk: str, package: str, *, signature: str = "", **common: Any) -> None:
        self._signature = signature
        self._common = {"sdk": sdk, "language": "Python", "version": version(package), "time": TIME, **common}
        self.rows: list[dict[str, Any]] = []

    def add(self, call: str, form: str, url: str, *, asked: dict[str, str] | None = None, **more: Any) -> None:
        """Add a row.

        Args:
            call: The call, as the documentation names it.
            form: What was passed besides bucket and key, in words; unique with the call.
            url: What the SDK returned.
            asked: What the caller asked for, by the names of the headers.
            more: `fields` or `headers` as the SDK returned them; members that differ from the common ones.
        """
        self.rows.append(
            {**self._common, "call": call + self._signature, "form": form, "url": url, "asked": asked or {}, **more}
        )


def write(*sdks: Rows) -> None:
    """Print the rows of some SDKs."""
    json.dump([row for sdk in sdks for row in sdk.rows], sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")

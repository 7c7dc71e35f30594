"""Settings of `callback-sdk exec`, which reads them without this module, as it must start its program quickly."""

from __future__ import annotations

from callback_sdk.config.definition import Setting
from callback_sdk.config.values import secret

CALLBACKS = Setting(
    "CALLBACKS",
    secret,
    "a URL, or JSON with url and param",
    "Targets of `callback-sdk exec`: a URL, or JSON as in the file.",
    shown_default="none",
    secret=True,
)
CALLBACKS_FILE = Setting(
    "CALLBACKS_FILE",
    str.strip,
    "the path of a file",
    "File with the targets of `callback-sdk exec`, such as a mounted secret.",
    shown_default="none",
    option="--callbacks-file",
    metavar="FILE",
)

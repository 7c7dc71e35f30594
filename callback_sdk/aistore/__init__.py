"""boto3 clients for AIStore, which follow its redirects and send its bearer token.

[AIStore](https://github.com/NVIDIA/aistore) has an S3 API below `/s3`. Its proxy redirects requests for objects to the
node that stores the object, which boto3 doesn't follow. With authentication enabled it requires a bearer token instead
of a signature.

    from callback_sdk import aistore

    s3 = aistore.client("http://aistore:8080", token=aistore.Token("anna", password, "http://authn:52001"))
    s3.upload_file("model.bin", "models", "model.bin")

`import callback_sdk.aistore.patch` lets all S3 clients of the process follow redirects; `callback_sdk.aistore.aio` is
for aiobotocore and s3fs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from callback_sdk.aistore import aio
    from callback_sdk.aistore.clients import client, follow_redirects, use_token
    from callback_sdk.aistore.presigned import through
    from callback_sdk.aistore.tokens import Token

__all__ = ["Token", "aio", "client", "follow_redirects", "through", "use_token"]

_HOMES = {
    "Token": "tokens",
    "client": "clients",
    "follow_redirects": "clients",
    "through": "presigned",
    "use_token": "clients",
}


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used (PEP 562): a writer with tokens of clusters needs no boto3."""
        if name == "aio":
            return importlib.import_module("callback_sdk.aistore.aio")
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = getattr(importlib.import_module(f"callback_sdk.aistore.{_HOMES[name]}"), name)
        return globals()[name]

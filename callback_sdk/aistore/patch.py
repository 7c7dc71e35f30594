"""Let all S3 clients of the process follow AIStore's redirects: `import callback_sdk.aistore.patch`.

It applies to existing clients and resources too, but not to clients of Amazon S3, nor to those with settings of their
own from `follow_redirects`. `unpatch()` reverts it.
"""

from __future__ import annotations

import functools
from typing import Any
from urllib.parse import urlsplit

from botocore.endpoint import Endpoint

from callback_sdk.aistore.clients import MAX_REDIRECTS
from callback_sdk.aistore.cluster import Cluster
from callback_sdk.aistore.connections import own_connections
from callback_sdk.aistore.requests import MARK, RedirectFollower, following
from callback_sdk.concurrency.forking import Lock
from callback_sdk.targets.amazon import is_amazon

__all__ = ["patch", "unpatch"]

_originals: dict[str, Any] = {}
_followers: dict[str, RedirectFollower] = {}
_lock = Lock()


def patch() -> None:
    """Patch botocore. A second call has no effect."""
    with _lock:
        if not _originals:
            _originals.update(make_request=Endpoint.make_request, _needs_retry=Endpoint._needs_retry)
            Endpoint.make_request = _preparing(Endpoint.make_request)
            Endpoint._needs_retry = following(Endpoint._needs_retry, _patched_follower)


def unpatch() -> None:
    """Restore botocore. A second call has no effect."""
    with _lock:
        while _originals:
            setattr(Endpoint, *_originals.popitem())


def _preparing(original: Any) -> Any:
    @functools.wraps(original)
    def make_request(self: Any, operation_model: Any, request_dict: dict[str, Any]) -> Any:
        if _is_ours(self, operation_model, request_dict):
            own_connections(self.http_session)
            _follower_of(self).prepare(request_dict)
            request_dict["context"][_OURS] = True
        return original(self, operation_model, request_dict)

    return make_request


def _patched_follower(endpoint: Any, request_dict: dict[str, Any]) -> RedirectFollower | None:
    return _follower_of(endpoint) if request_dict["context"].get(_OURS) else None


_OURS = f"{MARK}.patch"


def _is_ours(endpoint: Any, operation_model: Any, request_dict: dict[str, Any]) -> bool:
    host = urlsplit(endpoint.host).hostname or ""
    is_s3 = operation_model.service_model.service_name == "s3"
    return is_s3 and MARK not in request_dict["context"] and not is_amazon(host)


def _follower_of(endpoint: Any) -> RedirectFollower:
    with _lock:
        if endpoint.host not in _followers:
            _followers[endpoint.host] = RedirectFollower(Cluster(endpoint.host), MAX_REDIRECTS)
        return _followers[endpoint.host]


patch()

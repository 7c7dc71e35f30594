"""Lets every S3 client of this process follow AIStore's redirects: `import callback_sdk.aistore.patch`.

Clients and resources that exist already do so too. Clients of Amazon S3 itself stay as they are, and so do those that
`follow_redirects` was called for, which have settings of their own. `unpatch()` undoes it.
"""

from __future__ import annotations

import functools
from typing import Any
from urllib.parse import urlsplit

from botocore.endpoint import Endpoint

from callback_sdk.aistore.clients import MAX_REDIRECTS
from callback_sdk.aistore.cluster import Cluster
from callback_sdk.aistore.connections import own_connections
from callback_sdk.aistore.requests import MARK, RedirectFollower
from callback_sdk.concurrency.forking import Lock

__all__ = ["patch", "unpatch"]

_AMAZON = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")

_originals: dict[str, Any] = {}
_couriers: dict[str, RedirectFollower] = {}
_lock = Lock()


def patch() -> None:
    """Patch botocore. Twice is once."""
    with _lock:
        if not _originals:
            _originals.update(make_request=Endpoint.make_request, _needs_retry=Endpoint._needs_retry)
            Endpoint.make_request = _preparing(Endpoint.make_request)
            Endpoint._needs_retry = _following(Endpoint._needs_retry)


def unpatch() -> None:
    """Give botocore back what it had. Twice is once."""
    with _lock:
        while _originals:
            setattr(Endpoint, *_originals.popitem())


def _preparing(original: Any) -> Any:
    @functools.wraps(original)
    def make_request(self: Any, operation_model: Any, request_dict: dict[str, Any]) -> Any:
        if _is_ours(self, operation_model, request_dict):
            own_connections(self.http_session)
            _courier(self).prepare(request_dict)
            request_dict["context"][_OURS] = True
        return original(self, operation_model, request_dict)

    return make_request


def _following(original: Any) -> Any:
    @functools.wraps(original)
    def _needs_retry(
        self: Any,
        attempts: int,
        operation_model: Any,
        request_dict: dict[str, Any],
        response: Any = None,
        caught_exception: Exception | None = None,
    ) -> Any:
        if request_dict["context"].get(_OURS) and _courier(self).wants_again(request_dict, response, self.http_session):
            return True
        return original(self, attempts, operation_model, request_dict, response, caught_exception)

    return _needs_retry


_OURS = f"{MARK}.patch"


def _is_ours(endpoint: Any, operation_model: Any, request_dict: dict[str, Any]) -> bool:
    host = urlsplit(endpoint.host).hostname or ""
    is_s3 = operation_model.service_model.service_name == "s3"
    return is_s3 and MARK not in request_dict["context"] and not f".{host}".endswith(_AMAZON)


def _courier(endpoint: Any) -> RedirectFollower:
    with _lock:
        if endpoint.host not in _couriers:
            _couriers[endpoint.host] = RedirectFollower(Cluster(endpoint.host), MAX_REDIRECTS)
        return _couriers[endpoint.host]


patch()

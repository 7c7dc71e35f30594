"""callback_sdk.aistore.endpoints"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from callback_sdk.aistore.bearer import Bearer
from callback_sdk.aistore.cluster import Cluster
from callback_sdk.aistore.endpoints import METHODS, redirecting_methods
from callback_sdk.aistore.requests import RedirectFollower

URL = "http://cluster/s3/b/k"


class Endpoint:
    """Endpoint of a client, as far as its methods are replaced."""

    http_session = None

    def __init__(self, *responses: Any) -> None:
        self.responses = list(responses)
        self.sent: list[tuple[str, Any]] = []
        self.attempts: list[int] = []

    def make_request(self, operation_model: Any, request_dict: dict[str, Any]) -> Any:
        attempts = 0
        while True:
            attempts += 1
            response = self._send(self.create_request(request_dict, operation_model))
            if not self._needs_retry(attempts, operation_model, request_dict, (response, {}), None):
                return response

    def create_request(self, params: dict[str, Any], operation_model: Any = None) -> Any:
        return SimpleNamespace(url=params["url"], headers={"Authorization": "AWS4-HMAC-SHA256 x"})

    def _send(self, request: Any) -> Any:
        self.sent.append((request.url, request.headers.get("Authorization")))
        return self.responses.pop(0)

    def _needs_retry(self, attempts: int, *_: Any) -> Any:
        self.attempts.append(attempts)
        return False


def methods_of(cls: type) -> dict[str, Any]:
    return {name: getattr(cls, name) for name in METHODS}


def subclass(cls: type, follower: RedirectFollower | None) -> type:
    return type("Following", (cls,), redirecting_methods(methods_of(cls), lambda *_: follower))


def redirect_to(url: str) -> Any:
    return SimpleNamespace(status_code=307, headers={"location": url})


OK = SimpleNamespace(status_code=200, headers={})


def request() -> dict[str, Any]:
    return {"url": URL, "context": {}, "body": b"x"}


def test_redirects_are_followed_with_the_token_and_not_counted() -> None:
    """The request to the node is the first attempt."""
    follower = RedirectFollower(Cluster("http://cluster", allow_hosts=["node"]), 3, Bearer("one"))
    endpoint = subclass(Endpoint, follower)(redirect_to("http://node/s3/b/k?x=1"), OK)
    assert endpoint.make_request(None, request()) is OK
    assert endpoint.sent == [(URL, "Bearer one"), ("http://node/s3/b/k?x=1", "Bearer one")]
    assert endpoint.attempts == [1]


def test_outer_methods_handle_the_request_alone() -> None:
    """A client with settings of its own, in a process that is patched, is not handled twice."""
    patched = subclass(Endpoint, RedirectFollower(Cluster("http://cluster"), 0, Bearer("patch")))
    calls: list[int] = []

    def token() -> str:
        calls.append(1)
        return "client"

    own = RedirectFollower(Cluster("http://cluster", allow_hosts=["node"]), 3, Bearer(token))
    endpoint = subclass(patched, own)(redirect_to("http://node/s3/b/k"), OK)
    endpoint.make_request(None, request())
    assert [sent for _, sent in endpoint.sent] == ["Bearer client"] * 2
    assert len(calls) == 2


def test_other_requests_are_not_touched() -> None:
    """Those of operations for which there is no follower."""
    endpoint = subclass(Endpoint, None)(redirect_to("http://node/s3/b/k"))
    given = request()
    endpoint.make_request(None, given)
    assert endpoint.sent == [(URL, "AWS4-HMAC-SHA256 x")]
    assert given["context"] == {}


def test_names_of_the_methods_are_kept() -> None:
    """For tracebacks and for libraries that look at them."""
    made = redirecting_methods(methods_of(Endpoint), lambda *_: None)
    assert {name: method.__name__ for name, method in made.items()} == {name: name for name in METHODS}

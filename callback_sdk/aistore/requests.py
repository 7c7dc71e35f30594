"""Redirects, token and body of one request of an S3 client."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import Any

from attrs import define
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError

from callback_sdk.aistore.bodies import rewind, rewindable
from callback_sdk.aistore.cluster import MAP_PATH, Cluster
from callback_sdk.aistore.redirects import STATUSES, next_url
from callback_sdk.aistore.tokens import Bearer
from callback_sdk.errors import RedirectError
from callback_sdk.redaction import SecretURL

_log = logging.getLogger(__name__)

_REFUSED = ("token expired", "token revoked", "invalid token")
"""Messages of the S3 API, which answers 403 also to an invalid token."""

_UNREACHABLE = (EndpointConnectionError, ConnectTimeoutError)
"""botocore's errors for a request that was not sent."""

_NODE_DOWN = 10.0
"""Seconds after which a node that can't be reached is an error: a cluster took five to notice a killed node."""

_PAUSE = 0.25
"""Seconds between requests to the proxy meanwhile."""

MARK = "callback_sdk.aistore"
"""Key of the request's history in its context."""


@define
class RequestHistory:
    """The redirects and tokens of a request.

    Attributes:
        trail: The URLs that it was sent to.
        renewed: Whether it was sent with a second token.
        resent: How often it was resent for a redirect, a new token or a dead node, which are not failed attempts.
        unreachable_since: When a node was first unreachable; None if none was.
    """

    trail: list[SecretURL]
    renewed: bool = False
    resent: int = 0
    unreachable_since: float | None = None


@define
class RedirectFollower:
    """Redirects requests of S3 clients within a cluster.

    Attributes:
        cluster: Hosts of the cluster.
        max_redirects: Maximum number of redirects; None leaves them to botocore.
        bearer: Sent instead of a signature; None leaves the signature.
    """

    cluster: Cluster
    max_redirects: int | None = None
    bearer: Bearer | None = None

    def prepare(self, request_dict: dict[str, Any]) -> None:
        """Prepare a request before botocore signs and sends it."""
        request_dict["body"] = rewindable(request_dict.get("body"))
        request_dict["context"][MARK] = RequestHistory([])

    def authorize(self, request: Any) -> None:
        """Replace the signature by the token, if the request goes to the cluster."""
        if self.bearer is None or not self.cluster.has(SecretURL(request.url)):
            return
        # AIStore must not get credentials of AWS.
        for name in ("Authorization", "X-Amz-Security-Token"):
            request.headers.pop(name, None)
        request.headers["Authorization"] = self.bearer.header()

    def needs_retry(self, request_dict: dict[str, Any], response: Any, error: Exception | None, session: Any) -> bool:
        """Decide whether to resend a request, and set its URL.

        Args:
            request_dict: The request, as botocore's endpoint has it for all attempts.
            response: The HTTP response and what botocore parsed; None without one.
            error: Why there is no response.
            session: botocore's HTTP session, to fetch the cluster's map.

        Raises:
            RedirectError: A redirect is not followed.
            BodyNotRewindableError: The body can't be sent again.
        """
        history = history_of(request_dict)
        status = None if response is None else response[0].status_code
        if status in STATUSES and self.max_redirects is not None:
            self._redirect(request_dict, history, response[0].headers.get("location"), session)
        elif not history.renewed and self._token_was_refused(response, session) and self._has_new_token():
            history.renewed = True
            _start_over(request_dict, history)
        elif isinstance(error, _UNREACHABLE) and history.trail and _wait_for_the_map(history):
            _start_over(request_dict, history)
        else:
            if status is None or status >= 500:
                # A retry by botocore begins at the proxy, which knows whether the node is down.
                _start_over(request_dict, history)
            return False
        history.resent += 1
        rewind(request_dict.get("body"))
        return True

    def _has_new_token(self) -> bool:
        return self.bearer is not None and self.bearer.renewed()

    def _token_was_refused(self, response: Any, session: Any) -> bool:
        """Tell whether the response means that the token is invalid, and not that a permission is missing."""
        status = None if response is None else response[0].status_code
        if self.bearer is None or status not in (401, 403):
            return False
        error = (response[1] or {}).get("Error", {})
        if status == 401 or any(words in str(error.get("Message")) for words in _REFUSED):
            return True
        # The response to HEAD has no message. AIStore's native API answers 401 to such a token, also if it would need a
        # permission that is missing.
        return error.get("Code") == "403" and self._ask(f"{self.cluster.root}{MAP_PATH}", session)[0] == 401

    def _redirect(
        self, request_dict: dict[str, Any], history: RequestHistory, location: str | None, session: Any
    ) -> None:
        history.trail = history.trail or [SecretURL(request_dict["url"])]
        if self.bearer is not None and self.bearer.is_shown_in(location or ""):
            # Errors and the log quote the redirect's URL.
            raise RedirectError(
                f"{history.trail[-1]} redirected to a URL that has the token in it; nothing was sent there.",
                hint="Check which server responds at the endpoint: AIStore never does so. Revoke the token.",
                urls=tuple(url.bare for url in history.trail),
            )
        url = next_url(
            history.trail,
            location,
            max_redirects=self.max_redirects or 0,
            allowed=lambda url: self.cluster.has(url, lambda where: self._fetch(where, session)),
        )
        _log.debug("%s redirects to %s.", history.trail[-1], url)
        history.trail.append(url)
        request_dict["url"] = url.reveal()
        # Keeps botocore's redirector for buckets in other regions from sending HeadBucket.
        request_dict["context"].setdefault("s3_redirect", {})["redirected"] = True

    def _fetch(self, url: str, session: Any) -> bytes | None:
        status, content = self._ask(url, session)
        return content if status == 200 else None

    def _ask(self, url: str, session: Any) -> tuple[int, bytes]:
        """Send a request to the native API; the status is 0 without a response."""
        request = AWSRequest(method="GET", url=url, headers={"Accept": "application/json"}).prepare()
        self.authorize(request)
        try:
            answer = session.send(request)
        except Exception as error:  # noqa: BLE001 - botocore's and urllib3's; without the map the redirect is rejected
            _log.warning("The AIStore cluster doesn't answer at %s: %s.", SecretURL(url), type(error).__name__)
            return 0, b""
        return answer.status_code, answer.content


def following(needs_retry: Callable[..., Any], follower_of: Callable[[Any, Any], RedirectFollower | None]) -> Any:
    """Wrap `_needs_retry` of botocore's endpoint, so that it follows redirects, and counts failed attempts only.

    Args:
        needs_retry: The method, unbound.
        follower_of: Returns the redirect follower of an endpoint and a request; None if it has none.
    """

    @functools.wraps(needs_retry)
    def _needs_retry(
        self: Any,
        attempts: int,
        operation_model: Any,
        request_dict: dict[str, Any],
        response: Any = None,
        caught_exception: Exception | None = None,
    ) -> Any:
        follower = follower_of(self, request_dict)
        if follower is not None:
            if follower.needs_retry(request_dict, response, caught_exception, self.http_session):
                return True
            attempts -= history_of(request_dict).resent
        return needs_retry(self, attempts, operation_model, request_dict, response, caught_exception)

    return _needs_retry


def history_of(request_dict: dict[str, Any]) -> RequestHistory:
    """Return the history of a request."""
    history: RequestHistory = request_dict["context"].setdefault(MARK, RequestHistory([]))
    return history


def _wait_for_the_map(history: RequestHistory) -> bool:
    """Wait before the next request to the proxy, which redirects to a dead node until it notices; False to give up."""
    now = time.monotonic()
    history.unreachable_since = history.unreachable_since or now
    if now - history.unreachable_since > _NODE_DOWN:
        return False
    time.sleep(_PAUSE)
    return True


def _start_over(request_dict: dict[str, Any], history: RequestHistory) -> None:
    if history.trail:
        request_dict["url"] = history.trail[0].reveal()
        history.trail = []
